//! Bulkheads: what one kind of traffic may use, so that it cannot sink the others.
//!
//! A [`Compartment`] is everything a kind of traffic has: slots for calls in flight, a bounded queue in
//! front of them, threads of its own if it computes, a share for each tenant, with a queue of its own. A layer puts services into
//! it. What does not fit is refused at once, or waits for a bounded time; the other compartments do not
//! notice.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use fusebox_bulkhead::Compartment;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # async fn pay(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
//! #     Ok(Response::new(Full::from("paid")))
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let payments = Compartment::builder("payments")
//!     .slots(20)
//!     .queue(40, Duration::from_millis(200))
//!     .build()?;
//!
//! // Make the compartment once and keep it: all its layers and their clones share its slots.
//! let service = ServiceBuilder::new().layer(payments.layer()).service(service_fn(pay));
//! let response = service.oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), 200);
//!
//! // At three in the morning:
//! payments.resize(40)?;
//! println!("p99 {:?}", payments.snapshot().stats.latency.p99);
//! # Ok(())
//! # }
//! ```
//!
//! # Which flavour
//!
//! | for | use | a refusal is |
//! | --- | --- | --- |
//! | HTTP and gRPC servers and clients | [`Compartment::layer`] | a response: 503, or `RESOURCE_EXHAUSTED` |
//! | any other tower service | [`Compartment::plain_layer`] | [`CallError::Rejected`](fusebox_core::CallError) |
//! | consumers that should slow down instead | [`Compartment::backpressure_layer`] | a `poll_ready` that waits |
//! | code without tower | [`Compartment::run`], [`Compartment::acquire`] | a [`Rejection`](fusebox_core::Rejection) |
//!
//! A compartment may have threads, so services have to be `Clone`, and like their requests and answers `Send` and
//! `'static`. Where it has none, the plain and the backpressure flavour do without:
//! [`PlainBulkheadLayer::local`] asks for `Clone` alone, since a call may have to wait while the next one is made, and
//! [`BackpressureLayer::local`] for nothing.
//!
//! # Which setting against which trouble
//!
//! | trouble | setting |
//! | --- | --- |
//! | too many calls wait for a slow dependency | [`slots`](CompartmentBuilder::slots) |
//! | short bursts are refused | [`queue`](CompartmentBuilder::queue) |
//! | after a stall, every answer is late | [`QueueOrder::LifoUnderOverload`] |
//! | calls that compute starve everybody else's threads | [`threads`](CompartmentBuilder::threads), [`nice`](CompartmentBuilder::nice) |
//! | those threads still delay who commits or must answer at once | [`processors`](CompartmentBuilder::processors) |
//! | handlers block | [`threads`](CompartmentBuilder::threads) and `tokio::task::spawn_blocking` in them, or [`Compartment::run_blocking`] |
//! | a dependency bears only so many connections | `Compartment::connection_layer` (feature `connections`) |
//! | one tenant takes all slots | [`slots_per_key`](CompartmentBuilder::slots_per_key) |
//! | and its short bursts are refused | [`queue_per_key`](CompartmentBuilder::queue_per_key) |
//! | you do not know yet how many slots | [`mode`](CompartmentBuilder::mode): shadow, then a percentage |
//!
//! # What it does not do
//!
//! - It does not end a call that never ends: a slot is held as long as the call runs. Put a timeout
//!   inside the bulkhead.
//! - Without [`threads`](CompartmentBuilder::threads) it does not protect from calls that compute or
//!   block: a few of them occupy the runtime that all compartments share.
//! - It does not see what follows an upgrade (101, as for a WebSocket): the slot is given back with the
//!   head. For those, limit connections, or hold a [`Slot`] of [`Compartment::acquire`] as long.
//! - It divides slots and threads, not memory, and not the processor's cache and memory bandwidth.
//! - Slots count in this process. Ten replicas have ten times as many.
//! - It does not know which requests are worth more; give those a compartment of their own.
//!
//! # What must be true of the deployment
//!
//! - Servers read or drop response bodies: a slot is held to the end of the body, and a client that reads
//!   slowly holds it as long. Set a write timeout, or [`HoldUntil::Head`].
//! - A queue and a shutdown need a tokio runtime with its timer enabled; compartments with threads bring
//!   their own for what runs there.
//! - Priorities and processors of threads have an effect on Linux and Android only.
//!
//! # Cost
//!
//! A call that finds a slot takes one compare-and-swap, one subtraction, one increment for its record, and a
//! clone of the handle's `Arc`; it allocates nothing, and there is no lock. A refusal changes nothing but its
//! counter and the count of the name it carries. Where a call is timed, two readings of the clock and another
//! increment come on top, which is more than all the rest: see
//! [`time_every_call`](CompartmentBuilder::time_every_call).
//!
//! That is so without a key and without threads. A key takes one of sixteen locks, which its shard of the keys
//! shares, on the way in and again on the way out, and allocates what the call holds of it, and slots for a key that
//! held nothing. Threads allocate
//! a task for each call and buffers for its body, and wake another thread. A call that waits takes the lock
//! of the line.
//!
//! `cargo xtask bench bulkhead` measures it against its peers.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `http` (default) | the flavour that knows HTTP and gRPC |
//! | `tower` | the handle, the plain and the backpressure flavour; `http` includes it |
//! | `threads` | [`threads`] alone; `tower` includes it |
//! | `connections` | a limit of open connections for the connectors of hyper-util and tonic |
//!
//! Without any feature there is the [`engine`], which needs neither runtime nor clock.

#[cfg(feature = "tower")]
mod backpressure;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "tower")]
mod call;
#[cfg(feature = "tower")]
mod compartment;
#[cfg(feature = "tower")]
mod config;
#[cfg(feature = "connections")]
pub mod connections;
pub mod engine;
#[cfg(feature = "http")]
pub mod future;
#[cfg(feature = "tower")]
mod key;
#[cfg(feature = "http")]
mod layer;
#[cfg(feature = "tower")]
pub mod plain;
#[cfg(feature = "tower")]
mod seat;
#[cfg(feature = "http")]
mod service;
#[cfg(feature = "tower")]
mod shared;
#[cfg(feature = "tower")]
mod slot;
#[cfg(feature = "tower")]
mod snapshot;
#[cfg(feature = "threads")]
pub mod threads;
#[cfg(feature = "tower")]
mod waiting;

#[cfg(feature = "tower")]
pub use {
    backpressure::{Backpressure, BackpressureLayer},
    compartment::Compartment,
    config::{CompartmentBuilder, ConfigError, HoldUntil},
    engine::QueueOrder,
    key::{Everyone, Key, KeyOf, Whose},
    plain::{PlainBulkhead, PlainBulkheadLayer},
    slot::Slot,
    snapshot::{CompartmentSnapshot, KeysSnapshot},
};
#[cfg(feature = "http")]
pub use {body::ResponseBody, layer::BulkheadLayer, service::Bulkhead};
