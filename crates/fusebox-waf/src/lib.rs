//! A web application firewall for tower services: one `.layer(..)` line in front of any HTTP service.
//!
//! A [`Ruleset`] is the handle of rules in force: fusebox's own, which are built in ([`core`]), the OWASP Core Rule Set, or SecLang
//! of your own. A [`WafLayer`] inspects requests by them: the head before a byte of the body is read, the body before the inner
//! service sees a byte of it. What must not pass is refused; everything else arrives as it was sent.
//!
//! ```
//! use std::convert::Infallible;
//! use bytes::Bytes;
//! use fusebox_waf::{InspectedBody, Ruleset, rule};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # async fn shop(_: Request<InspectedBody<Full<Bytes>>>) -> Result<Response<Full<Bytes>>, Infallible> {
//! #     Ok(Response::new(Full::from("sold")))
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rules = Ruleset::builder("shop")
//!     .text("shop.conf", r#"
//!         SecRuleEngine On
//!         SecRequestBodyAccess On
//!         SecRule ARGS "@contains <script" "id:1,phase:2,deny,status:403,t:lowercase,msg:'Script'"
//!     "#)
//!     .exclude(rule(1).on_path("/cms").argument("html"))
//!     .build()?;
//! let service = ServiceBuilder::new().layer(rules.layer()).service(service_fn(shop));
//!
//! let order = |path: &str| {
//!     Request::post(path)
//!         .header("content-type", "application/x-www-form-urlencoded")
//!         .body(Full::from("html=<SCRIPT>alert(1)</SCRIPT>"))
//! };
//! let refused = service.clone().oneshot(order("/order")?).await?;
//! assert_eq!(refused.status(), 403);
//! let admitted = service.oneshot(order("/cms")?).await?;
//! assert_eq!(admitted.status(), 200);
//!
//! // At three in the morning:
//! assert_eq!(rules.hits(), [(1, 1)]);
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of bodies
//!
//! | body | what happens |
//! | --- | --- |
//! | form, multipart, JSON, XML, text, of no or an unknown type | held up to [the limit](RulesetBuilder::request_body), inspected, replayed byte for byte with its trailers |
//! | longer than the limit | 413, or its first part inspected and the rest streamed: [`OverLimit`] |
//! | compressed | 415, or passed without a look: [`Compressed`] |
//! | slower than [the rate](RulesetBuilder::body_rate) or [the deadline](RulesetBuilder::body_deadline) | 408 |
//! | `application/octet-stream`, images, sound, video; gRPC; tunnels | streams, without a look |
//! | that breaks off | inspected as far as it came, then handed on with its error |
//!
//! An inspection runs in slices of about a millisecond and lets other tasks run between them. `Expect: 100-continue` is answered by
//! the server when the body is first asked for, which is after the head was admitted.
//!
//! Responses are inspected on request: [`RulesetBuilder::responses`].
//!
//! # Where to put it
//!
//! Behind the rate limit, so that a flood costs a table look-up and not an inspection; before routing, or on a route with a handle
//! of its own. The inner service gets [`InspectedBody`] for a body, which is a body like any other.
//!
//! # What it does not protect against
//!
//! - What the rules do not describe; see [`core`] and the engine, [`seclang`].
//! - Bodies whose content type hides what they are, if the service reads them all the same: a JSON handler that does not ask for
//!   JSON. Check the content type where you read.
//! - A WebSocket's messages, a gRPC call's messages, trailers.
//! - In shadow mode the inspection of a request ends with the first rule that would have refused it.
//!
//! # What is not there yet
//!
//! - Decompression: a compressed body is refused or passed, never read.
//! - Phase 1 and the reading of one frame of a body run in one piece; the rules of phases 2 and 4 run in slices.
//! - JSON, XML and multipart cut by [`OverLimit::InspectFirstPart`] are malformed to rules that ask for it.
//!
//! # What must be true of the deployment
//!
//! - Nothing in front rewrites the path or decodes bodies after the inspection.
//! - Behind a proxy, [`clients`](RulesetBuilder::clients) knows it; else every request comes from the proxy.
//! - A tokio runtime with its timer enabled, for the deadlines of bodies.
//! - A response under inspection is held in memory, up to the limit, for each request in flight.

mod answer;
mod arrival;
mod audit;
mod body;
mod call;
mod config;
pub mod core;
mod exam;
mod exclusion;
pub mod future;
mod incident;
mod inspected;
mod kept;
mod layer;
mod refusal;
mod ruleset;
mod service;

pub use audit::AuditLog;
pub use body::ResponseBody;
pub use config::{Compressed, ConfigError, OverLimit, OverTime, RulesetBuilder};
pub use exclusion::{Exclusion, rule, tag};
pub use fusebox_seclang as seclang;
pub use incident::{Decision, Finding, Incident, OnIncident};
pub use inspected::InspectedBody;
pub use layer::WafLayer;
pub use ruleset::Ruleset;
pub use service::Waf;
