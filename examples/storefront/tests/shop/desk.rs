//! A small shop in a temporary directory, and how to ask it something.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use fusebox_http::identity::PeerAddr;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use storefront::{
    app::{Settings, Shop},
    compartments::Protection,
    db::Database,
    serve::prepare,
};
use tempfile::TempDir;
use tower::ServiceExt;

/// Enough for every kind of answer, and seeded in a moment.
const ORDERS: u32 = 200;

pub(crate) const EVERY_PROTECTION: [Protection; 3] =
    [Protection::None, Protection::Semaphore, Protection::Fusebox];

pub(crate) struct Desk {
    pub(crate) shop: Shop,
    pub(crate) directory: TempDir,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Desk {
    pub(crate) async fn open(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path(), ORDERS).await.unwrap();
        let shop = Shop::open(directory.path(), settings).await.unwrap();
        Self { shop, directory }
    }

    pub(crate) async fn with(protection: Protection) -> Self {
        Self::open(Settings {
            protection,
            ..Settings::default()
        })
        .await
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.shop.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(request(Method::GET, path, Body::empty())).await
    }

    pub(crate) async fn pay(&self, key: &str, body: &Value) -> Answer {
        self.ask(payment(key, body)).await
    }

    /// Reads a number from the books behind the service's back.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        number(self.directory.path(), sql).await
    }
}

pub(crate) async fn number(directory: &Path, sql: &'static str) -> i64 {
    let database = Database::prepare(directory).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// As an honest client sends it, each from an address of its own: they share no quota.
pub(crate) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    static CLIENTS: AtomicU32 = AtomicU32::new(u32::from_be_bytes([198, 18, 0, 1]));
    let client = Ipv4Addr::from_bits(CLIENTS.fetch_add(1, Ordering::Relaxed));
    request_from(client, method, path, body)
}

/// The same from this address.
pub(crate) fn request_from(
    client: Ipv4Addr,
    method: Method,
    path: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.example")
        .header("user-agent", "test/1.0")
        .header("accept", "application/json")
        .extension(PeerAddr((client, 50_000).into()))
        .body(body.into())
        .unwrap()
}

pub(crate) fn payment(key: &str, body: &Value) -> Request<Body> {
    let mut request = request(Method::POST, "/payments", body.to_string());
    let headers = request.headers_mut();
    headers.insert("idempotency-key", key.parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    request
}

pub(crate) fn order(order_id: i64) -> Value {
    json!({"order_id": order_id, "amount": 1999, "currency": "EUR"})
}

impl Answer {
    /// Checks that it is a problem document that tells itself what its status is, and gives its code.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }
}
