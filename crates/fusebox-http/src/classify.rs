use fusebox_core::{Outcome, Rejection};
use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};

use crate::{GrpcCode, Protocol};

/// Which answers of a dependency are its failures.
///
/// The default ([`Standard`]) follows the field: HTTP 5xx and the gRPC codes that speak of the server
/// are failures, HTTP 429 and `RESOURCE_EXHAUSTED` are [`Outcome::Throttled`], everything else is the
/// caller's business and therefore a success.
pub trait Classify: Send + Sync {
    /// What an HTTP answer with this status is, provided that its body arrives whole.
    fn http(&self, status: StatusCode) -> Outcome {
        Standard.http(status)
    }

    /// What a gRPC answer with this code is.
    fn grpc(&self, code: GrpcCode) -> Outcome {
        Standard.grpc(code)
    }
}

/// The usual classification; see [`Classify`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Standard;

impl Classify for Standard {
    #[inline]
    fn http(&self, status: StatusCode) -> Outcome {
        if status == StatusCode::TOO_MANY_REQUESTS {
            Outcome::Throttled
        } else if status.is_server_error() {
            Outcome::Failure
        } else {
            Outcome::Success
        }
    }

    fn grpc(&self, code: GrpcCode) -> Outcome {
        match code {
            GrpcCode::RESOURCE_EXHAUSTED => Outcome::Throttled,
            GrpcCode::CANCELLED => Outcome::Cancelled,
            GrpcCode::UNKNOWN
            | GrpcCode::DEADLINE_EXCEEDED
            | GrpcCode::INTERNAL
            | GrpcCode::UNAVAILABLE
            | GrpcCode::DATA_LOSS => Outcome::Failure,
            // OK, and what the caller did wrong: the dependency did its work.
            _ => Outcome::Success,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the answer was a layer's own refusal ([`Rejection`] in its extensions) rather than
    /// something the dependency said. A breaker ignores those.
    pub local: bool,
}

/// Judges one call, from its head to its end.
///
/// A gRPC call is judged by `grpc-status` wherever it arrives; a gRPC answer without one is a failure. An answer that
/// is no gRPC (neither a `grpc-status` nor the content type) is judged as plain HTTP, whatever the request called
/// itself. A plain HTTP call is judged by its status, and fails all the same when its body breaks off. gRPC-Web hides its
/// trailers inside the body: unless the head carries a `grpc-status`, the call counts as a success
/// when its body ends.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    state: State,
    local: bool,
    /// Bytes of body still to come, when the head announced how many.
    remaining: u64,
}

/// The head did not say how long the body is.
const UNKNOWN: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
enum State {
    /// This, whatever the body does.
    Settled(Outcome),
    /// A success if the body arrives whole.
    Streaming,
    /// The same, unless the trailers say otherwise: a gRPC call got an answer that does not say what it is.
    Undeclared,
    /// Whatever the trailers say.
    AwaitingTrailers,
}

impl State {
    /// `None` if the answer to a gRPC call is no gRPC.
    ///
    /// What a request says of itself is the caller's word. Taken alone, anybody could send
    /// `content-type: application/grpc` to a service that never spoke it, and each of its answers would lack a
    /// `grpc-status` and count as its failure.
    #[inline(never)]
    fn of_grpc(
        status: StatusCode,
        headers: &HeaderMap,
        classify: impl Fn(GrpcCode) -> Outcome,
    ) -> Option<Self> {
        if let Some(code) = GrpcCode::of(headers) {
            return Some(Self::Settled(classify(code)));
        }
        match Protocol::of(headers) {
            Protocol::Http => None,
            _ if status != StatusCode::OK => {
                Some(Self::Settled(classify(GrpcCode::of_http_status(status))))
            }
            Protocol::GrpcWeb => Some(Self::Streaming),
            Protocol::Grpc => Some(Self::AwaitingTrailers),
        }
    }
}

/// What has to be known of a request to judge its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it was a `HEAD`: the answer has headers of a body and no body.
    pub head_only: bool,
}

impl Asked {
    /// Looks at a request.
    ///
    /// gRPC and gRPC-Web are always `POST`; whatever else calls itself that is plain HTTP.
    #[inline]
    #[must_use]
    pub fn by<B>(request: &http::Request<B>) -> Self {
        let protocol = Protocol::of(request.headers());
        Self {
            protocol: if request.method() == Method::POST {
                protocol
            } else {
                Protocol::Http
            },
            head_only: request.method() == Method::HEAD,
        }
    }
}

