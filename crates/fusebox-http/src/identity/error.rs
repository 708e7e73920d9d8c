//! What can be wrong with a configuration, and with a request.

use std::fmt;

use http::HeaderName;

use super::client::Unattributed;

/// Why a configuration cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityConfigError {
    /// A network is not an address or CIDR block.
    Network {
        /// The setting it was given to.
        field: &'static str,
        /// The text as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The networks cover every IPv4 or every IPv6 address, so every client would be a proxy.
    EveryAddress {
        /// The setting they were given to.
        field: &'static str,
        /// The networks as given.
        value: String,
    },
    /// A setting was given an empty list.
    Empty {
        /// The setting.
        field: &'static str,
    },
    /// A header's name is not one.
    HeaderName {
        /// The setting it was given to.
        field: &'static str,
        /// The text as given.
        value: String,
    },
    /// A header that carries a list was given where a single value is read.
    ListHeader {
        /// The setting it was given to.
        field: &'static str,
        /// The header.
        value: HeaderName,
    },
    /// The prefix by which IPv6 is grouped is out of range.
    Ipv6Prefix {
        /// The length as given.
        value: u8,
        /// The shortest allowed: a site's allocation.
        min: u8,
        /// The longest there is.
        max: u8,
    },
    /// One setting has no effect, or no meaning, without another.
    Requires {
        /// The setting that was made.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// The setting that is missing.
        requires: &'static str,
    },
}

impl fmt::Display for IdentityConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network {
                field,
                value,
                reason,
            } => write!(f, "{field}: {value:?}: {reason}"),
            Self::EveryAddress { field, value } => write!(
                f,
                "{field}: {value:?} covers every address, so every client could name itself; \
                 if that is wanted, say dangerously_trust_any_forwarded()"
            ),
            Self::Empty { field } => write!(f, "{field}: the list is empty"),
            Self::HeaderName { field, value } => {
                write!(f, "{field}: {value:?} is not a header name")
            }
            Self::ListHeader { field, value } => {
                write!(
                    f,
                    "{field}: {value:?} carries a list; use trusted_proxies and forwarded_header for it"
                )
            }
            Self::Ipv6Prefix { value, min, max } => {
                write!(f, "ipv6_prefix: {value} is not between {min} and {max}")
            }
            Self::Requires {
                field,
                value,
                requires,
            } => write!(f, "{field}: {value} has no effect without {requires}"),
        }
    }
}

impl std::error::Error for IdentityConfigError {}

/// Why a request has no identity. Names headers, never their values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// No request extension tells the peer's address. The deployment's fault: see
    /// [where it comes from](super#where-the-peer-address-comes-from).
    NoPeerAddress,
    /// The client did not send the header it is to be known by, or sent it blank.
    MissingHeader {
        /// The header.
        header: HeaderName,
    },
    /// A header that must have exactly one value does not. Never exempt: someone is trying something,
    /// or a proxy is set up wrong.
    UnusableHeader {
        /// The header.
        header: HeaderName,
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// A trusted proxy did not say for whom it speaks, and [`OnUnattributed::Missing`] is set.
    ///
    /// [`OnUnattributed::Missing`]: super::OnUnattributed::Missing
    Unattributed {
        /// What it did instead.
        reason: Unattributed,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeerAddress => f.write_str(
                "no peer address in the request's extensions (PeerAddr, axum's ConnectInfo, tonic's TcpConnectInfo)",
            ),
            Self::MissingHeader { header } => write!(f, "the request has no {header}"),
            Self::UnusableHeader { header, problem } => write!(f, "{header} {problem}"),
            Self::Unattributed { reason } => write!(f, "a trusted proxy brought the request, but {reason}"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Why a header is not one usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// There is more than one line of it.
    Repeated,
    /// It has a comma in it.
    List,
    /// It is not the address of a possible client.
    NotAnAddress,
}

impl fmt::Display for HeaderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "is there more than once",
            Self::List => "is a list",
            Self::NotAnAddress => "is not a client's address",
        })
    }
}
