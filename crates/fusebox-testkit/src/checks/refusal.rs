use fusebox_core::Rejection;
use fusebox_http::{GrpcCode, Protocol};
use http::{HeaderMap, StatusCode, header, response::Parts};
use http_body::Body;

use crate::{
    Checked, Flavour, Script, Situation, Subject,
    stage::{Candidate, Found, Stage},
};

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    for content_type in [
        "text/plain",
        "application/json",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web+proto",
    ] {
        // An inner service that never answers: nothing can come back but a refusal.
        let Some(stage) = Stage::set(subject, Situation::Refuses, Script::never()).await else {
            checked.skip("the layer never refuses");
            return;
        };
        checked.row(content_type, refused(&stage, content_type).await);
    }
}

async fn refused<S: Subject>(stage: &Stage<'_, S>, content_type: &'static str) -> Found {
    let request = stage.request_of(content_type);
    let protocol = Protocol::of(request.headers());
    let mut call = stage.call(request).await?;
    let head = stage.head(&mut call).await;
    if stage.mock.called() > 0 {
        return Err("the inner service was called".to_owned());
    }
    let response = head?.map_err(|error| format!("an error, not a response: {error}"))?;
    let Some(rejection) = response.extensions().get::<Rejection>() else {
        return Err("the response carries no Rejection".to_owned());
    };
    if rejection.layer() != S::KIND {
        return Err(format!("the Rejection is by {}", rejection.layer()));
    }
    if S::FLAVOUR == Flavour::Plain {
        return Ok(());
    }
    let ended_at_head = response.body().is_end_stream();
    let answer = stage.read(response).await?;
    if let Some(error) = &answer.error {
        return Err(format!("the body of the response failed: {error}"));
    }
    let rejection = answer.rejection().cloned();
    let length = answer.frames.bytes().len();
    match protocol {
        Protocol::Http => http_shape(&answer.head, length, rejection.as_ref()),
        _ => {
            if !ended_at_head || length > 0 || answer.frames.trailers.is_some() {
                return Err("not trailers-only: the body has not ended with the head".to_owned());
            }
            grpc_shape(&answer.head, protocol)
        }
    }
}

fn http_shape(head: &Parts, length: usize, rejection: Option<&Rejection>) -> Found {
    if !head.status.is_client_error() && !head.status.is_server_error() {
        return Err(format!("the status is {}", head.status));
    }
    if head.headers.contains_key("grpc-status") {
        return Err("a grpc-status in a response to plain HTTP".to_owned());
    }
    if let Some(announced) = number(&head.headers, header::CONTENT_LENGTH.as_str())?
        && announced != length as u64
    {
        return Err(format!(
            "content-length is {announced}, the body has {length} bytes"
        ));
    }
    match number(&head.headers, header::RETRY_AFTER.as_str())? {
        Some(0) => Err("retry-after is 0: come back to be refused".to_owned()),
        Some(seconds) => match rejection.and_then(Rejection::retry_after) {
            Some(after) if after.as_secs_f64() > seconds as f64 => Err(format!(
                "retry-after is {seconds}, before the {after:?} of the Rejection"
            )),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

fn grpc_shape(head: &Parts, protocol: Protocol) -> Found {
    if head.status != StatusCode::OK {
        return Err(format!(
            "the HTTP status of a gRPC refusal is {}",
            head.status
        ));
    }
    if Protocol::of(&head.headers) != protocol {
        return Err(format!(
            "the content-type is {:?}",
            head.headers.get(header::CONTENT_TYPE)
        ));
    }
    match GrpcCode::of(&head.headers) {
        None => return Err("there is no grpc-status".to_owned()),
        Some(GrpcCode::OK) => return Err("grpc-status is 0, which is no refusal".to_owned()),
        Some(_) => {}
    }
    let unreadable = |value: &header::HeaderValue| {
        // Percent-encoded: what is left is printable ASCII (gRPC over HTTP2, "Status-Message").
        !value
            .as_bytes()
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~'))
    };
    if head.headers.get("grpc-message").is_some_and(unreadable) {
        return Err("grpc-message is not percent-encoded".to_owned());
    }
    match number(&head.headers, "grpc-retry-pushback-ms")? {
        Some(0) => Err("grpc-retry-pushback-ms is 0: come back to be refused".to_owned()),
        _ => Ok(()),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Found<Option<u64>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(|value| value.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} is {value:?}")),
    }
}
