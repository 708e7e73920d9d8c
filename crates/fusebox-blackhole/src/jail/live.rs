//! What an operator sees and steers.

use std::{sync::atomic::Ordering, time::SystemTime};

use fusebox_core::{Change, EventKind, LayerKind, Live, Mode, Name, Snapshot, Value};

use super::Inner;
use crate::engine::Width;

impl Live for Inner {
    fn layer(&self) -> LayerKind {
        LayerKind::Blackhole
    }

    fn name(&self) -> Name {
        self.reporter.policy().clone()
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let (mut clients, mut networks) = (0, 0);
        self.prison
            .for_each(now, |inmate| match inmate.key.width() {
                Width::Client => clients += 1,
                _ => networks += 1,
            });
        let feeds = self.feeds.states(SystemTime::now());
        let listed = feeds.iter().map(|feed| feed.records as u64).sum();
        let stale = feeds
            .iter()
            .filter(|feed| feed.stale)
            .fold(0, |count, _| count + 1);
        let broken = feeds
            .iter()
            .filter(|feed| feed.error.is_some())
            .fold(0, |count, _| count + 1);
        let crowded = self.prison.crowded();
        let mut snapshot = Snapshot::new(LayerKind::Blackhole, Live::name(self), self.mode.get())
            .with("jailed", Value::Gauge(clients))
            .with("jailed_networks", Value::Gauge(networks))
            .with("capacity", Value::Gauge(self.prison.capacity() as u64))
            .with("memory_bytes", Value::Gauge(self.prison.memory() as u64))
            .with(
                "strikes",
                Value::Count(self.strikes.load(Ordering::Relaxed)),
            )
            .with(
                "sentences",
                Value::Count(self.sentences.load(Ordering::Relaxed)),
            )
            .with("freed_for_room", Value::Count(crowded.freed))
            .with("forgotten_for_room", Value::Count(crowded.forgotten))
            .with("listed", Value::Gauge(listed))
            .with("feeds_stale", Value::Gauge(stale))
            .with("feeds_refused", Value::Gauge(broken));
        snapshot.fields.extend(self.reporter.stats(now).fields());
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let from = self.mode.get();
        self.mode.set(mode);
        self.changes.fetch_add(1, Ordering::Release);
        let change = Change::Mode { from, to: mode };
        self.reporter.report(self.now(), EventKind::Change(change));
    }
}
