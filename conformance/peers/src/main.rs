//! The tests of the Core Rule Set against other engines: `cargo xtask crs --engine NAME`.

#[cfg(feature = "libmodsecurity")]
mod libmodsecurity;
#[cfg(feature = "zentinel")]
mod zentinel;

use std::process::ExitCode;

fn main() -> ExitCode {
    fusebox_conformance::command(&[
        #[cfg(feature = "libmodsecurity")]
        ("libmodsecurity", libmodsecurity::load),
        #[cfg(feature = "zentinel")]
        ("zentinel", zentinel::load),
    ])
}
