//! Finds the client of a request.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Extensions, HeaderMap, Request};

use super::address::Address;
use super::chain::{self, Walk};
use super::client::{ClientIdentity, Provenance, Unattributed};
use super::config::{ForwardedHeader, OnMissing, OnUnattributed};
use super::error::IdentityError;
use super::key::{HeaderHasher, IdentityKey};
use super::network::NetworkSet;
use super::peer::peer;
use super::single::{CdnHeader, only_value};

/// Finds the client of a request. Cheap to clone; build one and give it to every layer.
///
/// Made by [`IdentityConfig::build`](super::IdentityConfig::build), or by
/// [`peer_only`](Self::peer_only) where clients connect directly. Clones are the same resolver: what
/// one has found, [`resolve`](Self::resolve) of another takes from the request. Two that were built
/// separately are different ones, even from equal settings, and each finds its own answer.
#[derive(Clone)]
pub struct IdentityResolver {
    /// Tells this resolver's answers from another's. A counter rather than the address of the
    /// settings, which a later resolver could get again.
    id: u64,
    /// Whether anything but the peer can matter.
    reads_headers: bool,
    settings: Arc<Settings>,
}

/// The checked settings.
pub(super) struct Settings {
    pub(super) proxies: Option<NetworkSet>,
    pub(super) trust_everyone: bool,
    pub(super) forwarded_header: ForwardedHeader,
    pub(super) cdn: Option<CdnHeader>,
    pub(super) ipv6_prefix: u8,
    pub(super) hashed: Option<HeaderHasher>,
    pub(super) on_missing: OnMissing,
    pub(super) on_unattributed: OnUnattributed,
}

