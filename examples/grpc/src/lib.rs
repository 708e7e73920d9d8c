//! gRPC for real: a payments authoriser on tonic and its client, each behind the layers that belong there.
//!
//! ```text
//! client: Authoriser ── circuit breaker ── deadline ── bulkhead ── Channel
//!                                                                     │ HTTP/2
//! server:                   Bank ── bulkhead ── rate limit ── tonic ──┘
//! ```
//!
//! The breaker is outermost on the client's side, so that a call through an open circuit takes no slot and
//! waits for nothing, and so that it sees the deadline as a failure. What the bulkhead inside it refuses is
//! marked, and the breaker takes no notice: the authoriser has never heard of that call.
//!
//! On the server's side the rate limit comes first, because it is the cheaper refusal.

pub mod bank;
pub mod client;
pub mod server;

/// What the `.proto` says, in Rust.
pub mod proto {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("payments.v1");
}
