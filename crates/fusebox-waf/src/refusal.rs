//! What a refusal looks like on the wire, beyond what every layer's has.

use bytes::Bytes;
use fusebox_core::{LayerKind, Name, Rejection, RejectionKind};
use fusebox_http::{Protocol, Respond, refusal};
use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};

use crate::call::Refused;
use crate::exam::REQUEST_ID;

/// The response to a refused request: it names the request, and neither rule nor reason.
pub(crate) fn response(
    refused: Refused,
    policy: &Name,
    protocol: Protocol,
    respond: Option<&dyn Respond>,
) -> Response<Bytes> {
    let Refused { stop, request_id } = refused;
    let rejection = Rejection::new(LayerKind::Waf, policy.clone(), RejectionKind::Forbidden);
    let mut response = refusal(rejection, protocol, respond);
    if respond.is_none() && protocol == Protocol::Http {
        *response.status_mut() = stop.status;
        *response.body_mut() = problem(stop.status, &request_id);
        if let Some(location) = stop.location {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(request_id)) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The id is letters, digits and `-_.`, so it needs no escaping.
fn problem(status: StatusCode, request_id: &str) -> Bytes {
    format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{}","code":"{}","request_id":"{request_id}"}}"#,
        status.canonical_reason().unwrap_or("Refused"),
        status.as_u16(),
        RejectionKind::Forbidden.explanation(),
        RejectionKind::Forbidden.as_str(),
    )
    .into()
}
