//! The connections that are open now.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use fusebox_core::sync::lock;

use crate::connection::{Connection, Line};

/// A lock for one connection in so many: an accept is a system call, and waits for no other.
const SHARDS: usize = 16;

/// All connections that the gates of a jail have let in and that are still open: some 60 bytes for each.
///
/// Whoever is banned has connections that were there before. Where it is the kernel that drops its packets, nothing that it
/// does is seen any more, so they would stay, sockets and buffers and all, until somebody's patience ends.
#[derive(Default)]
pub(crate) struct Lines {
    shards: [Shard; SHARDS],
    next: AtomicU64,
}

type Shard = Mutex<HashMap<u64, (IpAddr, Weak<Line>)>>;

/// One of them, for as long as this lives.
pub(crate) struct Entry {
    lines: Arc<Lines>,
    number: u64,
}

impl Lines {
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr, connection: &Connection) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(shard) = self.shard(number) {
            lock(shard).insert(number, (peer, connection.downgrade()));
        }
        Entry {
            lines: self.clone(),
            number,
        }
    }

    /// Closes those whose peers are meant: how many, without those that were closed before. Looks at all of them.
    pub(crate) fn close(&self, is_meant: impl Fn(IpAddr) -> bool) -> usize {
        let mut closed = 0;
        for shard in &self.shards {
            let meant: Vec<_> = lock(shard)
                .values()
                .filter(|(peer, _)| is_meant(*peer))
                .filter_map(|(_, line)| line.upgrade())
                .collect();
            // Not under the lock: whoever is woken may drop the connection at once.
            closed += meant.iter().filter(|line| line.cut()).count();
        }
        closed
    }

    fn shard(&self, number: u64) -> Option<&Shard> {
        self.shards
            .get(usize::try_from(number % SHARDS as u64).unwrap_or_default())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(shard) = self.lines.shard(self.number) {
            lock(shard).remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_those_that_are_meant_and_forgets_those_that_are_gone() {
        let lines = Arc::new(Lines::default());
        let open = |last: u8| {
            let peer = std::net::SocketAddr::from(([192, 0, 2, last], 1));
            let connection = Connection::new(peer);
            let entry = lines.enter(peer.ip(), &connection);
            (connection, entry)
        };
        let all: Vec<_> = (0..100).map(|number| open(number % 10)).collect();
        let seven = IpAddr::from([192, 0, 2, 7]);
        all[7].0.close();
        assert_eq!(
            lines.close(|peer| peer == seven),
            9,
            "one was closed before"
        );
        assert_eq!(
            lines.close(|peer| peer == seven),
            0,
            "nor is one closed twice"
        );
        for (connection, _) in &all {
            assert_eq!(connection.is_closed(), connection.peer().ip() == seven);
        }
        drop(all);
        assert!(lines.shards.iter().all(|shard| lock(shard).is_empty()));
        assert_eq!(lines.close(|_| true), 0);
    }
}
