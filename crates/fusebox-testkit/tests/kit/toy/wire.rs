//! What the toy does to requests that pass, and what it answers to those that do not.

use bytes::Bytes;
use fusebox_core::{RejectionKind, Verdict};
use fusebox_http::{Protocol, refusal};
use fusebox_testkit::{MockBody, MockFrame, MockService};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use tower_service::Service;

use super::{ANOTHER, Answer, Flaw, Gate, ToyBody};

pub(super) fn changed(flaw: Flaw, mut request: Request<MockBody>) -> Request<MockBody> {
    match flaw {
        Flaw::ChangesTheMethod => *request.method_mut() = http::Method::GET,
        Flaw::StripsTheQuery => {
            *request.uri_mut() = Uri::from_static("https://shop.example/orders/7");
        }
        Flaw::ChangesTheVersion => *request.version_mut() = Version::HTTP_11,
        Flaw::DropsARequestHeader => {
            request.headers_mut().remove("x-opaque");
        }
        Flaw::ForgetsRequestExtensions => request.extensions_mut().clear(),
        Flaw::EmptiesRequests => *request.body_mut() = MockBody::empty(),
        _ => {}
    }
    request
}

pub(super) fn refused(gate: &Gate, mut inner: MockService, request: Request<MockBody>) -> Answer {
    let flaw = gate.flaw();
    let grpc = Protocol::of(request.headers()) != Protocol::Http;
    if flaw == Flaw::FailsInsteadOfRefusingGrpc && grpc {
        return Err(ANOTHER);
    }
    let protocol = match flaw {
        Flaw::RefusesGrpcAsHttp => Protocol::Http,
        _ => Protocol::of(request.headers()),
    };
    let rejection = gate.rejection();
    if flaw != Flaw::TellsNoRefusal {
        let verdict = Verdict::Refused {
            kind: RejectionKind::Full,
            enforced: flaw != Flaw::TellsRefusalsAsShadow,
        };
        gate.tell(verdict, None);
    }
    let mut response = refusal(rejection, protocol, None);
    let headers = response.headers_mut();
    match flaw {
        Flaw::CallsTheInnerWhenRefusing => drop(inner.call(request)),
        Flaw::ForgetsToMarkGrpcRefusals if grpc => response.extensions_mut().clear(),
        Flaw::RefusesWithSuccess => *response.status_mut() = StatusCode::OK,
        Flaw::RefusesGrpcWithABody if grpc => *response.body_mut() = Bytes::from_static(b"full"),
        Flaw::RefusesGrpcWithOk if grpc => {
            headers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Flaw::SaysRetryAtOnce if !grpc => {
            headers.insert("retry-after", HeaderValue::from_static("0"));
        }
        Flaw::SaysRetryTooSoon if !grpc => {
            headers.insert("retry-after", HeaderValue::from_static("1"));
        }
        _ => {}
    }
    Ok(response.map(|body| {
        ToyBody::Refusal(if body.is_empty() {
            MockBody::empty()
        } else {
            MockBody::of([MockFrame::Data(body)]).announcing_its_length()
        })
    }))
}