impl Judge {
    /// [`of`](Self::of) for a classification of the user's own, kept out of the usual path.
    #[cold]
    #[inline(never)]
    pub(crate) fn by_own<B>(
        asked: Asked,
        response: &http::Response<B>,
        body_length: Option<u64>,
        classify: &dyn Classify,
    ) -> Self {
        Self::of(asked, response, body_length, classify)
    }

    /// Looks at the head of a response. `body_length` is the length its body claims to have.
    // Always: with the usual classification it comes down to a few comparisons of the status.
    #[inline(always)]
    #[must_use]
    pub fn of<B, C: Classify + ?Sized>(
        asked: Asked,
        response: &http::Response<B>,
        body_length: Option<u64>,
        classify: &C,
    ) -> Self {
        let status = response.status();
        let headers = response.headers();
        let (grpc, whole) = match asked.protocol {
            Protocol::Http => (None, State::Streaming),
            Protocol::Grpc | Protocol::GrpcWeb => (
                State::of_grpc(status, headers, |code| classify.grpc(code)),
                State::Undeclared,
            ),
        };
        let mut state = match grpc {
            Some(state) => state,
            None => match classify.http(status) {
                Outcome::Success if !bodiless(asked, status) => whole,
                outcome => State::Settled(outcome),
            },
        };
        let mut remaining = UNKNOWN;
        if let State::Streaming | State::Undeclared = state {
            // A server stops asking for frames when the announced length is sent, and a body made
            // of a stream does not know that itself.
            remaining = body_length
                .or_else(|| announced(headers))
                .unwrap_or(UNKNOWN);
            if remaining == 0 {
                state = State::Settled(Outcome::Success);
            }
        }
        Self {
            state,
            // The lookup is a hash of a type id; most responses have no extensions at all.
            local: !response.extensions().is_empty()
                && response.extensions().get::<Rejection>().is_some(),
            remaining,
        }
    }

    /// A frame of data passed. `true` when it was the last one.
    #[inline]
    pub fn data(&mut self, length: usize) -> bool {
        // The length that nobody knows is longer than any body.
        self.remaining = self.remaining.saturating_sub(length as u64);
        self.remaining == 0
    }

    /// The trailers passed.
    pub fn trailers(&mut self, trailers: &HeaderMap, classify: &dyn Classify) {
        if let (State::AwaitingTrailers | State::Undeclared, Some(code)) =
            (self.state, GrpcCode::of(trailers))
        {
            self.state = State::Settled(classify.grpc(code));
        }
    }

    /// The body has ended.
    #[inline]
    #[must_use]
    pub const fn ended(self) -> Judgement {
        self.judge(match self.state {
            State::Settled(outcome) => outcome,
            State::Streaming | State::Undeclared => Outcome::Success,
            State::AwaitingTrailers => Outcome::Failure,
        })
    }

    /// The body broke off with an error.
    #[must_use]
    pub const fn failed(self) -> Judgement {
        self.judge(match self.state {
            State::Settled(outcome) => outcome,
            State::Streaming | State::Undeclared | State::AwaitingTrailers => Outcome::Failure,
        })
    }

    /// Whoever read the body stopped before its end.
    #[must_use]
    pub const fn dropped(self) -> Judgement {
        self.judge(match self.state {
            State::Settled(outcome) => outcome,
            State::Streaming | State::Undeclared | State::AwaitingTrailers => Outcome::Cancelled,
        })
    }

    const fn judge(self, outcome: Outcome) -> Judgement {
        Judgement {
            outcome,
            local: self.local,
        }
    }
}

