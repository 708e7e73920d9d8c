use std::time::Duration;

use fusebox_core::{LayerKind, Mode, Name, Snapshot, Value, stats::StatsSnapshot};

use crate::QueueOrder;

/// What a [`Compartment`](crate::Compartment) was like at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompartmentSnapshot {
    /// Its name.
    pub name: Name,
    /// Whether it acts on its decisions.
    pub mode: Mode,
    /// How many slots there are.
    pub slots: usize,
    /// How many of them are taken; more than there are after they became fewer.
    pub in_flight: usize,
    /// How many calls may wait.
    pub queue_length: usize,
    /// How long a call may wait.
    pub max_wait: Duration,
    /// Which waiting call comes first.
    pub queue_order: QueueOrder,
    /// How many calls wait.
    pub waiting: usize,
    /// Whether it is shutting down, or has.
    pub closed: bool,
    /// The shares of its keys, if it has any.
    pub keys: Option<KeysSnapshot>,
    /// What became of its calls, and how long they waited and ran.
    pub stats: StatsSnapshot,
}

/// What the shares of a compartment's keys were like at one moment. It names none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysSnapshot {
    /// How many slots and places in the queue one key may hold.
    pub slots_per_key: usize,
    /// How many keys may hold any at once.
    pub max_keys: usize,
    /// How many keys hold any, or wait for them.
    pub active: usize,
    /// How many calls of one key may wait for its share.
    pub queue_length: usize,
    /// How long a call may wait for its key's share.
    pub max_wait: Duration,
    /// How many calls wait for their key's share; those that have it and wait for a slot are not among them.
    pub waiting: usize,
}

impl From<CompartmentSnapshot> for Snapshot {
    fn from(of: CompartmentSnapshot) -> Self {
        let gauge = |number| Value::Gauge(u64::try_from(number).unwrap_or(u64::MAX));
        let mut snapshot = Self::new(LayerKind::Bulkhead, of.name, of.mode)
            .with("slots", gauge(of.slots))
            .with("in_flight", gauge(of.in_flight))
            .with("queue_length", gauge(of.queue_length))
            .with("max_wait", Value::Time(of.max_wait))
            .with("queue_order", Value::Text(of.queue_order.as_str().into()))
            .with("waiting", gauge(of.waiting))
            .with("closed", gauge(usize::from(of.closed)));
        if let Some(keys) = of.keys {
            snapshot = snapshot
                .with("slots_per_key", gauge(keys.slots_per_key))
                .with("max_keys", gauge(keys.max_keys))
                .with("active_keys", gauge(keys.active))
                .with("queue_length_per_key", gauge(keys.queue_length))
                .with("max_wait_per_key", Value::Time(keys.max_wait))
                .with("waiting_for_share", gauge(keys.waiting));
        }
        snapshot.fields.extend(of.stats.fields());
        snapshot
    }
}
