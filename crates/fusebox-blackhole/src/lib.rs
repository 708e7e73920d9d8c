//! A jail for peers that misbehave: strikes, sentences and block lists, and connections that end without a word.
//!
//! A refusal that has to be computed, written and read costs the server as much as an answer. Who has been refused often
//! enough gets none: a [`Jail`] knows who is in, since when, for how long and why, and there are three places to act on it,
//! each cheaper than the one before.
//!
//! | place | with | what becomes of a connection or request |
//! | --- | --- | --- |
//! | request | [`BlackholeLayer`] | the whole connection is closed without a byte of response, or trickled, or 403: [`Action`] |
//! | accept | [`Gate`], `BlackholeListener` (feature `axum`) | closed before TLS and HTTP: [`Close`] |
//! | kernel | `nftables::Mirror` (feature `nftables`, Linux) | its packets are dropped |
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use fusebox_blackhole::{BlackholeConfig, BlackholeListener, Connection, GateConfig, JailConfig, Traps};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let jail = JailConfig::new("edge").never(["198.51.100.0/24"]).build()?;
//! // Reads lists again, saves sentences. Ends with the jail.
//! tokio::spawn(jail.caretaker());
//!
//! let app = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     // Outermost: refusals of rate limits and WAFs further in are strikes.
//!     .layer(BlackholeConfig::new(&jail).traps(Traps::common()).build()?);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let listener = BlackholeListener::new(listener, GateConfig::new(&jail).build()?);
//! let server = axum::serve(listener, app.into_make_service_with_connect_info::<Connection>());
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Who goes in
//!
//! - **Strikes.** Refusals of inner layers that are the client's doing, chosen statuses, [`Traps`], and
//!   [`Jail::strike`]. The [`Terms`] say how many within which time lead in, and for how long; each relapse doubles the
//!   sentence, good behaviour forgives relapses one by one.
//! - **Lists** in files, read again when they change: [`FeedConfig`]. What is wrong with a new version leaves the old one
//!   in force.
//! - **An operator**: [`Jail::ban`].
//!
//! IPv4 is judged by address, IPv6 by /64, and a /56 or /48 goes in when many of its /64 are in, or when its clients have
//! many strikes together: who has a /48 has 65536 /64 to come back from. Loopback, whatever
//! [`JailConfig::never`] and [`JailConfig::trusted_proxies`] name, and the trusted proxies of a layer's
//! [resolver](BlackholeConfig::identity) can never go in, whoever asks, and no list that covers any of it is taken.
//!
//! # What it costs
//!
//! All memory is allocated when the jail is built, some 43 bytes for each client of its capacity, and none grows with
//! what clients send. An innocent address is cleared out of one cache line, without a lock, a fence or a write
//! ([`engine`] tells how). A full jail gives up the record that is worth least: strikes before sentences, the sentence
//! that ends soonest first. It [counts](engine::Crowded) and reports what it gave up.
//!
//! # What it does not protect against
//!
//! - An attacker with more addresses than you have patience. Whoever never repeats an IPv4 address or IPv6 /48 never has
//!   two strikes; limit what all clients together may cost (a bulkhead), not only what each may.
//! - Spoofed packets: a strike takes a completed connection, but if your edge ends UDP (HTTP/3) or trusts a header, read
//!   [`identity`](fusebox_http::identity) first.
//! - Bans that somebody else brings about. A page elsewhere can have its readers' browsers ask for what is not there, or
//!   for what a WAF refuses; [`Traps`] leave such requests alone, the other strikes do not, because an attacker could hide
//!   behind the same header. A statement of a browser's (`Sec-Fetch-Site`) is worth no more than that.
//! - Bans of bystanders. Many people share an IPv4 address behind a carrier's translator. Choose statuses and sentences
//!   accordingly, start in [shadow mode](fusebox_core::Mode), and read [`Jail::list`].
//!
//! # What must be true of the deployment
//!
//! - Behind a proxy, accept and kernel see the proxy, which can never be jailed: only the layer acts, by the client
//!   that the [resolver](BlackholeConfig::identity) finds. There it denies, whatever the [`Action`]: the connection is the
//!   proxy's, with the requests of others on it.
//! - Your proxies are known: to the resolver of the layer, or by [`JailConfig::trusted_proxies`]. One that nobody has told of
//!   is a client like any other: what is done through it is done by it, and it goes in.
//! - Keys are checked further out, if clients are told apart by a
//!   [hashed header](fusebox_http::identity::IdentityConfig::hashed_header): a key that anybody can invent is no more than
//!   a name. Address and peer are judged besides it, and struck besides it
//!   [unless told otherwise](BlackholeConfig::strike_addresses_too).
//! - Something runs the [caretaker](Jail::caretaker), if there are lists or a file.
//! - Without a [`Connection`] in the request, [`Action::Drop`] can close nothing: it denies, and over HTTP/1 asks for the
//!   connection to be closed.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `http` (default) | the handle, the layer, the gate; without it there is [`engine`] alone |
//! | `axum` | the gate as a listener of `axum::serve` |
//! | `nftables` | the mirror in the kernel, on Linux |
//! | `serde` | snapshots serialise |

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod caller;
#[cfg(feature = "http")]
mod config;
#[cfg(feature = "http")]
mod connection;
pub mod engine;
#[cfg(feature = "http")]
mod feeds;
#[cfg(feature = "http")]
mod file;
#[cfg(feature = "http")]
mod future;
#[cfg(feature = "http")]
mod gate;
#[cfg(feature = "http")]
mod jail;
#[cfg(feature = "http")]
mod layer;
#[cfg(feature = "http")]
mod lines;
#[cfg(feature = "axum")]
mod listener;
#[cfg(all(feature = "nftables", target_os = "linux"))]
pub mod nftables;
#[cfg(feature = "http")]
mod record;
#[cfg(feature = "http")]
mod service;
#[cfg(feature = "http")]
mod strikes;
#[cfg(feature = "http")]
mod tarpit;
#[cfg(feature = "http")]
mod traps;

pub use engine::{
    Cause, FeedError, FeedFormat, FeedLimits, FeedLimitsError, LineProblem, Network, NetworkError,
    Struck, Terms, TermsError,
};
#[cfg(feature = "axum")]
pub use listener::{BlackholeListener, MakeWithConnection, WithConnection, with_connection};
#[cfg(feature = "http")]
pub use {
    body::BlackholeBody,
    config::{FeedConfig, JailConfig, JailConfigError},
    connection::{Connection, Guarded},
    feeds::FeedState,
    future::ResponseFuture,
    gate::{Close, Gate, GateConfig, GateConfigError, TurnedAway},
    jail::{Jail, Reason, Sentence},
    layer::{Action, BlackholeConfig, BlackholeConfigError, BlackholeLayer},
    service::Blackhole,
    tarpit::{TarpitBudget, TarpitError},
    traps::{TrapError, Traps},
};
