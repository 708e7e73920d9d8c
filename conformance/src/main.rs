//! The tests of the Core Rule Set against our own engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    fusebox_conformance::command(&[])
}
