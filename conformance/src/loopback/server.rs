//! hyper and axum, each with the firewall in front of the back end.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_http::identity::PeerAddr;
use fusebox_waf::{Compressed, Incident, OverLimit, OverTime, Ruleset, WafLayer};
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{Layer as _, Service as _, service_fn};

use super::PATIENCE;
use crate::backend;
use crate::engine::{AFTER_SETUP, BEFORE_SETUP, Run};
use crate::request::Request;
use crate::suite::Suite;

/// Shorter than what the client waits: some tests announce more than they send.
const BODY: Duration = Duration::from_millis(200);

/// What was found since somebody last asked.
type Found = Arc<Mutex<Run>>;

pub(super) struct Rules {
    handle: Ruleset,
    found: Found,
}

/// The rule set as the tests want it: every level, nothing blocked.
pub(super) fn rules(suite: &Suite) -> Result<Rules> {
    let found = Found::default();
    let listener = {
        let found = found.clone();
        move |incident: &Incident<'_>| {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            for finding in incident.findings.iter().filter(|finding| finding.logged) {
                found.ids.push(finding.rule_id);
                let (id, message, on) = (finding.rule_id, &finding.message, &finding.target);
                let data = finding.data.as_deref().unwrap_or_default();
                let line = format!("[id \"{id}\"] {message} [on \"{on}\"] {data}");
                found.log.push(line);
            }
        }
    };
    let mut settings = Ruleset::builder("crs")
        .text("before-setup", BEFORE_SETUP)
        .registration(Registration::Unlisted)
        .request_body(13_107_200, OverLimit::Refuse)
        .responses(524_288, OverLimit::InspectFirstPart)
        .compressed(Compressed::Pass)
        .body_deadline(BODY)
        .time_budget(PATIENCE, OverTime::Refuse)
        .reveal_values(true)
        .on_incident(Arc::new(listener));
    if let Some(setup) = &suite.rules.setup {
        settings = settings.file(setup);
    }
    settings = settings.text("after-setup", AFTER_SETUP);
    for file in &suite.rules.files {
        settings = settings.file(file);
    }
    Ok(Rules {
        handle: settings.build()?,
        found,
    })
}

/// A server; it stops when it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    rules: Ruleset,
    found: Found,
    ended: u64,
}

impl Server {
    /// hyper's own HTTP/1 server.
    pub(super) async fn hyper(rules: &Rules) -> Result<Self> {
        let (listener, address) = listen().await?;
        let layer = rules.handle.layer();
        let task = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let mut firewall = layer.layer(service_fn(albedo));
                let service = service_fn(move |mut request: http::Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer));
                    firewall.call(request)
                });
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
                tokio::spawn(async move {
                    // Many tests are about requests that end a connection with an error.
                    let _ended = connection.await;
                });
            }
        });
        Ok(Self::new(address, task, rules))
    }

    /// axum, as its users start it.
    pub(super) async fn axum(rules: &Rules) -> Result<Self> {
        let (listener, address) = listen().await?;
        let layer: WafLayer = rules.handle.layer();
        let router = Router::new()
            .fallback_service(service_fn(albedo))
            .layer(layer);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, service).await;
        });
        Ok(Self::new(address, task, rules))
    }

    fn new(address: SocketAddr, task: JoinHandle<()>, rules: &Rules) -> Self {
        Self {
            address,
            task,
            rules: rules.handle.clone(),
            found: rules.found.clone(),
            ended: 0,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was found of the request that was just answered. `None` if the firewall did not see any.
    pub(super) async fn seen(&mut self) -> Option<Run> {
        // The end of a call is told when its answer is written, which the client may be told before the server is.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let stats = self.rules.stats();
        let ended = stats.ended() + stats.refused();
        let run = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let is_seen = ended > std::mem::replace(&mut self.ended, ended);
        is_seen.then_some(run)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// The back end of the tests as a service.
async fn albedo<B: Body<Data = Bytes>>(
    request: http::Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let uri = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = body.collect().await;
    let wanted = backend::answer(&Request {
        method: head.method.as_str().as_bytes().to_vec(),
        uri: uri.as_bytes().to_vec(),
        body: body.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec()),
        ..Request::default()
    });
    let mut answer = Response::new(Full::from(wanted.body));
    *answer.status_mut() = wanted.status.try_into().unwrap_or_default();
    for (name, value) in wanted.headers {
        let name = HeaderName::from_bytes(&name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            answer.headers_mut().append(name, value);
        }
    }
    if head.method == Method::CONNECT {
        // "A server MUST NOT send" it (RFC 9110, section 9.3.6), and hyper does not.
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(answer)
}
