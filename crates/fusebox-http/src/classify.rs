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
            // Who gives a call up hears nothing more of it. Where this arrives somebody has waited for it, and the
            // other side has given up: tonic, for one, says so when its own timeout has passed.
            GrpcCode::CANCELLED
            | GrpcCode::UNKNOWN
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
/// itself, unless that is this side's [`own`](Asked::own). A plain HTTP call is judged by its status, and fails all the same when its body breaks off. gRPC-Web hides its
/// trailers inside the body: unless the head carries a `grpc-status`, the call counts as a success
/// when its body ends.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    fate: Fate,
    /// Bytes of body still to come, when the head announced how many.
    remaining: u64,
}

/// The head did not say how long the body is.
const UNKNOWN: u64 = u64::MAX;

/// What the call is, for each way its body can go; worked out when the head is there.
///
/// One whole word, because it is moved along with the response: a struct of an enum and some flags is moved in pieces.
///
/// ```text
///  63   9     8            7            6        5..4         3..2        1..0
/// [ .... ] [asking] [trailers decide] [local] [if dropped] [if failed] [if ended]
/// ```
#[derive(Clone, Copy, Debug)]
struct Fate(u64);

const FAILED: u32 = 2;
const DROPPED: u32 = 4;
/// A layer's own refusal.
const LOCAL: u64 = 1 << 6;
/// A `grpc-status` in the trailers replaces what the head said.
const TRAILERS_DECIDE: u64 = 1 << 7;
/// The body is being asked for a frame.
const ASKING: u64 = 1 << 8;

impl Fate {
    /// A success if the body arrives whole.
    const STREAMING: Self = Self::of(Outcome::Success, Outcome::Failure, Outcome::Cancelled);
    /// The same, unless the trailers say otherwise: a gRPC call got an answer that does not say what it is.
    const UNDECLARED: Self = Self(Self::STREAMING.0 | TRAILERS_DECIDE);
    /// Whatever the trailers say, and a failure if they say nothing.
    const AWAITING_TRAILERS: Self =
        Self(Self::of(Outcome::Failure, Outcome::Failure, Outcome::Cancelled).0 | TRAILERS_DECIDE);

    /// This, whatever the body does.
    const fn settled(outcome: Outcome) -> Self {
        Self::of(outcome, outcome, outcome)
    }

    const fn of(ended: Outcome, failed: Outcome, dropped: Outcome) -> Self {
        Self(number(ended) | number(failed) << FAILED | number(dropped) << DROPPED)
    }

    /// `None` if the answer to a gRPC call is no gRPC.
    ///
    /// What a request says of itself is the caller's word. Taken alone, anybody could send
    /// `content-type: application/grpc` to a service that never spoke it, and each of its answers would lack a
    /// `grpc-status` and count as its failure. A client's own word is another matter.
    #[inline(never)]
    fn of_grpc(
        status: StatusCode,
        headers: &HeaderMap,
        asked: Asked,
        classify: impl Fn(GrpcCode) -> Outcome,
    ) -> Option<Self> {
        if let Some(code) = GrpcCode::of(headers) {
            return Some(Self::settled(classify(code)));
        }
        let answer = Protocol::of(headers);
        if answer == Protocol::Http && !asked.own {
            return None;
        }
        Some(if status != StatusCode::OK {
            Self::settled(classify(code_without_status(status)))
        } else if answer == Protocol::GrpcWeb {
            Self::STREAMING
        } else {
            Self::AWAITING_TRAILERS
        })
    }

    /// Whether there is nothing after the last frame of data that would change it.
    ///
    /// If trailers may, they are waited for; but if nobody asks for them, the body was whole.
    #[inline]
    fn ends_with_its_data(&mut self) -> bool {
        if self.0 & TRAILERS_DECIDE == 0 {
            return true;
        }
        let dropped = (self.0 & 3) << DROPPED;
        self.0 = self.0 & !(3 << DROPPED) | dropped;
        false
    }

