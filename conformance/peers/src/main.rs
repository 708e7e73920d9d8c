//! The tests of the Core Rule Set against other engines, `cargo xtask crs --engine NAME`; and, with `--measure`, the
//! reference as the bench of the rule engine measures it.

#[cfg(feature = "libmodsecurity")]
mod libmodsecurity;
#[cfg(feature = "libmodsecurity")]
mod measure;
#[cfg(feature = "zentinel")]
mod zentinel;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "libmodsecurity")]
    if std::env::args().nth(1).as_deref() == Some("--measure") {
        return match measure::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    fusebox_conformance::command(&[
        #[cfg(feature = "libmodsecurity")]
        ("libmodsecurity", libmodsecurity::load),
        #[cfg(feature = "zentinel")]
        ("zentinel", zentinel::load),
    ])
}
