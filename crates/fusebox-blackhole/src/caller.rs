//! Whom a request is from, as far as a ban goes.

use std::net::IpAddr;

use fusebox_core::Timestamp;
use fusebox_http::identity::{ClientIdentity, IdentityResolver, PeerAddr, Provenance};
use http::Request;

use crate::{
    Cause, Connection, Jail,
    engine::{Key, Struck},
    jail::bans::key_of,
};

/// Everything that a request can be held for.
///
/// Limiters ask who the client *is*, and take one answer. A ban asks whether anything about a request is condemned:
/// otherwise whoever is in by address would walk out by sending an API key, which costs nothing to invent, or two of them,
/// so that it cannot be identified at all.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    suspect: Suspect,
    /// The other end of the connection.
    peer: Option<IpAddr>,
}

/// Whom a strike is counted against.
#[derive(Clone, Copy)]
pub(crate) struct Suspect {
    /// What it is known by, where that is not its address.
    credential: Option<Key>,
    /// Where it is. None where one of your proxies did not say for whom it speaks: it stands for many.
    address: Option<IpAddr>,
}

impl Caller {
    /// Who is asking. The resolver's answer is kept in the request for the layers further in.
    #[inline]
    pub(crate) fn of<B>(
        request: &mut Request<B>,
        resolver: &IdentityResolver,
        peers: &IdentityResolver,
    ) -> Self {
        if request.extensions().get::<PeerAddr>().is_none()
            && let Some(connection) = Connection::of(request.extensions())
        {
            let peer = PeerAddr(connection.peer());
            request.extensions_mut().insert(peer);
        }
        let client = resolver.resolve_once(request).ok().flatten();
        if let Some(client) = client
            && client.provenance() == Provenance::Peer
        {
            return Self {
                suspect: Suspect::at(&client),
                peer: client.address(),
            };
        }
        let (headers, extensions) = (request.headers(), request.extensions());
        let peer = peers.resolve(headers, extensions).ok().flatten();
        let suspect = match &client {
            Some(client) if client.address().is_some() => Suspect::at(client),
            // Known by a credential, or by nothing.
            client => Suspect {
                credential: client.as_ref().and_then(key_of),
                ..resolver
                    .resolve_address(headers, extensions)
                    .as_ref()
                    .map_or(Suspect::NOBODY, Suspect::at)
            },
        };
        Self {
            suspect,
            peer: peer.and_then(|peer| peer.address()),
        }
    }

    pub(crate) const fn suspect(&self) -> Suspect {
        self.suspect
    }

    /// Whether its address, the other end of its connection, or its credential is held.
    #[inline]
    pub(crate) fn is_held(&self, jail: &Jail, now: Timestamp) -> bool {
        let Self { suspect, peer } = self;
        let held =
            |address: &Option<IpAddr>| address.is_some_and(|address| jail.holds_at(address, now));
        held(&suspect.address)
            || *peer != suspect.address && held(peer)
            || suspect
                .credential
                .is_some_and(|key| jail.holds_key(key, now))
    }

    /// Whether everything that comes through this connection is held, so that it may be closed, or kept waiting, without
    /// harm to others. Not so behind a proxy: other people's requests are on its connections. Nor where it is a credential
    /// that is held, and not the address: those who have other ones may share the connection.
    pub(crate) fn is_alone(
        &self,
        jail: &Jail,
        connection: Option<&Connection>,
        now: Timestamp,
    ) -> bool {
        let other_end = match connection {
            Some(connection) => Some(connection.peer().ip().to_canonical()),
            None => self.peer,
        };
        other_end.is_some_and(|peer| {
            self.suspect.address == Some(peer)
                && !jail.protects(peer)
                && (self.suspect.credential.is_none() || jail.holds_at(peer, now))
        })
    }
}

impl Suspect {
    const NOBODY: Self = Self {
        credential: None,
        address: None,
    };

    fn at(client: &ClientIdentity) -> Self {
        Self {
            credential: None,
            address: client.address().filter(|_| client.unattributed().is_none()),
        }
    }

    /// Counts a strike. Against the address of a credential only if that is `address_too`, and never for a quota, which is
    /// the credential's own.
    pub(crate) fn strike(
        &self,
        jail: &Jail,
        cause: Cause,
        address_too: bool,
        now: Timestamp,
    ) -> bool {
        let address = self
            .address
            .filter(|_| self.credential.is_none() || address_too && cause != Cause::RateLimit);
        let keys = [self.credential, address.and_then(Key::of_peer)];
        let struck = keys
            .into_iter()
            .flatten()
            .map(|key| jail.strike_key(key, cause, now));
        // Both of them, whatever the first one led to.
        struck.fold(false, |led_in, struck| {
            led_in | matches!(struck, Struck::Jailed { .. })
        })
    }
}