    #[inline]
    const fn judgement(self, way: u32) -> Judgement {
        Judgement {
            outcome: match (self.0 >> way) & 3 {
                0 => Outcome::Success,
                1 => Outcome::Failure,
                2 => Outcome::Throttled,
                _ => Outcome::Cancelled,
            },
            local: self.0 & LOCAL != 0,
        }
    }
}

const fn number(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Success => 0,
        Outcome::Failure => 1,
        Outcome::Throttled => 2,
        Outcome::Cancelled => 3,
    }
}

/// The code of a gRPC call that was answered with this status and without a `grpc-status`.
///
/// gRPC's own [table](GrpcCode::of_http_status) says what a caller should make of it. Two of its lines would blame
/// the dependency for what it did not do: a limit was reached, or the request was bad.
const fn code_without_status(status: StatusCode) -> GrpcCode {
    match status.as_u16() {
        400 => GrpcCode::INVALID_ARGUMENT,
        429 => GrpcCode::RESOURCE_EXHAUSTED,
        _ => GrpcCode::of_http_status(status),
    }
}

/// What has to be known of a request to judge its response.
// Aligned to be one word: three bytes would be moved in pieces, along with every call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(4))]
pub struct Asked {
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it was a `HEAD`: the answer has headers of a body and no body.
    pub head_only: bool,
    /// Whether it is this side's own, so that it may be believed: who sends gRPC and is answered with a load
    /// balancer's page has failed. To [look at](Self::by) a request does not tell.
    pub own: bool,
}

impl Asked {
    /// Looks at a request.
    ///
    /// gRPC and gRPC-Web are always `POST`; whatever else calls itself that is plain HTTP.
    #[inline]
    #[must_use]
    pub fn by<B>(request: &http::Request<B>) -> Self {
        Self {
            // The method first: it is a byte, and the content type a look-up that most requests need not pay for.
            protocol: if request.method() == Method::POST {
                Protocol::of(request.headers())
            } else {
                Protocol::Http
            },
            head_only: request.method() == Method::HEAD,
            own: false,
        }
    }
}

