//! A compartment around a service that hyper serves by itself, over HTTP/1.1 and HTTP/2.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::{Outcome, Registration};
use fusebox_stack_tests::{until, within};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{
    BodyExt, Empty,
    channel::{Channel, Sender},
};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::mpsc};
use tower::{ServiceBuilder, service_fn};

fn builder() -> CompartmentBuilder {
    Compartment::builder("hyper").registration(Registration::Unlisted)
}

/// Without threads of its own and with.
fn kinds() -> [CompartmentBuilder; 2] {
    [builder(), builder().threads(1)]
}

/// Serves streams whose writing ends go to the test. Returns its URL.
async fn serve(compartment: &Compartment) -> (http::Uri, mpsc::Receiver<Sender<Bytes>>) {
    let (streams, started) = mpsc::channel(16);
    let service = ServiceBuilder::new()
        .layer(compartment.layer())
        .service(service_fn(move |_: Request<Incoming>| {
            let streams = streams.clone();
            async move {
                let (sender, body) = Channel::<Bytes>::new(1);
                streams.send(sender).await.unwrap();
                Ok::<_, Infallible>(Response::new(body))
            }
        }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away is an error here, and what some of these are about.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url.parse().unwrap(), started)
}

fn client(http2: bool) -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

#[tokio::test]
async fn frames_and_trailers_pass_and_the_slot_is_free_at_the_end() {
    for http2 in [false, true] {
        for settings in kinds() {
            let compartment = settings.slots(1).build().unwrap();
            let (url, mut started) = serve(&compartment).await;
            let client = client(http2);
            let request = || Request::get(url.clone()).body(Empty::new()).unwrap();
            for _ in 0..3 {
                let mut body = within(client.request(request())).await.unwrap().into_body();
                let mut sender = within(started.recv()).await.unwrap();
                for row in ["one", "two", "three", "four", "five", "six", "seven"] {
                    within(sender.send_data(Bytes::from_static(row.as_bytes())))
                        .await
                        .unwrap();
                    let frame = within(body.frame()).await.unwrap().unwrap();
                    assert_eq!(frame.into_data().unwrap(), row);
                }
                let refused = within(client.request(request())).await.unwrap();
                assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
                drop(within(refused.into_body().collect()).await);

                let mut trailers = HeaderMap::new();
                trailers.insert("x-rows", HeaderValue::from_static("7"));
                within(sender.send(Frame::trailers(trailers)))
                    .await
                    .unwrap();
                drop(sender);
                // HTTP/1.1 leaves out trailers that its head did not announce.
                if http2 {
                    let frame = within(body.frame()).await.unwrap().unwrap();
                    assert_eq!(frame.into_trailers().unwrap()["x-rows"], "7");
                }
                assert!(within(body.frame()).await.is_none());
                assert_eq!(compartment.snapshot().in_flight, 0);
            }
            let told = compartment.snapshot().stats;
            assert_eq!(told.outcome(Outcome::Success), 3, "HTTP/2: {http2}");
            assert_eq!(told.refused(), 3);
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_gives_its_slot_back() {
    for settings in kinds() {
        let compartment = settings.slots(1).build().unwrap();
        let (url, mut started) = serve(&compartment).await;
        // One connection for all of them: only the stream ends, not the connection.
        let client = client(true);
        for cancelled in 1..=3 {
            let body = within(client.get(url.clone())).await.unwrap().into_body();
            let _sender = within(started.recv()).await.unwrap();
            assert_eq!(compartment.snapshot().in_flight, 1);
            drop(body);
            until("the slot is back", || compartment.snapshot().in_flight == 0).await;
            let told = || compartment.snapshot().stats.outcome(Outcome::Cancelled);
            until("it is told", || told() == cancelled).await;
        }
    }
}
