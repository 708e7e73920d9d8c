//! Compiles the service's `.proto` without a `protoc` on the machine.

use std::error::Error;

const PROTO: &str = "proto/authoriser.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
