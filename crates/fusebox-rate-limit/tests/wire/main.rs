//! What clients see: statuses, header fields and documents, byte for byte.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::{Rejection, RejectionKind};
use fusebox_http::identity::PeerAddr;
use fusebox_rate_limit::{
    Algorithm, Ask, Found, Head, Key, KeyBy, Overflow, Policy, Quota, QuotaHeaders, RateLimitLayer,
    RateLimiter, ResponseBody, Tier, Worth,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

mod charges;
mod keys;
mod told;
mod waiting;

type Answer = Response<ResponseBody<Full<Bytes>>>;

/// What the inner service answers is what the request says it is to be.
#[derive(Clone, Copy, Default)]
struct Be {
    status: Option<StatusCode>,
    worth: Option<u64>,
}

async fn inner(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let be = request
        .extensions()
        .get::<Be>()
        .copied()
        .unwrap_or_default();
    let mut response = Response::new(Full::from("hello"));
    *response.status_mut() = be.status.unwrap_or_default();
    if let Some(worth) = be.worth {
        response.extensions_mut().insert(Worth(worth));
    }
    Ok(response)
}

fn limiter(policies: impl IntoIterator<Item = Policy>) -> RateLimiter {
    let builder = RateLimiter::builder("api").registration(fusebox_core::Registration::Unlisted);
    policies
        .into_iter()
        .fold(builder, |builder, policy| {
            builder.policy(policy.capacity(64))
        })
        .build()
        .unwrap()
}

async fn send(layer: &RateLimitLayer, request: Request<()>) -> Answer {
    layer
        .layer(service_fn(inner))
        .oneshot(request)
        .await
        .unwrap()
}

fn from(host: u8) -> http::request::Builder {
    Request::builder().extension(PeerAddr(([192, 0, 2, host], 50_312).into()))
}

fn plain() -> Request<()> {
    from(1).body(()).unwrap()
}

/// Sends a request and reads its answer to the end, so that it is settled.
async fn status(layer: &RateLimitLayer, request: Request<()>) -> u16 {
    let answer = send(layer, request).await;
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

async fn body(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}
