//! What a handler logs on its compartment's threads belongs to the request that it serves.
//!
//! Alone in its binary: the threads see only the subscriber of the whole process.

use std::{num::NonZeroUsize, time::Duration};

use fusebox_bulkhead::threads::{ThreadSettings, Threads};
use tracing::Span;

fn span_here() -> Option<&'static str> {
    Span::current().metadata().map(|span| span.name())
}

#[tokio::test]
async fn work_runs_inside_the_span_of_the_call() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    let threads =
        Threads::start(&"payments".into(), ThreadSettings::new(NonZeroUsize::MIN)).unwrap();

    let (future, function) = tracing::info_span!("request").in_scope(|| {
        (
            threads.spawn(async { span_here() }),
            threads.spawn_blocking(span_here),
        )
    });
    let patience = Duration::from_secs(30);
    let future = tokio::time::timeout(patience, future).await.unwrap();
    assert_eq!(future, Ok(Some("request")));
    let function = tokio::time::timeout(patience, function).await.unwrap();
    assert_eq!(function, Ok(Some("request")));
    assert_eq!(span_here(), None);
}
