//! What counts as a strike.

use fusebox_core::{LayerKind, Rejection, RejectionKind};
use fusebox_http::GrpcCode;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};

use crate::{Cause, Traps};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which answers and requests are strikes.
#[derive(Clone, Debug)]
pub(crate) struct Strikes {
    pub(crate) refusals_of: Vec<LayerKind>,
    pub(crate) statuses: Vec<StatusCode>,
    pub(crate) grpc_codes: Vec<GrpcCode>,
    pub(crate) traps: Traps,
    /// Whether what is counted against a credential counts against its address.
    pub(crate) address_too: bool,
}

/// Whether a request is for a trapped path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trapped {
    /// It is for another path.
    No,
    /// Somebody else's page has sent a browser there, as it says (Fetch Metadata, W3C): otherwise an image tag on a busy
    /// page could have all its readers banned. Nothing about the request is a strike then: the 404 that it ends with, or
    /// a firewall's refusal of the path, would ban them all the same.
    LedThere,
    /// It is for one, by its own will.
    Caught,
}

impl Default for Strikes {
    fn default() -> Self {
        Self {
            refusals_of: vec![LayerKind::RateLimit, LayerKind::Waf],
            statuses: Vec::new(),
            grpc_codes: Vec::new(),
            traps: Traps::default(),
            address_too: true,
        }
    }
}

impl Strikes {
    /// Whether the request is for a path that only a scanner asks for, and by its own will.
    #[inline]
    pub(crate) fn trap<B>(&self, request: &Request<B>) -> Trapped {
        if !self.traps.catch(request.uri().path()) {
            Trapped::No
        } else if led_by_someone_else(request.headers()) {
            Trapped::LedThere
        } else {
            Trapped::Caught
        }
    }

    /// Why the answer is a strike, if it is.
    #[inline]
    pub(crate) fn of_response<B>(&self, response: &Response<B>) -> Option<Cause> {
        let rejection = match response.extensions().is_empty() {
            true => None,
            false => response.extensions().get::<Rejection>(),
        };
        if let Some(rejection) = rejection {
            // A local refusal is judged as what it is, never by the status it happens to have.
            return self.of_rejection(rejection);
        }
        let listed = self.statuses.contains(&response.status())
            || !self.grpc_codes.is_empty()
                && GrpcCode::of(response.headers())
                    .is_some_and(|code| self.grpc_codes.contains(&code));
        listed.then_some(Cause::Statuses)
    }

    fn of_rejection(&self, rejection: &Rejection) -> Option<Cause> {
        let is_the_clients_doing = matches!(
            rejection.kind(),
            // Not that everything is full, or down: that is no fault of whoever comes then.
            RejectionKind::QuotaExceeded | RejectionKind::Forbidden | RejectionKind::Unidentified
        );
        if !is_the_clients_doing || !self.refusals_of.contains(&rejection.layer()) {
            return None;
        }
        Some(match rejection.layer() {
            LayerKind::RateLimit => Cause::RateLimit,
            LayerKind::Waf => Cause::Waf,
            _ => Cause::Refusals,
        })
    }
}

fn led_by_someone_else(headers: &HeaderMap) -> bool {
    headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| site == "cross-site")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(layer: LayerKind, kind: RejectionKind) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response
            .extensions_mut()
            .insert(Rejection::new(layer, "test".into(), kind));
        response
    }

    #[test]
    fn only_refusals_that_are_the_clients_doing_count() {
        let strikes = Strikes {
            statuses: vec![StatusCode::UNAUTHORIZED],
            ..Strikes::default()
        };
        for (layer, kind, cause) in [
            (
                LayerKind::RateLimit,
                RejectionKind::QuotaExceeded,
                Some(Cause::RateLimit),
            ),
            (LayerKind::RateLimit, RejectionKind::TooManyKeys, None),
            (LayerKind::Waf, RejectionKind::Forbidden, Some(Cause::Waf)),
            (LayerKind::Bulkhead, RejectionKind::Full, None),
            (LayerKind::Bulkhead, RejectionKind::QuotaExceeded, None),
            (LayerKind::Other("login"), RejectionKind::Forbidden, None),
        ] {
            assert_eq!(
                strikes.of_response(&refused(layer, kind)),
                cause,
                "{layer} {kind}"
            );
        }
        let strikes = Strikes {
            refusals_of: vec![LayerKind::Other("login")],
            ..strikes
        };
        let login = refused(LayerKind::Other("login"), RejectionKind::Forbidden);
        assert_eq!(strikes.of_response(&login), Some(Cause::Refusals));
    }

    #[test]
    fn chosen_statuses_count_and_no_others() {
        let strikes = Strikes {
            statuses: vec![StatusCode::UNAUTHORIZED],
            grpc_codes: vec![GrpcCode::UNAUTHENTICATED],
            ..Strikes::default()
        };
        let answer = |status: u16, grpc: Option<&str>| {
            let mut response = Response::builder().status(status);
            if let Some(code) = grpc {
                response = response.header("grpc-status", code);
            }
            strikes.of_response(&response.body(()).unwrap())
        };
        assert_eq!(answer(401, None), Some(Cause::Statuses));
        assert_eq!(answer(404, None), None);
        assert_eq!(answer(200, Some("16")), Some(Cause::Statuses));
        assert_eq!(answer(200, Some("5")), None);
    }

    #[test]
    fn a_browser_that_was_led_into_a_trap_is_not_caught() {
        let strikes = Strikes {
            traps: Traps::common(),
            ..Strikes::default()
        };
        let trapped = |path: &str, site: Option<&str>| {
            let mut request = Request::builder().uri(path);
            if let Some(site) = site {
                request = request.header("sec-fetch-site", site);
            }
            strikes.trap(&request.body(()).unwrap())
        };
        for (path, site, expected) in [
            ("/.env?x=1", None, Trapped::Caught),
            ("/.env", Some("none"), Trapped::Caught),
            ("/.env", Some("same-origin"), Trapped::Caught),
            ("/.env", Some("cross-site"), Trapped::LedThere),
            ("/", None, Trapped::No),
            ("/", Some("cross-site"), Trapped::No),
        ] {
            assert_eq!(trapped(path, site), expected, "{path} {site:?}");
        }
    }
}
