use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{Server, within};

/// One connection of HTTP/1.1, one request at a time. Dropped, it goes away in the middle of whatever
/// it was doing.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
}

#[expect(clippy::unwrap_used, reason = "for tests: a panic is the report")]
impl Connection {
    /// Connects to a server.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn to(server: &Server) -> Self {
        Self::open(server.address()).await
    }

    /// Connects.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        let (sender, connection) = within(handshake(TokioIo::new(stream))).await.unwrap();
        let task = tokio::spawn(connection);
        Self { sender, task }
    }

    /// Asks for a path; the answer is ready with its head.
    ///
    /// # Errors
    /// When the server closes the connection instead of answering.
    ///
    /// # Panics
    /// When the request before this one is not over yet, and stays so.
    pub async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(path).body(Empty::new()).unwrap();
        self.send(request).await
    }

    /// Sends a request; the answer is ready with its head.
    ///
    /// # Errors
    /// When the server closes the connection instead of answering.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub async fn send(
        &mut self,
        mut request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        within(self.sender.ready()).await?;
        let host = HeaderValue::from_static("loopback");
        request.headers_mut().insert(HOST, host);
        within(self.sender.send_request(request)).await
    }

    /// Asks for a path and reads the answer to its end.
    ///
    /// # Errors
    /// When the server closes the connection before that.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub async fn fetch(&mut self, path: &str) -> hyper::Result<Response<Bytes>> {
        let (head, body) = self.get(path).await?.into_parts();
        let body = within(body.collect()).await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
