//! A compartment with shares, and layers that do not know whose their requests are.
//!
//! Alone in its binary: what is not enabled in one thread may be forgotten for all.
#![cfg(not(fusebox_loom))]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fusebox_bulkhead::{Compartment, Key};
use fusebox_core::Registration;
use tower::layer::Layer;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};

/// How many warnings there were.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let warning = *event.metadata().level() == Level::WARN;
        self.0.fetch_add(usize::from(warning), Ordering::SeqCst);
    }
}

#[test]
fn shares_without_keys_are_warned_of_once_and_only_then() {
    let warnings = Warnings::default();
    let said = || warnings.0.load(Ordering::SeqCst);
    let subscriber = tracing_subscriber::registry().with(warnings.clone());
    let _here = tracing::subscriber::set_default(subscriber);
    let builder = || {
        let builder = Compartment::builder("tenants").slots(10);
        builder.registration(Registration::Unlisted)
    };

    // The service is of no matter: nobody calls it.
    let whole = builder().build().unwrap();
    let _ = (whole.layer().layer(()), whole.plain_layer().layer(()));
    let divided = builder().slots_per_key(2).build().unwrap();
    let keyed = divided.layer().by_key(|_: &u8| Some(Key::of("a"))).unwrap();
    let plain = divided.plain_layer();
    let plain = plain.by_key(|_: &u8| Some(Key::of("a"))).unwrap();
    let _ = (keyed.layer(()), plain.layer(()));
    assert_eq!(said(), 0);

    let _ = (divided.layer().layer(()), divided.layer().layer(()));
    assert_eq!(said(), 1);
    let divided = builder().slots_per_key(2).build().unwrap();
    let _ = divided.plain_layer().layer(());
    assert_eq!(said(), 2);
}
