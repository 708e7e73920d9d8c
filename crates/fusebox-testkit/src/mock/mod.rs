//! A scripted inner service: it does what it is told and remembers what was done to it.

mod body;
mod handle;
mod script;
mod service;

pub use body::{MockBody, MockFrame};
pub use handle::{MockHandle, Received};
pub use script::Script;
pub use service::{MockFuture, MockService};

/// The error of [`MockService`] and [`MockBody`]: a text by which a test knows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MockError(pub &'static str);

impl MockError {
    /// The mock's error behind `error`: itself, or any number of sources down.
    #[must_use]
    pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref())
    }
}

impl std::fmt::Display for MockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for MockError {}

/// The payload of a scripted panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MockPanic;

/// Unwinds without the panic hook: a scripted panic is no news, so it prints nothing.
fn unwind() -> ! {
    std::panic::resume_unwind(Box::new(MockPanic))
}
