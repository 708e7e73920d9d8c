//! The contract of every fusebox layer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fusebox_blackhole::{Action, BlackholeBody, BlackholeConfig, BlackholeLayer, Jail, JailConfig};
use fusebox_core::{LayerKind, Mode, Observer, Registration};
use fusebox_http::identity::PeerAddr;
use fusebox_testkit::{Check, Counted, Fixture, MockBody, Situation, Subject};
use http::request::Parts;

const PEER: [u8; 4] = [192, 0, 2, 7];

/// The layer, with what it does to those that are held.
struct Held(Action);

impl Subject for Held {
    const KIND: LayerKind = LayerKind::Blackhole;
    type Layer = BlackholeLayer;
    type Body = BlackholeBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<BlackholeLayer>> {
        let (mode, held) = match situation {
            Situation::Admits => (Mode::Enforce, false),
            Situation::Refuses => (Mode::Enforce, true),
            Situation::Shadow => (Mode::Shadow, true),
            Situation::Waits => return None,
        };
        let settings = JailConfig::new("test")
            .capacity(100)
            .mode(mode)
            .registration(Registration::Unlisted);
        let settings = observer.into_iter().fold(settings, JailConfig::observer);
        let jail = settings.build().ok()?;
        if held {
            jail.ban(PEER.into(), Duration::from_secs(3_600))?;
        }
        let layer = BlackholeConfig::new(&jail).action(self.0).build().ok()?;
        let counted = jail.clone();
        Some(
            Fixture::new(layer)
                .counting(move || Counted::from(&counted.stats()))
                .keeping(LetsOut(jail)),
        )
    }

    fn exempt(&self, check: Check) -> Option<&'static str> {
        let lies = check == Check::Refusal && self.0 == Action::Tarpit;
        // That it does not call the inner service is tested in `callers.rs`.
        lies.then_some("what a tarpit answers looks like no refusal")
    }

    fn prepare(&self, _: Situation, request: &mut Parts) {
        request
            .extensions
            .insert(PeerAddr(SocketAddr::from((PEER, 50_312))));
    }
}

struct LetsOut(Jail);

impl Drop for LetsOut {
    fn drop(&mut self) {
        self.0.unban(PEER.into());
    }
}

fusebox_testkit::contract! {
    mod denies: Held(Action::Deny);
    mod tarpits: Held(Action::Tarpit);
    /// Without a connection that it could close.
    mod drops: Held(Action::Drop);
}
