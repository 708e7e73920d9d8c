use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use fusebox_core::{Rejection, RejectionKind};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{GrpcCode, Protocol, number};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_WEB: HeaderValue = HeaderValue::from_static("application/grpc-web");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Turns a refusal into the response a client sees.
///
/// The default is [`standard_response`]. Whatever is returned, the layer puts the [`Rejection`] into
/// the response's extensions, so layers further out still know it for a refusal.
pub trait Respond: Send + Sync {
    /// The response to a request that spoke `protocol`.
    fn respond(&self, rejection: &Rejection, protocol: Protocol) -> Response<Bytes>;
}

impl<F> Respond for F
where
    F: Fn(&Rejection, Protocol) -> Response<Bytes> + Send + Sync,
{
    fn respond(&self, rejection: &Rejection, protocol: Protocol) -> Response<Bytes> {
        self(rejection, protocol)
    }
}

/// The HTTP status of a refusal.
#[must_use]
pub const fn http_status(kind: RejectionKind) -> StatusCode {
    match kind {
        RejectionKind::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        RejectionKind::Unidentified | RejectionKind::Forbidden | RejectionKind::Banned => {
            StatusCode::FORBIDDEN
        }
        RejectionKind::Panicked | RejectionKind::Withheld => StatusCode::INTERNAL_SERVER_ERROR,
        RejectionKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RejectionKind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        RejectionKind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        // Full, QueueTimeout, TooManyKeys, CircuitOpen, ShuttingDown, Undecided, and what is yet to come:
        // the request was fine and may be repeated.
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The gRPC status of a refusal.
#[must_use]
pub const fn grpc_code(kind: RejectionKind) -> GrpcCode {
    match kind {
        RejectionKind::Full
        | RejectionKind::QueueTimeout
        | RejectionKind::TooManyKeys
        | RejectionKind::QuotaExceeded
        | RejectionKind::TooLarge => GrpcCode::RESOURCE_EXHAUSTED,
        RejectionKind::Unidentified | RejectionKind::Forbidden | RejectionKind::Banned => {
            GrpcCode::PERMISSION_DENIED
        }
        RejectionKind::Panicked | RejectionKind::Withheld => GrpcCode::INTERNAL,
        RejectionKind::TooSlow => GrpcCode::DEADLINE_EXCEEDED,
        RejectionKind::Unsupported => GrpcCode::UNIMPLEMENTED,
        _ => GrpcCode::UNAVAILABLE,
    }
}

/// The response a refusal becomes unless a layer is given its own [`Respond`].
///
/// To HTTP: the status of [`http_status`], a problem document (RFC 9457) that explains nothing of the
/// inside, and `Retry-After` in whole seconds when the layer knows one, rounded up and never 0
/// (RFC 9110, section 10.2.3): a client that comes back early would only be refused again.
///
/// To gRPC and gRPC-Web: a trailers-only response (HTTP 200, `grpc-status`, `grpc-message`), with
/// `grpc-retry-pushback-ms` (gRFC A6) when the layer knows a time.
///
/// ```
/// use std::time::Duration;
/// use fusebox_core::{LayerKind, Rejection, RejectionKind};
/// use fusebox_http::{Protocol, standard_response};
///
/// let full = Rejection::new(LayerKind::Bulkhead, "payments".into(), RejectionKind::Full)
///     .with_retry_after(Duration::from_millis(1_200));
///
/// let http = standard_response(&full, Protocol::Http);
/// assert_eq!(http.status(), 503);
/// assert_eq!(http.headers()["retry-after"], "2");
///
/// let grpc = standard_response(&full, Protocol::Grpc);
/// assert_eq!(grpc.status(), 200);
/// assert_eq!(grpc.headers()["grpc-status"], "8");
/// assert_eq!(grpc.headers()["grpc-retry-pushback-ms"], "1200");
/// ```
#[must_use]
pub fn standard_response(rejection: &Rejection, protocol: Protocol) -> Response<Bytes> {
    with_room(rejection, protocol, 0)
}

fn with_room(rejection: &Rejection, protocol: Protocol, fields: usize) -> Response<Bytes> {
    match protocol {
        Protocol::Http => http_response(rejection, fields),
        Protocol::Grpc => grpc_response(rejection, GRPC, fields),
        Protocol::GrpcWeb => grpc_response(rejection, GRPC_WEB, fields),
    }
}

/// [`standard_response`] or the user's own, marked with the refusal either way.
#[must_use]
pub fn refusal(
    rejection: Rejection,
    protocol: Protocol,
    respond: Option<&dyn Respond>,
) -> Response<Bytes> {
    refusal_with_room(rejection, protocol, respond, 0)
}

/// [`refusal`] to which the layer will add so many header fields: a map that has to grow for them is made twice.
#[must_use]
pub fn refusal_with_room(
    rejection: Rejection,
    protocol: Protocol,
    respond: Option<&dyn Respond>,
    fields: usize,
) -> Response<Bytes> {
    let mut response = match respond {
        Some(own) => own.respond(&rejection, protocol),
        None => with_room(&rejection, protocol, fields),
    };
    response.extensions_mut().insert(rejection);
    response
}

fn http_response(rejection: &Rejection, fields: usize) -> Response<Bytes> {
    let mut response = Response::new(problem(rejection.kind()));
    *response.status_mut() = http_status(rejection.kind());
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(2 + fields);
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    if let Some(after) = rejection.retry_after() {
        headers.insert(
            RETRY_AFTER,
            number(rounded_up(after, Duration::from_secs(1))),
        );
    }
    response
}

fn grpc_response(
    rejection: &Rejection,
    content_type: HeaderValue,
    fields: usize,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(4 + fields);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, grpc_code(rejection.kind()).header_value());
    // The explanations are ASCII without `%`, so they need no percent-encoding; a test says so.
    headers.insert(
        GRPC_MESSAGE,
        HeaderValue::from_static(rejection.kind().explanation()),
    );
    if let Some(after) = rejection.retry_after() {
        let millis = rounded_up(after, Duration::from_millis(1)).min(LONGEST_PUSHBACK);
        headers.insert(GRPC_RETRY_PUSHBACK, number(millis));
    }
    response
}

/// The number is a signed one of 32 bits, and one that cannot be read means "never retry" (gRFC A6). 24 days.
const LONGEST_PUSHBACK: u64 = i32::MAX as u64;

/// `time` in whole `unit`s, rounded up and at least one.
fn rounded_up(time: Duration, unit: Duration) -> u64 {
    let units = time.as_nanos().div_ceil(unit.as_nanos().max(1));
    u64::try_from(units).unwrap_or(u64::MAX).max(1)
}

/// The problem document of a kind: there are only a handful, so they are written once.
fn problem(kind: RejectionKind) -> Bytes {
    static PROBLEMS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
        RejectionKind::ALL
            .into_iter()
            .map(|kind| {
                let status = http_status(kind);
                format!(
                    r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{}","code":"{}"}}"#,
                    status.canonical_reason().unwrap_or_default(),
                    status.as_u16(),
                    kind.explanation(),
                    kind.as_str(),
                )
                .into()
            })
            .collect()
    });
    PROBLEMS.get(kind.index()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fusebox_core::LayerKind;

    use super::*;

    fn rejection(kind: RejectionKind) -> Rejection {
        Rejection::new(LayerKind::Bulkhead, "test".into(), kind)
    }

    #[test]
    fn every_kind_has_a_problem_document_that_parses_and_agrees_with_the_status() {
        for kind in RejectionKind::ALL {
            let response = standard_response(&rejection(kind), Protocol::Http);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(problem["status"], response.status().as_u16());
            assert_eq!(problem["code"], kind.as_str());
            assert!(response.headers().get(RETRY_AFTER).is_none());
        }
    }

    #[test]
    fn every_kind_is_a_trailers_only_response_to_grpc() {
        for kind in RejectionKind::ALL {
            for (protocol, content_type) in [
                (Protocol::Grpc, "application/grpc"),
                (Protocol::GrpcWeb, "application/grpc-web"),
            ] {
                let response = standard_response(&rejection(kind), protocol);
                assert_eq!(response.status(), 200);
                assert!(response.body().is_empty());
                assert_eq!(response.headers()[CONTENT_TYPE], content_type);
                let status: u8 = response.headers()["grpc-status"]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!((1..=16).contains(&status));
            }
        }
    }

    #[test]
    fn explanations_need_no_percent_encoding() {
        for kind in RejectionKind::ALL {
            assert!(
                kind.explanation()
                    .bytes()
                    .all(|byte| matches!(byte, b' '..=b'~') && byte != b'%' && byte != b'"'),
                "{kind}"
            );
        }
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (after, seconds, millis) in [
            (Duration::ZERO, "1", "1"),
            (Duration::from_nanos(1), "1", "1"),
            (Duration::from_secs(1), "1", "1000"),
            (Duration::from_nanos(1_000_000_001), "2", "1001"),
            (Duration::from_secs(3_600), "3600", "3600000"),
            (Duration::from_secs(2_592_000), "2592000", "2147483647"),
        ] {
            let rejection = rejection(RejectionKind::Full).with_retry_after(after);
            let http = standard_response(&rejection, Protocol::Http);
            assert_eq!(http.headers()[RETRY_AFTER], seconds, "{after:?}");
            let grpc = standard_response(&rejection, Protocol::Grpc);
            assert_eq!(
                grpc.headers()["grpc-retry-pushback-ms"],
                millis,
                "{after:?}"
            );
        }
        let forever = rejection(RejectionKind::Full).with_retry_after(Duration::MAX);
        assert_eq!(
            standard_response(&forever, Protocol::Http).headers()[RETRY_AFTER],
            "18446744074",
            "584 years, the longest there is"
        );
    }

    #[test]
    fn an_own_response_is_marked_as_a_refusal_too() {
        let own =
            |_: &Rejection, _: Protocol| Response::new(Bytes::from_static(b"come back later"));
        let marked = refusal(rejection(RejectionKind::Full), Protocol::Http, Some(&own));
        assert_eq!(marked.body(), "come back later");
        assert_eq!(
            marked.extensions().get::<Rejection>().map(Rejection::kind),
            Some(RejectionKind::Full)
        );
    }
}
