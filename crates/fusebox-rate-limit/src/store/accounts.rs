//! What one policy has counted, under whatever algorithm.

use std::time::Duration;

use fusebox_core::Timestamp;

use super::Standing;
use super::hash::{Key, KeyHasher};
use super::log_table::LogTable;
use super::table::{Aging, NoPlace, Overflow, Room, Spot, Table, either_word};
use crate::engine::gcra::{self, Gcra};
use crate::engine::log::{Changing, Log};
use crate::engine::quota::{Quota, QuotaError};
use crate::engine::window::{self, Window};
use crate::engine::{STATE_MASK, Step};

/// What a policy's accounts are to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many keys may be active at once.
    pub capacity: usize,
    /// What happens to those beyond.
    pub overflow: Overflow,
}

/// What one policy has counted: its rules, and a state for each key.
#[derive(Debug)]
pub struct Accounts(Kind);

#[derive(Debug)]
enum Kind {
    Bucket(Gcra, Table),
    Window(Window, Table),
    Log(Changing, LogTable),
}

/// What one policy says.
#[derive(Clone, Copy)]
pub(super) enum Said {
    Yes(Duration),
    No(Duration),
    NoPlace,
}

impl Accounts {
    /// Of a token bucket, or of a leaky bucket; see [`Gcra`].
    #[must_use]
    pub fn bucket(rules: Gcra, layout: Layout) -> Self {
        Self(Kind::Bucket(rules, layout.table(Room::ONE_WORD)))
    }

    /// Of windows.
    #[must_use]
    pub fn window(rules: Window, layout: Layout) -> Self {
        let room = if rules.slides() {
            Room::TWO_WORDS
        } else {
            Room::ONE_WORD
        };
        Self(Kind::Window(rules, layout.table(room)))
    }

    /// Of exact logs.
    #[must_use]
    pub fn log(rules: Log, layout: Layout) -> Self {
        let table = LogTable::new(layout.capacity, rules, layout.overflow);
        Self(Kind::Log(Changing::new(rules), table))
    }

    pub(super) fn change(&self, now: Timestamp, quota: Quota) -> Result<(), QuotaError> {
        match &self.0 {
            Kind::Bucket(rules, _) => rules.change(now, quota),
            Kind::Window(rules, _) => rules.change(now, quota),
            Kind::Log(rules, table) => {
                let log = Log::new(quota)?;
                // Before anybody spends by it: no decision allocates.
                table.make_room(log.limit());
                rules.change(log);
                Ok(())
            }
        }
    }

    /// Spends in a bucket of which the key is known and has enough; otherwise does nothing but to look at the clock.
    ///
    /// By far the most of all requests, and all that is compiled into whoever asks: what is left to a call
    /// would have to be put into memory for it. The key's line is on its way while the clock is read; in a table that
    /// is in no cache that is a third of the time.
    #[inline(always)]
    pub(super) fn spend_at_once(
        &self,
        hasher: &KeyHasher,
        key: Key,
        cost: u64,
        clock: impl FnOnce() -> Timestamp,
    ) -> (Timestamp, bool) {
        let Kind::Bucket(rules, table) = &self.0 else {
            return (clock(), false);
        };
        let spot = table.spot(hasher.place(key, 0));
        let now = clock();
        let moment = rules.at(now);
        let spent = table.advance(spot, |state| moment.spend_at_once(state, cost));
        (
            now,
            spent.unwrap_or_else(|| seldom(rules, table, spot, now, cost)),
        )
    }

    /// Whether it gives turns that it cannot take back.
    pub(super) const fn shapes(&self) -> bool {
        match &self.0 {
            Kind::Bucket(rules, _) => rules.shapes(),
            Kind::Window(..) | Kind::Log(..) => false,
        }
    }

