//! What becomes of a compartment when the operating system gives no more threads.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{
    num::NonZeroUsize,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fusebox_bulkhead::threads::{ThreadSettings, Threads};

/// Set in a process that may use little memory.
const POOR: &str = "FUSEBOX_TEST_LITTLE_MEMORY";

fn is_poor() -> bool {
    std::env::var_os(POOR).is_some()
}

/// Runs that test again in a process of its own, which has 1 GiB for stacks of 256 MiB. Few and large
/// ones, so that the thread that does not fit leaves memory enough to say so.
fn passes_in_poverty(test: &str) {
    let this_binary = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 1048576 && exec timeout 60 \"$0\" --exact \"$1\"",
        ])
        .arg(this_binary)
        .arg(test)
        .env(POOR, "1")
        .env("RUST_MIN_STACK", "268435456")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn threads_that_cannot_be_started_are_an_error_that_names_the_setting() {
    if !is_poor() {
        return passes_in_poverty(
            "threads_that_cannot_be_started_are_an_error_that_names_the_setting",
        );
    }
    let eight = ThreadSettings::new(NonZeroUsize::new(8).unwrap());
    let error = Threads::start(&"greedy".into(), eight).unwrap_err();
    assert_eq!(
        error.to_string(),
        "threads: cannot start 8 for compartment \"greedy\""
    );
}

#[test]
fn blocking_work_runs_though_the_system_gives_no_more_threads() {
    if !is_poor() {
        return passes_in_poverty("blocking_work_runs_though_the_system_gives_no_more_threads");
    }
    let (workers, blocking) = (NonZeroUsize::MIN, NonZeroUsize::new(4));
    let settings = ThreadSettings {
        blocking,
        ..ThreadSettings::new(workers)
    };
    let threads = Threads::start(&"early".into(), settings).unwrap();
    let forever = || loop {
        thread::park();
    };
    // Until there are no more.
    while thread::Builder::new().spawn(forever).is_ok() {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let work = [1, 2, 3].map(|number| threads.spawn_blocking(move || number));
        for (expected, work) in (1..).zip(work) {
            let done = tokio::time::timeout(Duration::from_secs(30), work).await;
            assert_eq!(done.unwrap(), Ok(expected));
        }
    });
}
