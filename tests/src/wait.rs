use std::time::Duration;

/// How long anything may take. Only ever spent when something is wrong; generous, since a busy machine
/// is not wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The result of a future that is to be ready soon.
///
/// # Panics
/// When it is not.
#[expect(clippy::expect_used, reason = "for tests: a panic is the report")]
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it should have happened by now")
}

/// Waits until a condition holds that another thread, or the other side of a socket, brings about.
///
/// # Panics
/// When it never does.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