    /// Has the key's line fetched while others are asked.
    pub(super) fn foresee(&self, at: &At<'_>) {
        match &self.0 {
            Kind::Bucket(_, table) => drop(table.spot(at.place(0))),
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let salt = parity(&moment);
                table.spot(at.window(&moment, salt));
                if rules.slides() {
                    table.spot(at.window(&moment, salt ^ 1));
                }
            }
            Kind::Log(..) => {}
        }
    }

    /// Spends, or says what would happen.
    #[inline(never)]
    pub(super) fn spend(&self, at: &At<'_>, cost: u64, How { really, waits }: How) -> Said {
        match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                let step = table.update(at.place(0), &moment, |state| {
                    match moment.spend(state, cost) {
                        Step::Spent { wait, .. } if wait > 0 && !waits => (None, Err(wait)),
                        step => taken(step, really),
                    }
                });
                said(step, |ticks| moment.duration(ticks))
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let (salt, before) = windows(&moment, table, at);
                let step = table.update(at.window(&moment, salt), &moment, |state| {
                    taken(moment.spend(state, before, cost), really)
                });
                said(step, |ticks| moment.duration(ticks))
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                let spent = table.update(at.place(0), &rules, at.now, |moments| {
                    let spent = rules.spend(moments, at.now, cost);
                    if spent.is_ok() && !really {
                        rules.refund(moments, at.now, at.now, cost);
                    }
                    spent
                });
                match spent {
                    Ok(Ok(())) => Said::Yes(Duration::ZERO),
                    Ok(Err(wait)) => Said::No(wait),
                    Err(NoPlace) => Said::NoPlace,
                }
            }
        }
    }

    pub(super) fn penalise(&self, at: &At<'_>, cost: u64) {
        // No place, no penalty: the key is refused anyway.
        let _ = match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                table.update(at.place(0), &moment, |state| {
                    (Some(moment.penalise(state, cost)), ())
                })
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let salt = parity(&moment);
                table.update(at.window(&moment, salt), &moment, |state| {
                    (Some(moment.penalise(state, cost)), ())
                })
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                table.update(at.place(0), &rules, at.now, |moments| {
                    rules.penalise(moments, at.now, cost);
                })
            }
        };
    }

    /// Gives back what was spent then.
    ///
    /// A key without a place has nothing to give back to, unless it has to share. There only what is its own to give
    /// back may go back: what it had spent where it once had a place is paid back, or it would have that place still.
    pub(super) fn refund(&self, at: &At<'_>, spent_at: Timestamp, cost: u64) {
        match &self.0 {
            Kind::Bucket(rules, _) if rules.shapes() => {}
            Kind::Bucket(rules, table) => {
                let (place, moment) = (at.place(0), rules.at(at.now));
                let refund = |state| (!moment.idle(state)).then(|| moment.refund(state, cost));
                if !table.update_own(place, refund) {
                    let outstanding = moment.outstanding(cost, spent_at);
                    table.update_share(place, &moment, |state| {
                        let owing = !moment.idle(state) && outstanding > 0;
                        owing.then(|| moment.refund_ticks(state, outstanding))
                    });
                }
            }
            Kind::Window(rules, table) => {
                let Some(then) = rules.at_spending(spent_at) else {
                    return;
                };
                let now = rules.at(at.now);
                let place = at.window(&then, parity(&then));
                // A window that is not over keeps its place, and of one that is nothing is given back.
                let refund = |state| {
                    let after = then.refund(state, cost);
                    (after != state).then_some(after)
                };
                if !table.update_own(place, refund) {
                    table.update_share(place, &now, refund);
                }
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                let _ = table.update(at.place(0), &rules, at.now, |moments| {
                    rules.refund(moments, at.now, spent_at, cost);
                });
            }
        }
    }

    /// How long until `cost` is there, or one if so much never is.
    pub(super) fn next(&self, at: &At<'_>, cost: u64) -> Option<Duration> {
        let how = How {
            really: false,
            waits: true,
        };
        let mut waits = [cost.max(1), 1].into_iter();
        waits.find_map(|cost| match self.spend(at, cost, how) {
            Said::Yes(wait) | Said::No(wait) => Some(wait).filter(|wait| *wait < Duration::MAX),
            Said::NoPlace => None,
        })
    }

    /// How much is left, and how long until all is there again.
    pub(super) fn left(&self, at: &At<'_>) -> Standing {
        let standing = match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                table.update(at.place(0), &moment, |state| {
                    let (remaining, reset) = (moment.remaining(state), moment.reset(state));
                    (None, Standing { remaining, reset })
                })
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let (salt, before) = windows(&moment, table, at);
                table.update(at.window(&moment, salt), &moment, |state| {
                    let remaining = moment.remaining(state, before);
                    let reset = moment.reset();
                    (None, Standing { remaining, reset })
                })
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                table.update(at.place(0), &rules, at.now, |moments| {
                    let remaining = rules.remaining(moments);
                    let reset = rules.reset(moments, at.now);
                    Standing { remaining, reset }
                })
            }
        };
        // Without a place nothing is left.
        standing.unwrap_or_default()
    }

    pub(super) fn counted(&self, now: Timestamp) -> Counted {
        match &self.0 {
            Kind::Bucket(rules, table) => Counted::of(table, &rules.at(now)),
            Kind::Window(rules, table) => Counted::of(table, &rules.at(now)),
            Kind::Log(rules, table) => Counted {
                active: table.active(&rules.now(), now),
                evicted: 0,
                overflowed: table.overflowed(),
                bytes: table.bytes() as u64,
            },
        }
    }
}

