//! The experiment's HTTP clients: keep-alive connections to one service, on behalf of many customers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Context;
use http::{Method, Request, header, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use uuid::Uuid;

use crate::payments::request::IDEMPOTENCY_KEY;

/// What an honest client says of itself.
pub(super) const USER_AGENT: &str = "storefront-storm/1.0";

/// Addresses in a row: each is a client in the service's eyes, with a quota of its own.
///
/// They are of the block that is set aside for measurements (RFC 2544), so no message of these leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    first: Ipv4Addr,
    count: u32,
}

impl Crowd {
    /// `count` of them, from `first` on.
    #[must_use]
    pub(super) const fn new(first: [u8; 4], count: u32) -> Self {
        let [a, b, c, d] = first;
        Self {
            first: Ipv4Addr::new(a, b, c, d),
            count,
        }
    }

    /// One of them; they come round again.
    #[must_use]
    pub(super) fn member(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + number % self.count.max(1))
    }

    /// Each of them.
    pub(super) fn members(self) -> impl Iterator<Item = Ipv4Addr> {
        (0..self.count).map(move |number| self.member(number))
    }
}

/// How the service learns who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From `X-Forwarded-For`, as behind a reverse proxy that it trusts: this process is one.
    Named,
    /// From the connection, which comes from that very address.
    Direct,
}

/// A client of one service, with its own connections: as many as it has requests under way at most.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pools: Arc<[Pool<HttpConnector, Full<Bytes>>]>,
    way: Way,
    crowd: Crowd,
    next: Arc<AtomicU32>,
    service: SocketAddr,
}

impl Client {
    /// A client without connections yet, whose requests are those of `crowd`, in turn.
    #[must_use]
    pub(super) fn new(service: SocketAddr, crowd: Crowd, way: Way) -> Self {
        let pools = match way {
            Way::Named => vec![pool(None)],
            Way::Direct => crowd.members().map(|member| pool(Some(member))).collect(),
        };
        Self {
            pools: pools.into(),
            way,
            crowd,
            next: Arc::default(),
            service,
        }
    }

    /// The same connections, for one member of the crowd only.
    #[must_use]
    pub(super) fn alone(&self, number: u32) -> Self {
        Self {
            pools: Arc::clone(&self.pools),
            way: self.way,
            crowd: Crowd {
                first: self.crowd.member(number),
                count: 1,
            },
            next: Arc::default(),
            service: self.service,
        }
    }

    /// Pays for the order once, and gives the status when the whole answer is there.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub(super) async fn pay(&self, order_id: u64) -> anyhow::Result<u16> {
        let (status, _) = self.pay_and_read(order_id).await?;
        Ok(status)
    }

    /// The same, and what was answered.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub(super) async fn pay_and_read(&self, order_id: u64) -> anyhow::Result<(u16, Vec<u8>)> {
        let body = json!({"order_id": order_id, "amount": 1999, "currency": "EUR"});
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.address("/payments"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, Uuid::now_v7().to_string());
        self.send(request, body.to_string()).await
    }

    /// Gets `path`, and gives the status when the whole answer is there.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<u16> {
        let request = Request::builder().uri(self.address(path));
        let (status, _) = self.send(request, String::new()).await?;
        Ok(status)
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.service)
    }

    async fn send(
        &self,
        mut request: request::Builder,
        body: String,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.way == Way::Named {
            let customer = self.crowd.member(number).to_string();
            request = request.header("x-forwarded-for", customer);
        }
        let request = request
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "application/json")
            .body(Full::from(body))?;
        let pool = self.pools.get(number as usize % self.pools.len().max(1));
        let pool = pool.context("a crowd of nobody")?;
        let response = pool.request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body.to_vec()))
    }
}

fn pool(from: Option<Ipv4Addr>) -> Pool<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_local_address(from.map(Into::into));
    Pool::builder(TokioExecutor::new()).build(connector)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, http::HeaderMap, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_crowd_has_so_many_members_and_comes_round() {
        let crowd = Crowd::new([198, 19, 0, 254], 3);
        let members: Vec<String> = crowd.members().map(|member| member.to_string()).collect();
        assert_eq!(members, ["198.19.0.254", "198.19.0.255", "198.19.1.0"]);
        assert_eq!(crowd.member(4), crowd.member(1));
    }

    #[tokio::test]
    async fn each_request_is_the_next_customers_and_one_alone_stays_the_same() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&seen);
        let handler = move |headers: HeaderMap| async move {
            let name = headers.get("x-forwarded-for").cloned();
            names.lock().unwrap().extend(name);
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(handler));
        tokio::spawn(axum::serve(listener, routes).into_future());

        let client = Client::new(service, Crowd::new([198, 19, 0, 1], 2), Way::Named);
        for _ in 0..3 {
            client.get("/").await.unwrap();
        }
        let alone = client.alone(1);
        for _ in 0..2 {
            alone.get("/").await.unwrap();
        }
        let seen = seen.lock().unwrap();
        let last: Vec<_> = seen.iter().map(|name| name.as_bytes().last()).collect();
        assert_eq!(last, [b'1', b'2', b'1', b'2', b'2'].each_ref().map(Some));
    }
}
