//! What the deployment looks like.

use std::fmt;

use http::{HeaderName, header};

use super::error::IdentityConfigError;
use super::key::HeaderHasher;
use super::network::NetworkSet;
use super::resolver::{IdentityResolver, Settings};
use super::single::CdnHeader;

/// The smallest network a subscriber is given: the other 64 bits are the interface identifier (RFC 4291
/// section 2.5.1), which a host may choose anew for each connection.
pub(super) const DEFAULT_IPV6_PREFIX: u8 = 64;
/// The most that one site is given as a rule (RFC 6177). Shorter, and a limit would hit strangers.
const SHORTEST_IPV6_PREFIX: u8 = 48;

/// Which header the trusted proxies append to. The other one is never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`: what nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy`: RFC 7239.
    Forwarded,
}

/// What happens to a request whose caller cannot be identified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnMissing {
    /// It is refused: an [`IdentityError`](super::IdentityError).
    #[default]
    Refuse,
    /// It passes uncounted: `Ok(None)`. With a hashed header this means that **leaving the header out
    /// lifts the limit**; it is for endpoints that something else guards.
    Exempt,
    /// It counts by its address, if the hashed header is missing. Without an address it is refused.
    UseAddress,
}

/// What happens to a request that a trusted proxy brought without saying for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUnattributed {
    /// The last proxy that is known for certain counts as the client: right for health checks, and for
    /// everything else one bucket per proxy, marked by
    /// [`ClientIdentity::unattributed`](super::ClientIdentity::unattributed).
    #[default]
    LastHop,
    /// The request has no identity, and [`OnMissing`] decides.
    Missing,
}

