//! What is to be done now and then: lists read again, sentences saved.

use std::{
    io,
    sync::{Arc, Weak, atomic::Ordering},
    time::SystemTime,
};

use fusebox_core::{Change, EventKind, sync::lock};

use super::{Inner, Jail};
use crate::{
    engine::Listed,
    feeds::FeedState,
    file::{self, Calendar},
};

impl Jail {
    /// What is known of each published list.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedState> {
        self.0.feeds.states(SystemTime::now())
    }

    /// Reads those lists again whose files have changed, and drops those that are stale. True if anything has changed.
    ///
    /// Reads and sorts files: call it where blocking is allowed. The [caretaker](Self::caretaker) does.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn reload_feeds(&self) -> bool {
        let rules = self.rules();
        let apply = |listed: Vec<Listed>, from| {
            let to = records(&listed);
            let now = self.now();
            self.0.prison.set_lists(listed, now);
            let what = "listed";
            let change = Change::Limit { what, from, to };
            self.0.reporter.report(now, EventKind::Change(change));
        };
        self.0.feeds.reload(&rules.never, SystemTime::now(), apply)
    }

    /// Writes all sentences to the [file](crate::JailConfig::file), if there is one and anything has changed: a new file that
    /// takes the old one's place, so that one of them is always whole. Past sentences are in it as well, until they are
    /// forgiven: a restart is no amnesty.
    ///
    /// Blocks. Call it before the process ends; the [caretaker](Self::caretaker) calls it now and then.
    ///
    /// # Errors
    /// The file's.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.0.file else {
            return Ok(());
        };
        let mut saved = lock(&self.0.saving);
        let changes = self.0.changes.load(Ordering::Acquire);
        if *saved == Some(changes) && path.exists() {
            return Ok(());
        }
        let (now, terms) = (self.now(), self.terms());
        let mut inmates = Vec::new();
        self.0
            .prison
            .for_each_known(&terms, now, |inmate| inmates.push(inmate));
        file::write(path, &inmates, Calendar::new(now, SystemTime::now()))?;
        *saved = Some(changes);
        Ok(())
    }

    /// Looks after the jail for as long as it is used: reads changed lists, drops stale ones, saves sentences, keeps
    /// the filter sharp. Spawn it once; it ends when the last handle is dropped.
    ///
    /// Everything that blocks runs on the runtime's blocking threads. What fails is logged and tried again.
    ///
    /// # Cancel safety
    /// Dropping it stops the looking after. Work that has begun is finished.
    pub fn caretaker(&self) -> impl Future<Output = ()> + Send + use<> {
        let jail = Arc::downgrade(&self.0);
        let every = self.0.check_every;
        async move {
            loop {
                // Files and age are looked at now and then: neither tells when it changes.
                tokio::time::sleep(every).await;
                let jail: Weak<Inner> = jail.clone();
                let Some(inner) = jail.upgrade() else { return };
                let work = tokio::task::spawn_blocking(move || Self(inner).look_after());
                // A panic in there has been reported by then; the next round may go better.
                let _ = work.await;
            }
        }
    }

    fn look_after(&self) {
        self.reload_feeds();
        self.0.prison.tidy(self.now());
        self.tell_if_crowded();
        if let Err(error) = self.save() {
            tracing::warn!(target: "fusebox", %error, "sentences could not be saved");
        }
    }

    /// Says that the table is too small, when it was since the last time.
    fn tell_if_crowded(&self) {
        let now = self.0.prison.crowded();
        let before = std::mem::replace(&mut *lock(&self.0.crowded), now);
        if now != before {
            let freed = now.freed - before.freed;
            let forgotten = now.forgotten - before.forgotten;
            let capacity = self.0.prison.capacity();
            tracing::warn!(target: "fusebox", jail = %self.name(), capacity, freed, forgotten, "the jail is full: give it more capacity");
        }
    }
}

/// How many records lists have in all.
pub(crate) fn records(listed: &[Listed]) -> u64 {
    listed.iter().map(|list| list.networks.len() as u64).sum()
}
