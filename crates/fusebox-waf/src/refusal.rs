//! What a refusal looks like on the wire, beyond what every layer's has.

use std::sync::Arc;

use bytes::Bytes;
use fusebox_core::{LayerKind, Rejection, RejectionKind};
use fusebox_http::{Protocol, Respond, refusal, standard_response};
use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Response, StatusCode, Version};

use crate::call::Refused;
use crate::exam::REQUEST_ID;
use crate::future::How;

/// A refused request, as [`RespondToRefusal`] sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal<'a> {
    /// What the response is marked with.
    pub rejection: &'a Rejection,
    /// What the request spoke.
    pub protocol: Protocol,
    /// The id that the log tells of, and that is sent as `X-Request-Id` in any case.
    pub request_id: &'a str,
    /// The status that the rule says, or belongs to the limit.
    pub status: StatusCode,
    /// Where the rule sends the client, if it redirects.
    pub location: Option<&'a HeaderValue>,
    /// The rule that decided; 0 for a limit. Not for the client: it says which way to go on trying.
    pub rule_id: u32,
}

/// Turns a refusal of the firewall into the response that a client sees, with what a [`Respond`] of every layer does not know.
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use fusebox_waf::{Refusal, WafLayer};
/// use http::{Response, StatusCode};
///
/// let page = |refusal: &Refusal<'_>| {
///     let mut response = Response::new(Bytes::from(format!("Refused. Tell us: {}", refusal.request_id)));
///     *response.status_mut() = refusal.status;
///     response
/// };
/// let layer = WafLayer::core()?.respond_to_refusal(Arc::new(page));
/// # let _ = layer;
/// # Ok::<(), fusebox_waf::ConfigError>(())
/// ```
pub trait RespondToRefusal: Send + Sync {
    /// The response to this one. It is marked with the rejection afterwards.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<Bytes>;
}

impl<F: Fn(&Refusal<'_>) -> Response<Bytes> + Send + Sync> RespondToRefusal for F {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<Bytes> {
        self(refusal)
    }
}

/// Whose response it is.
#[derive(Clone)]
pub(crate) enum Own {
    /// One that may stand for other layers, too.
    Any(Arc<dyn Respond>),
    Firewall(Arc<dyn RespondToRefusal>),
}

/// The response to a refused request: it names the request, and neither rule nor reason.
pub(crate) fn response(refused: Refused, how: &How, own: Option<&Own>) -> Response<Bytes> {
    let Refused { stop, request_id } = refused;
    let protocol = how.asked.protocol;
    let rejection = Rejection::new(LayerKind::Waf, how.policy.clone(), stop.kind);
    let with_all = |rejection: &Rejection, protocol: Protocol| match own {
        Some(Own::Firewall(own)) => own.respond(&Refusal {
            rejection,
            protocol,
            request_id: &request_id,
            status: stop.status,
            location: stop.location.as_ref(),
            rule_id: stop.rule_id,
        }),
        Some(Own::Any(own)) => own.respond(rejection, protocol),
        None => standard_response(rejection, protocol),
    };
    let mut response = refusal(rejection, protocol, own.map(|_| &with_all as &dyn Respond));
    if own.is_none() && protocol == Protocol::Http {
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