/// Responses whose body a server never reads (RFC 9110, section 6.4.1).
#[inline]
fn bodiless(asked: Asked, status: StatusCode) -> bool {
    asked.head_only
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

#[inline(never)]
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use fusebox_core::{LayerKind, RejectionKind};

    use super::*;

    const HTTP: Asked = Asked {
        protocol: Protocol::Http,
        head_only: false,
    };
    const GRPC: Asked = Asked {
        protocol: Protocol::Grpc,
        head_only: false,
    };

    fn judge(asked: Asked, response: &http::Response<()>) -> Judge {
        Judge::of(asked, response, None, &Standard)
    }

    fn status(status: u16) -> http::Response<()> {
        http::Response::builder().status(status).body(()).unwrap()
    }

    fn grpc_answer() -> http::Response<()> {
        http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap()
    }

    fn code(code: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static(code),
        )])
    }

    #[test]
    fn http_is_judged_by_its_status_and_its_end() {
        for (answer, ended, failed, dropped) in [
            (200, Outcome::Success, Outcome::Failure, Outcome::Cancelled),
            (404, Outcome::Success, Outcome::Failure, Outcome::Cancelled),
            (
                429,
                Outcome::Throttled,
                Outcome::Throttled,
                Outcome::Throttled,
            ),
            (503, Outcome::Failure, Outcome::Failure, Outcome::Failure),
            (204, Outcome::Success, Outcome::Success, Outcome::Success),
        ] {
            let judge = judge(HTTP, &status(answer));
            assert_eq!(judge.ended().outcome, ended, "{answer}");
            assert_eq!(judge.failed().outcome, failed, "{answer}");
            assert_eq!(judge.dropped().outcome, dropped, "{answer}");
        }
    }

    #[test]
    fn the_answer_to_a_head_request_is_over_at_its_head() {
        let asked = Asked {
            head_only: true,
            ..HTTP
        };
        assert_eq!(
            judge(asked, &status(200)).dropped().outcome,
            Outcome::Success
        );
    }

    #[test]
    fn grpc_is_judged_by_its_trailers() {
        for (trailer, outcome) in [
            ("0", Outcome::Success),
            ("3", Outcome::Success),
            ("1", Outcome::Cancelled),
            ("8", Outcome::Throttled),
            ("13", Outcome::Failure),
            ("14", Outcome::Failure),
            ("nonsense", Outcome::Failure),
        ] {
            let mut judge = judge(GRPC, &status(200));
            judge.trailers(&code(trailer), &Standard);
            assert_eq!(judge.ended().outcome, outcome, "{trailer}");
        }
    }

    #[test]
    fn a_missing_grpc_status_is_a_failure() {
        let mut without = judge(GRPC, &grpc_answer());
        without.trailers(&HeaderMap::new(), &Standard);
        assert_eq!(without.ended().outcome, Outcome::Failure);
        assert_eq!(without.dropped().outcome, Outcome::Cancelled);
        assert_eq!(without.failed().outcome, Outcome::Failure);
    }

    #[test]
    fn a_service_that_speaks_no_grpc_does_not_fail_because_a_request_says_it_is() {
        for (answer, outcome) in [
            (200, Outcome::Success),
            (204, Outcome::Success),
            (400, Outcome::Success),
            (415, Outcome::Success),
            (429, Outcome::Throttled),
            (500, Outcome::Failure),
        ] {
            for content_type in [None, Some("application/json")] {
                let mut response = status(answer);
                if let Some(content_type) = content_type {
                    let value = http::HeaderValue::from_static(content_type);
                    response.headers_mut().insert("content-type", value);
                }
                let judge = judge(GRPC, &response);
                assert_eq!(judge.ended().outcome, outcome, "{answer} {content_type:?}");
            }
        }
    }

    #[test]
    fn only_a_post_is_a_grpc_call() {
        for (method, protocol) in [
            (Method::POST, Protocol::Grpc),
            (Method::GET, Protocol::Http),
            (Method::PUT, Protocol::Http),
        ] {
            let request = http::Request::builder()
                .method(&method)
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            assert_eq!(Asked::by(&request).protocol, protocol, "{method}");
        }
    }

    #[test]
    fn trailers_decide_also_when_the_head_does_not_say_what_it_is() {
        let mut judge = judge(GRPC, &status(200));
        judge.trailers(&code("14"), &Standard);
        assert_eq!(judge.ended().outcome, Outcome::Failure);
    }

    #[test]
    fn a_trailers_only_response_is_judged_by_its_head() {
        let mut response = status(200);
        *response.headers_mut() = code("14");
        assert_eq!(judge(GRPC, &response).dropped().outcome, Outcome::Failure);
    }

    #[test]
    fn a_proxy_that_answers_a_grpc_call_is_judged_by_its_status() {
        assert_eq!(judge(GRPC, &status(503)).ended().outcome, Outcome::Failure);
        assert_eq!(judge(GRPC, &status(403)).ended().outcome, Outcome::Success);
    }

    #[test]
    fn a_marked_refusal_is_local() {
        let mut response = status(503);
        response.extensions_mut().insert(Rejection::new(
            LayerKind::RateLimit,
            "test".into(),
            RejectionKind::QuotaExceeded,
        ));
        assert!(judge(HTTP, &response).ended().local);
        assert!(!judge(HTTP, &status(503)).ended().local);
    }

    #[test]
    fn the_announced_length_ends_the_body() {
        let mut response = status(200);
        response.headers_mut().insert(CONTENT_LENGTH, 10.into());
        let mut judge = judge(HTTP, &response);
        assert!(!judge.data(4));
        assert!(judge.data(6));
    }
}
