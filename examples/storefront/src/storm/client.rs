//! The experiment's HTTP client: keep-alive connections to one service on loopback.

use std::net::SocketAddr;

use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use uuid::Uuid;

use crate::payments::request::IDEMPOTENCY_KEY;

/// A client of one service, with its own connections: as many as it has requests under way at most.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    service: SocketAddr,
}

impl Client {
    /// A client without connections yet.
    #[must_use]
    pub(super) fn new(service: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            service,
        }
    }

    /// Pays for the order once, and gives the status when the whole answer is there.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub(super) async fn pay(&self, order_id: u64) -> anyhow::Result<u16> {
        let body = json!({"order_id": order_id, "amount": 1999, "currency": "EUR"});
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.address("/payments"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, Uuid::now_v7().to_string())
            .body(Full::from(body.to_string()))?;
        self.send(request).await
    }

    /// Gets `path`, and gives the status when the whole answer is there.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<u16> {
        let request = Request::builder()
            .uri(self.address(path))
            .body(Full::default())?;
        self.send(request).await
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.service)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<u16> {
        let response = self.pool.request(request).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(status)
    }
}
