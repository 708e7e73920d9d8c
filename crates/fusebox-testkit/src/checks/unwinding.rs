use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use http_body::Body;
use tower_service::Service;

use crate::{
    Subject,
    poll::{MANY, Polled},
    stage::{Found, Stage},
};

/// Makes a request of an inner service that panics on the way, and drops what is left of it.
///
/// Whether the panic arrives here or was made into an answer is the layer's choice.
pub(super) async fn to_the_panic<S: Subject>(stage: &Stage<'_, S>) -> Found {
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    let request = stage.request();
    let Ok((future, _service)) = catch_unwind(AssertUnwindSafe(move || {
        let future = service.call(request);
        (future, service)
    })) else {
        return Ok(());
    };
    let mut future = Box::pin(future);
    let head = stage
        .driver
        .finish("the response future", |cx| {
            survive(|| future.as_mut().poll(cx))
        })
        .await?;
    drop(future);
    let Some(Ok(response)) = head else {
        return Ok(());
    };
    let mut body = Box::pin(response.into_body());
    for _ in 0..MANY {
        let frame = stage
            .driver
            .poll(MANY, |cx| survive(|| body.as_mut().poll_frame(cx)))
            .await;
        match frame {
            Polled::Ready(Some(Some(Ok(_)))) => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// `None` if the poll panicked.
fn survive<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Option<T>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    }
}
