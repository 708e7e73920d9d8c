//! A compartment in front of a tonic server, seen by a tonic client.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::{Outcome, Registration};
use fusebox_stack_tests::{Server, until, within};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

type Health = HealthClient<tonic::transport::Channel>;

fn builder() -> CompartmentBuilder {
    Compartment::builder("grpc").registration(Registration::Unlisted)
}

/// Without threads of its own and with.
fn kinds() -> [CompartmentBuilder; 2] {
    [builder(), builder().threads(1)]
}

async fn serve(compartment: &Compartment) -> (Server, Health) {
    let (reporter, health) = tonic_health::server::health_reporter();
    // Whoever drops it ends every stream.
    std::mem::forget(reporter);
    let router = tonic::service::Routes::new(health)
        .into_axum_router()
        .layer(compartment.layer());
    let server = Server::start(router).await;
    let channel = within(Endpoint::from_shared(server.url("")).unwrap().connect())
        .await
        .unwrap();
    (server, HealthClient::new(channel))
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

async fn in_flight(compartment: &Compartment, calls: usize) {
    let seen = || compartment.snapshot().in_flight == calls;
    until(&format!("{calls} in flight"), seen).await;
}

#[tokio::test]
async fn a_full_compartment_answers_resource_exhausted_in_a_trailers_only_response() {
    for settings in kinds() {
        let settings = settings.slots(1).retry_after(Duration::from_millis(1_500));
        let compartment = settings.build().unwrap();
        let (_server, mut client) = serve(&compartment).await;

        // A stream that goes on until somebody stops it.
        let mut stream = within(client.watch(request())).await.unwrap().into_inner();
        assert!(within(stream.message()).await.unwrap().is_some());
        in_flight(&compartment, 1).await;

        let status = within(client.check(request())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "too many requests of this kind are in progress"
        );
        assert_eq!(
            status.metadata().get("grpc-retry-pushback-ms").unwrap(),
            "1500"
        );

        // The client stops reading, and the slot comes back.
        drop(stream);
        in_flight(&compartment, 0).await;
        within(client.check(request())).await.unwrap();
        assert_eq!(compartment.snapshot().in_flight, 0);
        let told = compartment.snapshot().stats;
        assert_eq!(told.outcome(Outcome::Cancelled), 1, "the stream");
        assert_eq!(told.outcome(Outcome::Success), 1, "the call");
        assert_eq!(told.refused(), 1);
    }
}

#[tokio::test]
async fn a_call_that_fails_by_its_trailers_is_the_callers_business_or_a_failure() {
    let compartment = builder().slots(1).build().unwrap();
    let (_server, mut client) = serve(&compartment).await;
    let unknown = HealthCheckRequest {
        service: "nobody".to_owned(),
    };
    let status = within(client.check(unknown)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let told = compartment.snapshot().stats;
    assert_eq!(told.outcome(Outcome::Success), 1);
    assert_eq!(compartment.snapshot().in_flight, 0);
}

#[tokio::test]
async fn the_refusal_of_a_call_is_trailers_only_on_the_wire() {
    let compartment = builder().slots(1).build().unwrap();
    let (server, _client) = serve(&compartment).await;
    let _slot = compartment.try_acquire().unwrap();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Empty<Bytes>>();
    let request = Request::post(server.url("/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .body(Empty::new())
        .unwrap();
    let response = within(client.request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "8");
    let body = within(response.into_body().collect()).await.unwrap();
    assert!(body.trailers().is_none(), "they came with the head");
    assert!(body.to_bytes().is_empty());
}