/// How clients are identified; [`build`](Self::build) makes an [`IdentityResolver`] of it.
///
/// Without any setting the peer is the client. The [module](super) tells what to set behind what.
#[derive(Clone)]
pub struct IdentityConfig {
    trusted_proxies: Option<Vec<String>>,
    trust_everyone: bool,
    forwarded_header: Option<ForwardedHeader>,
    cdn_header: Option<(String, Vec<String>)>,
    ipv6_prefix: u8,
    hashed_header: Option<String>,
    hash_key: Option<[u8; 16]>,
    on_missing: OnMissing,
    on_unattributed: OnUnattributed,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl IdentityConfig {
    /// The peer is the client.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            trusted_proxies: None,
            trust_everyone: false,
            forwarded_header: None,
            cdn_header: None,
            ipv6_prefix: DEFAULT_IPV6_PREFIX,
            hashed_header: None,
            hash_key: None,
            on_missing: OnMissing::Refuse,
            on_unattributed: OnUnattributed::LastHop,
        }
    }

    /// Adds the networks from which your own proxies connect: CIDR blocks or single addresses.
    ///
    /// Who is in them may name any client it likes. [`forwarded_header`](Self::forwarded_header) is
    /// what they write, `X-Forwarded-For` if not set.
    #[must_use]
    pub fn trusted_proxies(
        mut self,
        networks: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let networks = networks.into_iter().map(Into::into);
        self.trusted_proxies
            .get_or_insert_default()
            .extend(networks);
        self
    }

    /// Which header the trusted proxies append to.
    #[must_use]
    pub const fn forwarded_header(mut self, header: ForwardedHeader) -> Self {
        self.forwarded_header = Some(header);
        self
    }

    /// Believes whatever the header says, from anyone: **every client chooses its own identity**.
    ///
    /// The leftmost entry of the header is the client, as if every address were a trusted proxy. For
    /// tests and closed networks.
    #[must_use]
    pub const fn dangerously_trust_any_forwarded(mut self) -> Self {
        self.trust_everyone = true;
        self
    }

    /// Takes the client from the single-value header of a CDN, such as `cf-connecting-ip`,
    /// `true-client-ip` or `fastly-client-ip`, if the hop that brought the request is in `peers`.
    ///
    /// That hop is the peer or, behind [`trusted_proxies`](Self::trusted_proxies), the one they saw. Two
    /// lines, a list or anything but an address is an
    /// [`UnusableHeader`](super::IdentityError::UnusableHeader), no header is
    /// [`NotNamed`](super::Unattributed::NotNamed).
    #[must_use]
    pub fn cdn_header(
        mut self,
        name: impl Into<String>,
        peers: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.cdn_header = Some((name.into(), peers.into_iter().map(Into::into).collect()));
        self
    }

    /// How many leading bits of an IPv6 address make one client: 48 to 128, by default 64.
    #[must_use]
    pub const fn ipv6_prefix(mut self, length: u8) -> Self {
        self.ipv6_prefix = length;
        self
    }

    /// Knows the client by the keyed hash of this header: an API key, a tenant, a session.
    ///
    /// The header may occur once. What happens without it is [`on_missing`](Self::on_missing). Blanks
    /// around the value do not count, its case does.
    #[doc(alias = "api_key_header")]
    #[must_use]
    pub fn hashed_header(mut self, name: impl Into<String>) -> Self {
        self.hashed_header = Some(name.into());
        self
    }

    /// The key of that hash; by default random, and another one for every resolver built.
    ///
    /// Set it, from a secret, if keys must mean the same in other processes or after a restart: quotas
    /// and bans in a shared store.
    #[must_use]
    pub const fn hash_key(mut self, key: [u8; 16]) -> Self {
        self.hash_key = Some(key);
        self
    }

    /// What happens to a request whose caller cannot be identified.
    #[must_use]
    pub const fn on_missing(mut self, policy: OnMissing) -> Self {
        self.on_missing = policy;
        self
    }

    /// What happens to a request that a trusted proxy brought without saying for whom.
    #[must_use]
    pub const fn on_unattributed(mut self, policy: OnUnattributed) -> Self {
        self.on_unattributed = policy;
        self
    }

    /// Checks the settings and makes a resolver of them.
    ///
    /// # Errors
    /// Names the setting and its value: a network or header name that is not one, networks that cover
    /// every address, an IPv6 prefix out of range, an empty list, or a setting that would silently have
    /// no effect.
    pub fn build(self) -> Result<IdentityResolver, IdentityConfigError> {
        let (min, max) = (SHORTEST_IPV6_PREFIX, 128);
        if !(min..=max).contains(&self.ipv6_prefix) {
            return Err(IdentityConfigError::Ipv6Prefix {
                value: self.ipv6_prefix,
                min,
                max,
            });
        }
        self.check_dependencies()?;

        let listed = match &self.trusted_proxies {
            Some(networks) => Some(network_set("trusted_proxies", networks)?),
            None => None,
        };
        let proxies = if self.trust_everyone {
            Some(NetworkSet::everything())
        } else {
            listed
        };
        let cdn = match &self.cdn_header {
            Some((name, peers)) => {
                let name = header_name("cdn_header", name)?;
                if name == header::FORWARDED || name == "x-forwarded-for" {
                    return Err(IdentityConfigError::ListHeader {
                        field: "cdn_header",
                        value: name,
                    });
                }
                Some(CdnHeader {
                    name,
                    peers: network_set("cdn_header", peers)?,
                })
            }
            None => None,
        };
        let hashed = match &self.hashed_header {
            Some(name) => Some(HeaderHasher::new(
                header_name("hashed_header", name)?,
                self.hash_key,
            )),
            None => None,
        };
        Ok(IdentityResolver::new(Settings {
            proxies,
            trust_everyone: self.trust_everyone,
            forwarded_header: self.forwarded_header.unwrap_or_default(),
            cdn,
            ipv6_prefix: self.ipv6_prefix,
            hashed,
            on_missing: self.on_missing,
            on_unattributed: self.on_unattributed,
        }))
    }

    /// A setting that changes nothing is a misunderstanding, and here that is a hole.
    fn check_dependencies(&self) -> Result<(), IdentityConfigError> {
        let proxies = self.trusted_proxies.is_some() || self.trust_everyone;
        let requires = |field, value: String, requires| {
            Err(IdentityConfigError::Requires {
                field,
                value,
                requires,
            })
        };
        match self.forwarded_header {
            Some(header) if !proxies => {
                return requires("forwarded_header", format!("{header:?}"), "trusted_proxies");
            }
            _ => {}
        }
        if self.hashed_header.is_none() {
            if self.hash_key.is_some() {
                return requires("hash_key", "(secret)".to_owned(), "hashed_header");
            }
            if self.on_missing == OnMissing::UseAddress {
                return requires(
                    "on_missing",
                    format!("{:?}", self.on_missing),
                    "hashed_header",
                );
            }
        }
        if self.on_unattributed != OnUnattributed::LastHop && !proxies && self.cdn_header.is_none()
        {
            let value = format!("{:?}", self.on_unattributed);
            return requires("on_unattributed", value, "trusted_proxies or cdn_header");
        }
        Ok(())
    }
}

fn network_set(
    field: &'static str,
    networks: &[String],
) -> Result<NetworkSet, IdentityConfigError> {
    if networks.is_empty() {
        return Err(IdentityConfigError::Empty { field });
    }
    NetworkSet::parse(field, networks)
}

fn header_name(field: &'static str, name: &str) -> Result<HeaderName, IdentityConfigError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| IdentityConfigError::HeaderName {
        field,
        value: name.to_owned(),
    })
}

impl fmt::Debug for IdentityConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityConfig")
            .field("trusted_proxies", &self.trusted_proxies)
            .field("trust_everyone", &self.trust_everyone)
            .field("forwarded_header", &self.forwarded_header)
            .field("cdn_header", &self.cdn_header)
            .field("ipv6_prefix", &self.ipv6_prefix)
            .field("hashed_header", &self.hashed_header)
            .field("hash_key", &self.hash_key.map(|_| "(secret)"))
            .field("on_missing", &self.on_missing)
            .field("on_unattributed", &self.on_unattributed)
            .finish()
    }
}
