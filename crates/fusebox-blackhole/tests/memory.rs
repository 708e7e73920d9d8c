//! What connections and the tarpit leave behind, counted in bytes that live.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "a test reports by panicking"
)]
#![cfg(feature = "axum")]

mod stack;

use std::{
    alloc::System,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use fusebox_blackhole::{Action, BlackholeConfig, GateConfig, Jail, JailConfig, TarpitBudget};
use fusebox_core::Registration;
use fusebox_http::identity::PeerAddr;
use fusebox_testkit::{MockBody, MockService, Script};
use http::Request;
use http_body::Body;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower_layer::Layer as _;
use tower_service::Service as _;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time: they share the counters. Taken before there is a runtime, so that the runtime is gone when the next
/// one begins.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that are allocated and not freed.
fn live() -> i64 {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes is in them.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

fn jail(capacity: usize) -> Jail {
    JailConfig::new("test")
        .capacity(capacity)
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

fn runtime(paused: bool) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(paused).build().unwrap()
}

#[test]
fn the_tarpit_holds_a_little_for_each_slot_and_nothing_for_a_reader_that_does_not_read() {
    let _alone = alone();
    runtime(true).block_on(fill_the_tarpit());
}

async fn fill_the_tarpit() {
    const SLOTS: usize = 200;
    let jail = jail(1_000);
    let peer = SocketAddr::from(([192, 0, 2, 7], 50_312));
    jail.ban(peer.ip(), Duration::from_secs(3_600)).unwrap();
    let budget = TarpitBudget::default().slots(SLOTS);
    let layer = BlackholeConfig::new(&jail)
        .action(Action::Tarpit)
        .tarpit(budget)
        .build()
        .unwrap();
    let inner = MockService::new(Script::ok(MockBody::empty()));
    let mut service = layer.layer(inner);
    let mut held = Vec::with_capacity(2 * SLOTS);
    let mut ask = async |held: &mut Vec<_>| {
        let mut request = Request::new(MockBody::empty());
        request.extensions_mut().insert(PeerAddr(peer));
        held.push(service.call(request).await.unwrap());
    };
    // What is made once, of the runtime's as well: its queues keep the room that so many tasks have needed.
    for _ in 0..SLOTS {
        ask(&mut held).await;
    }
    held.clear();
    tokio::time::advance(Duration::from_secs(60)).await;
    while layer.in_tarpit() > 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;

    let before = live();
    for _ in 0..SLOTS {
        ask(&mut held).await;
    }
    let each = (live() - before) / SLOTS as i64;
    assert_eq!(layer.in_tarpit(), SLOTS);
    assert!((1..4_096).contains(&each), "{each} bytes for each slot");
    for _ in 0..SLOTS {
        ask(&mut held).await;
    }
    assert_eq!(layer.in_tarpit(), SLOTS, "no more than that");

    // A server that polls them and whose clients do not read gets a byte each second, and no more is made meanwhile.
    let full = live();
    let mut bytes = 0;
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(1)).await;
        for response in &mut held {
            let body: Pin<&mut _> = Pin::new(response.body_mut());
            let mut cx = Context::from_waker(Waker::noop());
            if let std::task::Poll::Ready(Some(Ok(frame))) = body.poll_frame(&mut cx) {
                bytes += frame.into_data().map_or(0, |data: Bytes| data.len());
            }
        }
    }
    assert!(bytes >= 9 * SLOTS, "{bytes}");
    assert!(live() - full < 64 * SLOTS as i64, "{}", live() - full);

    // Never polled again: their time is up all the same.
    tokio::time::advance(Duration::from_secs(60)).await;
    while layer.in_tarpit() > 0 {
        tokio::task::yield_now().await;
    }
    held.clear();
    tokio::task::yield_now().await;
    let left = live() - before;
    assert!(left < 16 * SLOTS as i64, "{left} bytes are left");
}

#[test]
fn connections_that_are_dropped_with_their_streams_leave_nothing_behind() {
    let _alone = alone();
    runtime(false).block_on(drop_connections());
}

async fn drop_connections() {
    let jail = jail(1_000);
    let mut server = stack::serve(GateConfig::new(&jail), BlackholeConfig::new(&jail)).await;
    let mut drop_one = async || {
        let mut sender = stack::http2(stack::connect(server.address, 30).await).await;
        let hanging: Vec<_> = (0..3)
            .map(|_| tokio::spawn(sender.send_request(stack::request("/hang"))))
            .collect();
        for _ in 0..3 {
            stack::soon("a handler", server.started.recv())
                .await
                .unwrap();
        }
        jail.ban([192, 0, 2, 30].into(), Duration::from_secs(3_600))
            .unwrap();
        let end = sender.send_request(stack::request("/"));
        stack::soon("the drop", end).await.unwrap_err();
        for answer in hanging {
            stack::soon("the others", answer)
                .await
                .unwrap()
                .unwrap_err();
        }
        drop(sender);
        let hanging = &server.hanging;
        stack::until("all are cancelled", || {
            hanging.load(std::sync::atomic::Ordering::SeqCst) == 0
        })
        .await;
        jail.unban([192, 0, 2, 30].into());
    };
    for _ in 0..5 {
        drop_one().await;
    }
    let before = live();
    for _ in 0..50 {
        drop_one().await;
    }
    // A connection with its streams and buffers takes tens of kilobytes. One or two may be about to end.
    let left = live() - before;
    assert!(left < 50 * 1_000, "{left} bytes are left of 50 connections");
}
