//! What a refusal looks like on the wire, beyond what every layer's has.

use bytes::Bytes;
use fusebox_core::{LayerKind, Rejection, RejectionKind};
use fusebox_http::{Protocol, Respond, refusal};
use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Response, StatusCode, Version};

use crate::call::Refused;
use crate::exam::REQUEST_ID;
use crate::future::How;

/// The response to a refused request: it names the request, and neither rule nor reason.
pub(crate) fn response(
    refused: Refused,
    how: &How,
    respond: Option<&dyn Respond>,
) -> Response<Bytes> {
    let Refused { stop, request_id } = refused;
    let protocol = how.asked.protocol;
    let rejection = Rejection::new(LayerKind::Waf, how.policy.clone(), stop.kind);
    let mut response = refusal(rejection, protocol, respond);
    if respond.is_none() && protocol == Protocol::Http {
        *response.status_mut() = stop.status;
        *response.body_mut() = problem(stop.status, stop.kind, &request_id);
        if let Some(location) = stop.location {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    // All that a layer can do about `drop`: the server closes the connection behind the answer. In HTTP/2 the field does not
    // exist (RFC 9113, section 8.2.2), and the other streams are none of this one's business.
    if stop.closes && how.version <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(request_id)) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The id is letters, digits and `-_.`, so it needs no escaping.
fn problem(status: StatusCode, kind: RejectionKind, request_id: &str) -> Bytes {
    format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{}","code":"{}","request_id":"{request_id}"}}"#,
        status.canonical_reason().unwrap_or("Refused"),
        status.as_u16(),
        kind.explanation(),
        kind.as_str(),
    )
    .into()
}