impl IdentityResolver {
    pub(super) fn new(settings: Settings) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            reads_headers: settings.proxies.is_some()
                || settings.cdn.is_some()
                || settings.hashed.is_some(),
            settings: Arc::new(settings),
        }
    }

    /// The peer is the client, IPv6 by /64, and no header has a say: for a service that clients connect
    /// to directly.
    #[must_use]
    pub fn peer_only() -> Self {
        Self::new(Settings {
            proxies: None,
            trust_everyone: false,
            forwarded_header: ForwardedHeader::default(),
            cdn: None,
            ipv6_prefix: super::config::DEFAULT_IPV6_PREFIX,
            hashed: None,
            on_missing: OnMissing::Refuse,
            on_unattributed: OnUnattributed::LastHop,
        })
    }

    /// First and last address of each range whose peers may say for whom they speak: trusted proxies and the peers of a
    /// CDN's header. Each of them stands for many clients, so what acts on peers leaves them alone.
    ///
    /// None where every address is trusted, because then no address says anything.
    pub fn trusted_ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let settings = &*self.settings;
        let proxies = settings.proxies.iter().filter(|_| !settings.trust_everyone);
        let cdn = settings.cdn.iter().map(|cdn| &cdn.peers);
        proxies.chain(cdn).flat_map(NetworkSet::ranges)
    }

    /// Who is calling; `None` if nobody can tell and [`OnMissing::Exempt`] lets the request pass
    /// uncounted.
    ///
    /// Takes an answer that [`resolve_once`](Self::resolve_once) left in the extensions, else finds it
    /// and does not keep it. Allocates nothing.
    ///
    /// # Errors
    /// The caller cannot be identified. A layer refuses such a request; see [`IdentityError`].
    #[inline]
    pub fn resolve(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<ClientIdentity>, IdentityError> {
        // Where no header is read, finding the answer again is cheaper than looking for it.
        if self.reads_headers
            && let Some(known) = self.known(extensions)
        {
            return Ok(Some(*known));
        }
        self.find(headers, extensions)
    }

    /// The key of the caller; `None` where it takes [`resolve`](Self::resolve) to tell why there is none.
    ///
    /// The same key, without putting an identity together that nobody looks at: for limiters.
    #[inline(always)]
    #[must_use]
    pub fn key(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IdentityKey> {
        if self.reads_headers {
            return self.key_in_headers(headers, extensions);
        }
        let network = Address::new(peer(extensions)?)?.group(self.settings.ipv6_prefix);
        Some(IdentityKey::of_network(network))
    }

    #[inline(never)]
    fn key_in_headers(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IdentityKey> {
        if let Some(known) = self.known(extensions) {
            return Some(known.key());
        }
        let settings = &*self.settings;
        if settings.hashed.is_none() && settings.cdn.is_none() {
            // What most are: proxies and nothing else. Nobody asks here how far the walk went.
            let walk = settings.walk(peer(extensions).and_then(Address::new)?, headers);
            if walk.stopped.is_some() && settings.on_unattributed == OnUnattributed::Missing {
                return None;
            }
            let network = walk.address.group(settings.ipv6_prefix);
            return Some(IdentityKey::of_network(network));
        }
        let found = settings.find_in_headers(self.id, headers, extensions);
        Some(found.ok()??.key())
    }

    /// As [`resolve`](Self::resolve), and keeps the answer in the request's extensions for the layers
    /// and handlers further in.
    ///
    /// One identity is kept, that of the innermost resolver: where two are in a stack, each finds its
    /// own answer, and a handler sees the one of the layer nearest to it. Costs one small allocation the
    /// first time, which is `http::Extensions`' own.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve). Nothing is kept then.
    pub fn resolve_once<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Option<ClientIdentity>, IdentityError> {
        if let Some(known) = self.known(request.extensions()) {
            return Ok(Some(*known));
        }
        let found = self.find(request.headers(), request.extensions())?;
        if let Some(client) = found {
            request.extensions_mut().insert(client);
        }
        Ok(found)
    }

    /// Who is calling, by address alone: as if no header were [hashed](super::IdentityConfig::hashed_header).
    ///
    /// For what an address has to answer for whatever credential comes with the request, such as a ban. Finds it anew
    /// and keeps nothing.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), except that [`OnMissing`] has no say.
    pub fn resolve_address(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<ClientIdentity, IdentityError> {
        self.settings.find_address(self.id, headers, extensions)
    }

    /// The key that a client at this address has, for bans and look-ups by hand and for listeners that
    /// see no request. None for an address that no client can have (unspecified, multicast).
    #[must_use]
    pub fn key_of(&self, address: IpAddr) -> Option<IdentityKey> {
        let network = Address::new(address)?.group(self.settings.ipv6_prefix);
        Some(IdentityKey::of_network(network))
    }

    #[inline]
    fn find(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<ClientIdentity>, IdentityError> {
        let Settings {
            ipv6_prefix,
            on_missing,
            ..
        } = *self.settings;
        if self.reads_headers {
            return self.settings.find_in_headers(self.id, headers, extensions);
        }
        match peer(extensions).and_then(Address::new) {
            Some(address) => {
                let walk = Walk::at_peer(address);
                Ok(Some(ClientIdentity::of_walk(
                    walk,
                    Provenance::Peer,
                    ipv6_prefix,
                    self.id,
                )))
            }
            None if on_missing == OnMissing::Exempt => Ok(None),
            None => Err(IdentityError::NoPeerAddress),
        }
    }

    #[inline]
    fn known<'e>(&self, extensions: &'e Extensions) -> Option<&'e ClientIdentity> {
        extensions
            .get::<ClientIdentity>()
            .filter(|known| known.resolver() == self.id)
    }
}

impl Settings {
    #[inline]
    fn find_in_headers(
        &self,
        id: u64,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<ClientIdentity>, IdentityError> {
        if let Some(hasher) = &self.hashed {
            // Two API keys are refused rather than one of them picked: the application may pick the other.
            if let Some(key) =
                only_value(headers, &hasher.name)?.and_then(|value| hasher.key_of(value))
            {
                return Ok(Some(ClientIdentity::of_header(key, self.ipv6_prefix, id)));
            }
            match self.on_missing {
                OnMissing::Refuse => {
                    return Err(IdentityError::MissingHeader {
                        header: hasher.name.clone(),
                    });
                }
                OnMissing::Exempt => return Ok(None),
                OnMissing::UseAddress => {}
            }
        }
        match self.find_address(id, headers, extensions) {
            Err(IdentityError::NoPeerAddress | IdentityError::Unattributed { .. })
                if self.on_missing == OnMissing::Exempt =>
            {
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    #[inline]
    fn find_address(
        &self,
        id: u64,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<ClientIdentity, IdentityError> {
        let peer = peer(extensions)
            .and_then(Address::new)
            .ok_or(IdentityError::NoPeerAddress)?;
        let mut walk = self.walk(peer, headers);
        let mut provenance = Provenance::of_hop(self.forwarded_header, walk.hop);
        if let Some(cdn) = self.cdn_before(walk.address) {
            walk.stopped = Some(Unattributed::NotNamed);
            if let Some(address) = cdn.address(headers)? {
                walk = Walk {
                    address,
                    hop: walk.hop,
                    stopped: None,
                };
                provenance = Provenance::CdnHeader;
            }
        }
        match walk.stopped {
            Some(reason) if self.on_unattributed == OnUnattributed::Missing => {
                Err(IdentityError::Unattributed { reason })
            }
            _ => Ok(ClientIdentity::of_walk(
                walk,
                provenance,
                self.ipv6_prefix,
                id,
            )),
        }
    }

    #[inline]
    fn walk(&self, peer: Address, headers: &HeaderMap) -> Walk {
        let Some(proxies) = &self.proxies else {
            return Walk::at_peer(peer);
        };
        // A CDN's edge ends the walk, also where it is listed as a proxy: its own header decides then.
        let speaks_for_others = |hop| proxies.contains(hop) && self.cdn_before(hop).is_none();
        let mut walk = chain::walk(peer, headers, self.forwarded_header, speaks_for_others);
        if self.trust_everyone {
            // Every hop is a proxy here, and the leftmost one is the client: as ordered.
            walk.stopped = walk
                .stopped
                .filter(|reason| *reason != Unattributed::NotNamed);
        }
        walk
    }

    /// The CDN whose edge this hop is.
    fn cdn_before(&self, hop: Address) -> Option<&CdnHeader> {
        self.cdn.as_ref().filter(|cdn| cdn.peers.contains(hop))
    }
}

impl Default for IdentityResolver {
    fn default() -> Self {
        Self::peer_only()
    }
}

impl fmt::Debug for IdentityResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &*self.settings;
        f.debug_struct("IdentityResolver")
            .field("proxies", &settings.proxies)
            .field("trust_everyone", &settings.trust_everyone)
            .field("forwarded_header", &settings.forwarded_header)
            .field("cdn", &settings.cdn)
            .field("ipv6_prefix", &settings.ipv6_prefix)
            .field(
                "hashed",
                &settings.hashed.as_ref().map(|hasher| &hasher.name),
            )
            .field("on_missing", &settings.on_missing)
            .field("on_unattributed", &settings.on_unattributed)
            .finish_non_exhaustive()
    }
}
