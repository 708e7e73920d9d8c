//! Who is calling: the client identity, resolved once per request and kept with where it came from.
//!
//! A limit per client is only as good as the answer to "which client is this?". The answer is a
//! [`ClientIdentity`]; an [`IdentityResolver`] finds it; an [`IdentityConfig`] says what your
//! deployment looks like. Every fusebox layer that asks takes the same resolver, so the whole stack
//! agrees.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use fusebox_http::identity::{IdentityConfig, PeerAddr, Provenance};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let resolver = IdentityConfig::new().trusted_proxies(["10.0.0.0/24"]).build()?;
//!
//! let mut request = http::Request::builder()
//!     // The client wrote the first entry, the proxy at 10.0.0.7 appended what it saw.
//!     .header("x-forwarded-for", "198.51.100.1, 203.0.113.9")
//!     .extension(PeerAddr("10.0.0.7:50312".parse::<SocketAddr>()?))
//!     .body(())?;
//!
//! let client = resolver.resolve_once(&mut request)?.ok_or("exempt")?;
//! assert_eq!(client.address(), Some("203.0.113.9".parse()?));
//! assert_eq!(client.provenance(), Provenance::XForwardedFor { hop: 1 });
//! # Ok(())
//! # }
//! ```
//!
//! # How to configure it
//!
//! Ask one question: **what is at the other end of the TCP connection that this process accepts?**
//!
//! ## Clients themselves: directly exposed
//!
//! [`IdentityResolver::peer_only()`]. No header is ever read; whatever a client writes into
//! `X-Forwarded-For` changes nothing. The process must be given the peer address: see
//! [below](#where-the-peer-address-comes-from).
//!
//! ## nginx, `HAProxy`, Envoy, an ingress, an AWS ALB
//!
//! ```
//! # use fusebox_http::identity::IdentityConfig;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Where the proxies connect from, as narrow as you can write it.
//! let resolver = IdentityConfig::new().trusted_proxies(["10.0.12.0/24", "fd00:12::/64"]).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The proxy must **append** what it saw, or replace the field with it:
//! - nginx: `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;`. Without that line nginx
//!   passes on whatever the client sent, and every client names itself.
//! - `HAProxy`: `option forwardfor`. Envoy: `use_remote_address: true`. AWS ALB: attribute
//!   `routing.http.xff_header_processing.mode` is `append` (never `preserve`); list the subnets of
//!   the balancer. Google's balancer appends the client **and its own address**, so list that address
//!   besides `130.211.0.0/22` and `35.191.0.0/16`.
//! - Whatever it is, it must not append a port to IPv6 without brackets (`2001:db8::1:443`): that is another
//!   address. Write no port, or the brackets.
//! - Several of your own proxies in a row: list them all. The walk steps over each.
//!
//! ## Cloudflare, or another CDN with a header of its own
//!
//! ```
//! # use fusebox_http::identity::IdentityConfig;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cloudflare = ["173.245.48.0/20", "104.16.0.0/13", "2606:4700::/32"]; // and so on: their list
//! let resolver = IdentityConfig::new()
//!     .cdn_header("cf-connecting-ip", cloudflare)
//!     // Only if something of yours stands between the CDN and this process:
//!     .trusted_proxies(["10.0.12.0/24"])
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! The header counts only when the hop that brought the request is in the CDN's list, be it the peer
//! or the address that your own proxies saw. Anyone may rent a place on the same CDN and point it at
//! your origin, so the address alone does not prove that the request came through *your* account:
//! close the origin with authenticated origin pulls, a tunnel or a secret header, checked before this.
//!
//! ## A Unix socket, the PROXY protocol, your own accept loop
//!
//! There is no peer address that this crate could see. Whoever accepts the connection inserts a
//! [`PeerAddr`] into the request's extensions; it is believed before every other source.
//!
//! ## Clients with API keys
//!
//! [`IdentityConfig::hashed_header`]: the key is hashed with a keyed hash and never kept. A caller can
//! send a new invented key with every request and be a new client each time, so this belongs **behind**
//! the check of the key, or together with a limit by address.
//!
//! # What must be true of the deployment
//!
//! - Nobody but the listed proxies connects from the listed networks. Listing `10.0.0.0/8` means that
//!   every workload in it may name any client it likes.
//! - Every listed proxy appends the address it saw to the configured header, or replaces the header.
//! - A proxy that writes `Forwarded` quotes what it copies from the request: an unquoted
//!   `host=$host` lets a client write `a,for=192.0.2.1` into its `Host`.
//! - Only one family is read ([`ForwardedHeader`]); the other is ignored, not compared. Nothing reads
//!   the other one in its place either.
//!
//! # How the walk works
//!
//! The chain is the header's entries, all its lines joined in order, with the peer at the right end.
//! Start at the peer. While the hop in hand is a trusted proxy, the entry to its left is what that
//! proxy saw: step there. The first hop that is no trusted proxy is the client. Everything left of it
//! was written by the client or by someone it chose, and **is not even looked at**; nothing an
//! untrusted hop writes can move the result. This is nginx's `real_ip_recursive on`, and the
//! "rightmost non-trusted" of Adam Pritchard's *The perils of the "real" client IP* (2022).
//!
//! Where an address was needed and the entry is `unknown`, obfuscated (`_hidden`, RFC 7239 section
//! 6.3), empty or no address at all, the walk **stops** and never goes on to the left: doing that has
//! been a hole in more than one library. The identity is then the last hop that was verified, which is
//! one of your own proxies, and [`ClientIdentity::unattributed`] tells why. Many clients share that
//! identity: do not ban it, and set [`OnUnattributed::Missing`] if it must not be limited as one.
//!
//! Three deliberate differences from the letter of the RFCs:
//! - An empty list element (`a, , b`) is not skipped, as RFC 9110 section 5.6.1 would have it: a proxy
//!   that had no address to append would otherwise promote what the client wrote.
//! - A field line is split by itself: a quoted string that opens in one line and closes in the next is
//!   malformed in both. No proxy writes that; a client that does gains nothing.
//! - `Forwarded` is read from its right end, because a client can open a quote to its left that would
//!   swallow what the proxy appended. For well-formed fields both directions agree.
//!
//! # What a limiter indexes by
//!
//! [`ClientIdentity::key`]: sixteen bytes, `Copy`. IPv4 counts by address, IPv6 by network: `/64` by
//! default, because a subscriber gets at least that much and can use a new address for each request.
//! IPv4-mapped IPv6 (`::ffff:192.0.2.1`) *is* the IPv4 address. Keys of addresses and of hashed
//! headers cannot collide. A caller that cannot be identified has **no** key: that is an
//! [`IdentityError`] or, if you say so, an exemption ([`OnMissing`]), never an empty key that all of
//! them share.
//!
//! Not recognised: IPv4 clients that reach an IPv6-only server through a translator (`64:ff9b::/96`).
//! All of them share one `/64`. With [`IdentityConfig::ipv6_prefix`] at 128 they are told apart, but then
//! so is every address of a native IPv6 client; better let the translator's side terminate TCP and name
//! the client in a header.
//!
//! # Where the peer address comes from
//!
//! The first of these request extensions that is there:
//!
//! | extension | who inserts it |
//! | --- | --- |
//! | [`PeerAddr`] | you: an own accept loop, the PROXY protocol, a test |
//! | `axum::extract::ConnectInfo<SocketAddr>` | `into_make_service_with_connect_info`; feature `axum` |
//! | `tonic::transport::server::TcpConnectInfo` | tonic's server, with or without TLS; feature `tonic` |
//! | `std::net::SocketAddr` | servers that keep it bare |
//!
//! # Privacy and cost
//!
//! `Debug` and `Display` of every type here leave addresses, keys and header values out; ask
//! [`ClientIdentity::address`] when you want one on record. [`IdentityResolver::resolve`] allocates
//! nothing, locks nothing and reads each header byte at most a fixed number of times;
//! [`IdentityResolver::resolve_once`] pays one small allocation to keep the result in the request.

mod address;
mod chain;
mod client;
mod config;
mod error;
mod forwarded;
mod key;
mod network;
mod node;
mod peer;
mod resolver;
mod single;

pub use client::{ClientIdentity, Provenance, Unattributed};
pub use config::{ForwardedHeader, IdentityConfig, OnMissing, OnUnattributed};
pub use error::{HeaderProblem, IdentityConfigError, IdentityError};
pub use key::IdentityKey;
pub use peer::PeerAddr;
pub use resolver::IdentityResolver;
