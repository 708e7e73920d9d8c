//! A compartment on the caller's side: around hyper-util's client and around tonic's channel.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::{Outcome, Registration, Rejection, RejectionKind};
use fusebox_stack_tests::{Server, within};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{ServiceBuilder, ServiceExt};

fn builder() -> CompartmentBuilder {
    Compartment::builder("upstream").registration(Registration::Unlisted)
}

/// Without threads of its own and with.
fn kinds() -> [CompartmentBuilder; 2] {
    [builder(), builder().threads(1)]
}

#[tokio::test]
async fn a_hyper_client_in_a_full_compartment_never_calls() {
    for settings in kinds() {
        let upstream = settings.slots(1).build().unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let counted = called.clone();
        let router = Router::new().route(
            "/",
            get(move || async move {
                counted.fetch_add(1, Ordering::SeqCst);
                "hello"
            }),
        );
        let server = Server::start(router).await;
        let client = ServiceBuilder::new()
            .layer(upstream.layer())
            .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
        let get = || {
            let request = Request::get(server.url("/")).body(Empty::new()).unwrap();
            within(client.clone().oneshot(request))
        };

        let slot = upstream.try_acquire().unwrap();
        let refused = get().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let rejection = refused.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), RejectionKind::Full);
        assert_eq!(called.load(Ordering::SeqCst), 0);

        drop(slot);
        let answer = get().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.extensions().get::<Rejection>().is_none());
        let body = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), "hello");
        assert_eq!(called.load(Ordering::SeqCst), 1);
        assert_eq!(upstream.snapshot().in_flight, 0);
    }
}

#[tokio::test]
async fn a_tonic_client_in_a_compartment_gets_a_status_and_its_messages() {
    for settings in kinds() {
        let upstream = settings.slots(1).build().unwrap();
        let (reporter, health) = tonic_health::server::health_reporter();
        let server = Server::start(tonic::service::Routes::new(health).into_axum_router()).await;
        let endpoint = Endpoint::from_shared(server.url("")).unwrap();
        let channel = within(endpoint.connect()).await.unwrap();
        let mut client = HealthClient::new(
            ServiceBuilder::new()
                .layer(upstream.layer())
                .service(channel),
        );
        let request = HealthCheckRequest::default;

        let slot = upstream.try_acquire().unwrap();
        let status = within(client.check(request())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        drop(slot);

        // A stream holds the slot; each message arrives when it is sent.
        let mut stream = within(client.watch(request())).await.unwrap().into_inner();
        let message = within(stream.message()).await.unwrap().unwrap();
        assert_eq!(message.status, 1, "serving");
        assert_eq!(upstream.snapshot().in_flight, 1);
        let not_serving = tonic_health::ServingStatus::NotServing;
        reporter.set_service_status("", not_serving).await;
        let message = within(stream.message()).await.unwrap().unwrap();
        assert_eq!(message.status, 2, "not serving");
        let status = within(client.check(request())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);

        // The status at the end of a stream is still tonic's own.
        drop(stream);
        let unknown = HealthCheckRequest {
            service: "nobody".to_owned(),
        };
        let checked = async {
            loop {
                match client.check(unknown.clone()).await {
                    // The stream over there is dropped a moment after the stream here.
                    Err(status) if status.code() == Code::ResourceExhausted => {
                        tokio::task::yield_now().await;
                    }
                    checked => break checked,
                }
            }
        };
        assert_eq!(within(checked).await.unwrap_err().code(), Code::NotFound);
        let told = upstream.snapshot().stats;
        assert_eq!(
            told.outcome(Outcome::Success),
            1,
            "not found is the caller's business"
        );
    }
}
