//! The answer: who is calling, and how that is known.

use std::fmt;
use std::net::IpAddr;

use super::address::Address;
use super::chain::Walk;
use super::config::ForwardedHeader;
use super::key::IdentityKey;

/// Who is calling, and how that is known.
///
/// [`IdentityResolver::resolve_once`](super::IdentityResolver::resolve_once) keeps it in the request's
/// extensions, where a handler finds it: `Extension<ClientIdentity>` in axum,
/// `request.extensions().get::<ClientIdentity>()` anywhere.
///
/// `Debug` and `Display` tell the kind and the provenance, never the address.
#[derive(Clone, Copy)]
pub struct ClientIdentity {
    caller: Caller,
    ipv6_prefix: u8,
    provenance: Provenance,
    unattributed: Option<Unattributed>,
    /// Which resolver this is the answer of, so that another one does not take it for its own.
    resolver: u64,
}

#[derive(Clone, Copy)]
enum Caller {
    At(Address),
    Hashed(IdentityKey),
}

impl ClientIdentity {
    #[inline]
    pub(super) const fn of_walk(
        walk: Walk,
        provenance: Provenance,
        ipv6_prefix: u8,
        resolver: u64,
    ) -> Self {
        Self {
            caller: Caller::At(walk.address),
            ipv6_prefix,
            provenance,
            unattributed: walk.stopped,
            resolver,
        }
    }

    pub(super) const fn of_header(key: IdentityKey, ipv6_prefix: u8, resolver: u64) -> Self {
        Self {
            caller: Caller::Hashed(key),
            ipv6_prefix,
            provenance: Provenance::HashedHeader,
            unattributed: None,
            resolver,
        }
    }

    pub(super) const fn resolver(&self) -> u64 {
        self.resolver
    }

    /// What a limiter indexes its table by. Every address of one IPv6 network has the same key.
    #[must_use]
    #[inline]
    pub const fn key(&self) -> IdentityKey {
        match self.caller {
            Caller::At(address) => IdentityKey::of_network(address.group(self.ipv6_prefix)),
            Caller::Hashed(key) => key,
        }
    }

    /// The address, IPv4-mapped IPv6 as IPv4; none if the client is known by a hashed header.
    ///
    /// This is personal data in most jurisdictions.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self.caller {
            Caller::At(address) => Some(address.ip()),
            Caller::Hashed(_) => None,
        }
    }

    /// The network that counts as one client and the length of its prefix: 32 for IPv4, the configured
    /// one (64 by default) for IPv6. None if the client is known by a hashed header.
    #[must_use]
    pub const fn network(&self) -> Option<(IpAddr, u8)> {
        match self.caller {
            Caller::At(address) => {
                let network = address.group(self.ipv6_prefix);
                Some((network.ip(), address.group_prefix(self.ipv6_prefix)))
            }
            Caller::Hashed(_) => None,
        }
    }

    /// Where the identity comes from.
    #[must_use]
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// Why this is the identity of **one of your own proxies**, which may stand for many clients.
    ///
    /// None if the client itself was found. A health check by the proxy looks like
    /// [`NotNamed`](Unattributed::NotNamed), so this is not an error in itself; but never ban such an
    /// identity. [`OnUnattributed::Missing`](super::OnUnattributed::Missing) turns it into an error.
    #[must_use]
    pub const fn unattributed(&self) -> Option<Unattributed> {
        self.unattributed
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("network", &self.kind())
            .field("provenance", &self.provenance)
            .field("unattributed", &self.unattributed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.kind(), self.provenance)?;
        match self.unattributed {
            Some(reason) => write!(f, " (a trusted proxy: {reason})"),
            None => Ok(()),
        }
    }
}

impl ClientIdentity {
    fn kind(&self) -> Kind {
        Kind(self.network())
    }
}

/// What sort of key it is, without the key.
struct Kind(Option<(IpAddr, u8)>);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((IpAddr::V4(_), prefix)) => write!(f, "ipv4/{prefix}"),
            Some((IpAddr::V6(_), prefix)) => write!(f, "ipv6/{prefix}"),
            None => f.write_str("hashed"),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an identity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provenance {
    /// The other end of the connection. No header had a say.
    Peer,
    /// An entry of `X-Forwarded-For` that a trusted proxy wrote.
    XForwardedFor {
        /// Which entry, counted from the right, beginning at 1.
        hop: u8,
    },
    /// An element of `Forwarded` that a trusted proxy wrote.
    Forwarded {
        /// Which element, counted from the right, beginning at 1.
        hop: u8,
    },
    /// The single-value header of a CDN, from a hop in the CDN's list.
    CdnHeader,
    /// The keyed hash of a header, such as an API key.
    HashedHeader,
}

impl Provenance {
    pub(super) const fn of_hop(header: ForwardedHeader, hop: u8) -> Self {
        match (hop, header) {
            (0, _) => Self::Peer,
            (hop, ForwardedHeader::XForwardedFor) => Self::XForwardedFor { hop },
            (hop, ForwardedHeader::Forwarded) => Self::Forwarded { hop },
        }
    }

    /// The word for it in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::XForwardedFor { .. } => "x_forwarded_for",
            Self::Forwarded { .. } => "forwarded",
            Self::CdnHeader => "cdn_header",
            Self::HashedHeader => "hashed_header",
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::XForwardedFor { hop } | Self::Forwarded { hop } => {
                write!(f, "[{hop} from the right]")
            }
            _ => Ok(()),
        }
    }
}

/// Why the walk ended at one of your own proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unattributed {
    /// The proxy named nobody: the header, a further entry or the `for` parameter is missing. A request
    /// that the proxy makes itself looks like this, and so does a proxy that is not set up to append.
    NotNamed,
    /// The proxy will not tell: `unknown`, or an obfuscated name.
    Hidden,
    /// The proxy wrote something else where the address belongs, or nothing.
    Malformed,
    /// More of your own proxies in a row than anyone has: a loop, or a list of trusted networks that is
    /// too wide.
    TooManyHops,
}

impl Unattributed {
    /// The word for it in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotNamed => "not_named",
            Self::Hidden => "hidden",
            Self::Malformed => "malformed",
            Self::TooManyHops => "too_many_hops",
        }
    }
}

impl fmt::Display for Unattributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNamed => "it named no client",
            Self::Hidden => "it hides the client",
            Self::Malformed => "it wrote no readable address",
            Self::TooManyHops => "too many trusted hops in a row",
        })
    }
}