impl Layout {
    fn table(self, room: Room) -> Table {
        Table::new(self.capacity, room, self.overflow)
    }
}

/// [`Accounts::spend_at_once`] for one key in twenty, which is in its other line: when as many are active as there is room for.
#[inline(never)]
fn seldom(rules: &Gcra, table: &Table, spot: Spot<'_>, now: Timestamp, cost: u64) -> bool {
    let moment = rules.at(now);
    let next = |state| moment.spend_at_once(state, cost);
    table.advance(table.other_spot(spot), next) == Some(true)
}

/// How something is spent.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Or only asked for.
    pub(super) really: bool,
    /// Or refused if not at once.
    pub(super) waits: bool,
}

/// A key at a moment.
pub(super) struct At<'a> {
    pub(super) hasher: &'a KeyHasher,
    pub(super) key: Key,
    pub(super) now: Timestamp,
}

impl At<'_> {
    #[inline]
    fn place(&self, salt: u64) -> u64 {
        self.hasher.place(self.key, salt)
    }

    /// The place of the even or of the odd window. Where both count, no key's odd one shares anything with any key's even
    /// one, which would forget what was spent in it.
    #[inline]
    fn window(&self, moment: &window::Moment, parity: u64) -> u64 {
        let place = self.place(parity);
        if moment.slides() {
            either_word(place, parity == 1)
        } else {
            place
        }
    }
}

pub(super) struct Counted {
    pub(super) active: u64,
    pub(super) evicted: u64,
    pub(super) overflowed: u64,
    pub(super) bytes: u64,
}

impl Counted {
    fn of(table: &Table, aging: &impl Aging) -> Self {
        let (evicted, overflowed) = table.counted();
        Self {
            active: table.active(aging),
            evicted,
            overflowed,
            bytes: table.bytes() as u64,
        }
    }
}

impl Aging for gcra::Moment {
    #[inline]
    fn full(&self) -> u64 {
        gcra::Moment::full(self)
    }

    #[inline]
    fn idle(&self, state: u64) -> bool {
        gcra::Moment::idle(self, state)
    }
}

impl Aging for window::Moment {
    fn full(&self) -> u64 {
        window::Moment::full(self)
    }

    fn idle(&self, state: u64) -> bool {
        window::Moment::idle(self, state)
    }
}

/// Even and odd windows are kept apart.
fn parity(moment: &window::Moment) -> u64 {
    moment.number() & 1
}

/// Which of a key's two windows is now, and what was spent in the other, if that still counts.
fn windows(moment: &window::Moment, table: &Table, at: &At<'_>) -> (u64, u64) {
    let salt = parity(moment);
    if !moment.slides() {
        return (salt, 0);
    }
    let before = table.update(at.window(moment, salt ^ 1), moment, |state| {
        (None, moment.before(state))
    });
    (salt, before.unwrap_or(0))
}

#[inline]
fn taken(step: Step, really: bool) -> (Option<u64>, Result<u64, u64>) {
    match step {
        Step::Spent { state, wait } => (really.then_some(state & STATE_MASK), Ok(wait)),
        Step::Denied { wait } => (None, Err(wait)),
    }
}

fn said(step: Result<Result<u64, u64>, NoPlace>, duration: impl FnOnce(u64) -> Duration) -> Said {
    match step {
        Ok(Ok(0)) => Said::Yes(Duration::ZERO),
        Ok(Ok(ticks)) => Said::Yes(duration(ticks)),
        Ok(Err(ticks)) => Said::No(duration(ticks)),
        Err(NoPlace) => Said::NoPlace,
    }
}
