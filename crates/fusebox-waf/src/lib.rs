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
//! | that the rules look into: by the built-in ones form, multipart, JSON, XML, text, of no type or one that nobody understands | held up to [the limit](RulesetBuilder::request_body), inspected, replayed byte for byte with its trailers |
//! | longer than the limit | 413, or its first part inspected and the rest streamed: [`OverLimit`] |
//! | compressed | 415; or unpacked for the rules within bounds of size and ratio, and handed on as it was sent; or passed without a look: [`Compressed`] |
//! | slower than [the rate](RulesetBuilder::body_rate) or [the deadline](RulesetBuilder::body_deadline) | 408 |
//! | any other: `application/octet-stream` and the like, images, sound, video; gRPC; tunnels | streams, without a look |
//! | that breaks off | inspected as far as it came, then handed on with its error |
//!
//! The rules say which bodies they look into: those that have a processor (forms by their type, others by
//! `ctl:requestBodyProcessor`) or are kept as `REQUEST_BODY` (`ctl:forceRequestBodyVariable`). With rules of one's own that do neither
//! for JSON or text, such bodies stream.
//!
//! Reading and inspection run in slices, and the runtime looks at its timers between them: with the built-in rules and bodies of
//! 100 KiB no slice takes more than some two milliseconds of a thread, and no timer of another task is later than five, also on a
//! runtime of one thread that inspects twenty such requests at a time. What cannot be taken apart is one look at all values of a
//! request, and one rule.
//!
//! `Expect: 100-continue` is answered by the server when the body is first asked for, which is after the head was admitted.
//!
//! Responses are inspected on request: [`RulesetBuilder::responses`]. One that is written slowly is held until
//! [a deadline](RulesetBuilder::response_deadline).
//!
//! # What a refusal looks like
//!
//! | why | status, unless the rule says otherwise | [`RejectionKind`](fusebox_core::RejectionKind) |
//! | --- | --- | --- |
//! | a rule, about the request | 403 | `Forbidden` |
//! | a rule or a limit, about the response | 403, at a limit 500 | `Withheld` |
//! | longer than a limit | 413 | `TooLarge` |
//! | too slow | 408 | `TooSlow` |
//! | a content coding that is not taken off | 415, malformed 400 | `Unsupported` |
//! | a body that is not what its content type says | 400 | `Unsupported` |
//! | [time budget](RulesetBuilder::time_budget) or [work budget](RulesetBuilder::work_budget) | 503 | `Undecided` |
//!
//! The body is a problem document (RFC 9457) with the id of the request, and nothing of the rule; a gRPC call gets the status that
//! belongs to the kind, `PERMISSION_DENIED` for an attack. Only `Forbidden` says that somebody attacks, and is what a blackhole
//! further out takes for a strike: a service's own error page is no fault of who asked for it, and a long upload no attack.
//!
//! `drop` is 403 as well; a layer cannot close a connection. In HTTP/1 the answer says `Connection: close`, so that the server does.
//!
//! # What it costs
//!
//! With the built-in rules some 9 microseconds for a browser's GET with its cookies, 11 with seven arguments, 2 for a request with
//! nothing but a host, on top of axum's hello world; two reads of the clock and two allocations. `cargo xtask bench
//! waf` measures it. A body is copied once, if it comes in more than 64 frames, and parsed; a hundred kilobytes of JSON take 3
//! milliseconds.
//!
//! # Where to put it
//!
//! Behind the rate limit, so that a flood costs a table look-up and not an inspection; before routing, or on a route with a handle
//! of its own. While a body arrives, the instance of the inner service that was ready waits for it, and with it whatever that holds: a
//! concurrency limit further in lends a permit to a slow body for as long as the [deadline](RulesetBuilder::body_deadline) allows. Put
//! such limits outside, or on a route where bodies are short. The inner service gets [`InspectedBody`] for a body, which is a body like any other.
//!
//! # What it does not protect against
//!
//! - What the rules do not describe; see [`core`] and the engine, [`seclang`].
//! - Bodies whose content type hides what they are, if the service reads them all the same: a handler that takes bytes or text of any
//!   type and parses them itself. Text that is sent as `application/octet-stream` is not looked at, and text that is sent as a form is
//!   taken apart at `&` and `=`. Check the content type where you read; axum's `Json`, `Form` and `Multipart` do, and what they
//!   accept is inspected as that.
//! - What uploaded files contain, texts among them: a part of a multipart body with a name of a file is one, whatever its field is
//!   called. A handler that reads text from a field should refuse the field if it comes as a file.
//! - Questions of GraphQL for the schema, and headers that take the place of the path (`X-Original-URL`): tools and proxies send
//!   them as well.
//! - A WebSocket's messages, a gRPC call's messages, trailers.
//! - In shadow mode the inspection of a request ends with the first rule that would have refused it. With `SecRuleEngine DetectionOnly`
//!   it goes on behind rules; limits of the layer (413, 415, 408, 503) refuse nothing then, and end it.
//!
//! # What is not there yet
//!
//! - Decompression of brotli and zstd, and of responses. What a client writes into such a body decides about up to 16 MiB of memory for
//!   it before a byte comes out, so they need a bound that gzip and deflate do not; until then such bodies are refused or passed.
//! - Phases 1 and 3, which see heads alone, run in one piece; what a server takes for a head is their bound.
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
mod decode;
mod exam;
mod exclusion;
mod feed;
pub mod future;
mod incident;
mod inspected;
mod kept;
mod layer;
mod pace;
mod refusal;
mod ruleset;
mod service;
mod wall;

pub use audit::AuditLog;
pub use body::ResponseBody;
pub use config::{Compressed, ConfigError, OverLimit, OverTime, RulesetBuilder};
pub use exclusion::{Exclusion, rule, tag};
pub use fusebox_seclang as seclang;
pub use incident::{Asked, Decision, Finding, Incident, OnIncident};
pub use inspected::InspectedBody;
pub use layer::WafLayer;
pub use refusal::{Refusal, RespondToRefusal};
pub use ruleset::{CompiledRules, Ruleset};
pub use service::Waf;
