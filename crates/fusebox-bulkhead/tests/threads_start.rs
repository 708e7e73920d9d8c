//! What becomes of a compartment whose threads the operating system will not give.
#![cfg(target_os = "linux")]

use std::{
    num::NonZeroUsize,
    process::{Command, Stdio},
};

use fusebox_bulkhead::threads::{ThreadSettings, Threads};

/// Set in a process that may use little memory.
const POOR: &str = "FUSEBOX_TEST_LITTLE_MEMORY";

/// The stacks of eight threads are 2 GiB there, and the process has one. Few and large ones, so that the
/// thread that does not fit leaves memory enough to say so.
#[test]
fn threads_that_cannot_be_started_are_an_error_that_names_the_setting() {
    if std::env::var_os(POOR).is_some() {
        let eight = ThreadSettings::new(NonZeroUsize::new(8).unwrap());
        let error = Threads::start(&"greedy".into(), eight).unwrap_err();
        assert_eq!(
            error.to_string(),
            "threads: cannot start 8 for compartment \"greedy\""
        );
        return;
    }
    let this_test = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", "ulimit -v 1048576 && exec timeout 60 \"$0\""])
        .arg(this_test)
        .env(POOR, "1")
        .env("RUST_MIN_STACK", "268435456")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