impl Judge {
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
            Protocol::Http => (None, Fate::STREAMING),
            Protocol::Grpc | Protocol::GrpcWeb => (
                Fate::of_grpc(status, headers, asked, |code| classify.grpc(code)),
                Fate::UNDECLARED,
            ),
        };
        let mut fate = match grpc {
            Some(fate) => fate,
            None => match classify.http(status) {
                Outcome::Success if !bodiless(asked, status) => whole,
                outcome => Fate::settled(outcome),
            },
        };
        let mut remaining = UNKNOWN;
        if fate.judgement(0).outcome == Outcome::Success
            && fate.judgement(FAILED).outcome == Outcome::Failure
        {
            // A server stops asking for frames when the announced length is sent, and a body made
            // of a stream does not know that itself.
            remaining = match body_length {
                Some(length) => length,
                None => announced(headers),
            };
            if remaining == 0 {
                fate = Fate::settled(Outcome::Success);
            }
        }
        // The lookup is a hash of a type id; most responses have no extensions at all.
        if !response.extensions().is_empty() && response.extensions().get::<Rejection>().is_some() {
            fate.0 |= LOCAL;
        }
        Self { fate, remaining }
    }

    /// [`of`](Self::of) for nearly all calls, or `None`: plain HTTP, answered well, with a body of a known length and
    /// nothing in the extensions.
    ///
    /// It comes to the same, by nothing but a few comparisons, so that the compiler sees through it.
    #[inline(always)]
    pub(crate) fn of_usual<B: http_body::Body>(
        asked: Asked,
        response: &http::Response<B>,
    ) -> Option<Self> {
        let status = response.status().as_u16();
        let usual = matches!(asked.protocol, Protocol::Http)
            && !asked.head_only
            && matches!(status, 200..=203 | 205..=303 | 305..=428 | 430..=499)
            && response.extensions().is_empty()
            && !response.body().is_end_stream();
        match response.body().size_hint().exact() {
            Some(remaining) if usual && remaining != 0 => Some(Self {
                fate: Fate::STREAMING,
                remaining,
            }),
            _ => None,
        }
    }

    /// A frame of data passed. `true` when it was the last one.
    #[inline]
    pub fn data(&mut self, length: usize) -> bool {
        // The length that nobody knows is longer than any body.
        self.remaining = self.remaining.saturating_sub(length as u64);
        self.remaining == 0 && self.fate.ends_with_its_data()
    }

    /// The trailers passed.
    pub fn trailers(&mut self, trailers: &HeaderMap, classify: &dyn Classify) {
        if self.fate.0 & TRAILERS_DECIDE != 0
            && let Some(code) = GrpcCode::of(trailers)
        {
            let local = self.fate.0 & LOCAL;
            self.fate = Fate(Fate::settled(classify.grpc(code)).0 | local);
        }
    }

    /// The body has ended.
    #[inline]
    #[must_use]
    pub const fn ended(self) -> Judgement {
        self.fate.judgement(0)
    }

    /// The body broke off with an error.
    #[must_use]
    pub const fn failed(self) -> Judgement {
        self.fate.judgement(FAILED)
    }

    /// The body is asked for a frame.
    #[inline]
    pub const fn asking(&mut self) {
        self.fate.0 |= ASKING;
    }

    /// It has answered.
    #[inline]
    pub const fn answered(&mut self) {
        self.fate.0 &= !ASKING;
    }

    /// Whoever read the body stopped before its end; or it never [answered](Self::answered), which is to say that it
    /// panicked. (`thread::panicking` would say so of a reader that panics, too.)
    #[must_use]
    pub const fn dropped(self) -> Judgement {
        self.fate.judgement(if self.fate.0 & ASKING == 0 {
            DROPPED
        } else {
            FAILED
        })
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
fn announced(headers: &HeaderMap) -> u64 {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use fusebox_core::{LayerKind, RejectionKind};

    use super::*;

    const HTTP: Asked = Asked {
        protocol: Protocol::Http,
        head_only: false,
        own: false,
    };
    const GRPC: Asked = Asked {
        protocol: Protocol::Grpc,
        head_only: false,
        own: false,
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
            ("1", Outcome::Failure),
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
    fn a_load_balancers_page_is_a_failure_of_ones_own_grpc_call() {
        let own = Asked { own: true, ..GRPC };
        for (answer, outcome) in [
            (200, Outcome::Failure),
            (400, Outcome::Success),
            (401, Outcome::Success),
            (403, Outcome::Success),
            (429, Outcome::Throttled),
            (500, Outcome::Failure),
            (503, Outcome::Failure),
        ] {
            let mut response = status(answer);
            let html = http::HeaderValue::from_static("text/html");
            response.headers_mut().insert("content-type", html);
            let judge = judge(own, &response);
            assert_eq!(judge.ended().outcome, outcome, "{answer}");
        }
        let mut judge = judge(own, &status(200));
        judge.trailers(&code("0"), &Standard);
        assert_eq!(judge.ended().outcome, Outcome::Success, "no content type");
    }

    #[test]
    fn a_grpc_answer_without_a_code_blames_nobody_for_a_limit_or_a_bad_request() {
        for (answer, outcome) in [
            (400, Outcome::Success),
            (429, Outcome::Throttled),
            (503, Outcome::Failure),
        ] {
            let mut response = grpc_answer();
            *response.status_mut() = StatusCode::from_u16(answer).unwrap();
            let judge = judge(GRPC, &response);
            assert_eq!(judge.ended().outcome, outcome, "{answer}");
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
    fn trailers_after_an_announced_length_decide_all_the_same() {
        let mut response = status(200);
        response.headers_mut().insert(CONTENT_LENGTH, 4.into());
        let mut judge = judge(GRPC, &response);
        assert!(!judge.data(4), "trailers may follow");
        assert_eq!(judge.dropped().outcome, Outcome::Success, "or may not");
        judge.trailers(&code("14"), &Standard);
        assert_eq!(judge.ended().outcome, Outcome::Failure);
        assert_eq!(judge.dropped().outcome, Outcome::Failure);
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
