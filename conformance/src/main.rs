use std::process::ExitCode;

fn main() -> ExitCode {
    fusebox_conformance::command(&[])
}
