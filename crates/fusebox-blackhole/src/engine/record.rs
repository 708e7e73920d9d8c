//! What is known of one client, in two words: strikes, sentence, relapses.

use super::{
    key::Width,
    terms::{MOST_RELAPSES, Terms},
};

/// Why a client is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It kept spending more than its quota.
    RateLimit,
    /// A firewall judged its requests to be attacks.
    Waf,
    /// Another layer kept refusing it.
    Refusals,
    /// Its requests kept ending with statuses that were chosen for it, such as 401.
    Statuses,
    /// It asked for paths that only a scanner asks for.
    Trap,
    /// An operator, or the application, said so.
    Operator,
    /// Too many of its neighbours are in.
    Neighbours,
    /// Another instance of the service jailed it.
    Shared,
}

impl Cause {
    /// Every cause, in the order of their numbers in a record.
    pub const ALL: [Self; 8] = [
        Self::RateLimit,
        Self::Waf,
        Self::Refusals,
        Self::Statuses,
        Self::Trap,
        Self::Operator,
        Self::Neighbours,
        Self::Shared,
    ];

    /// The word for it in snapshots, logs and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Waf => "waf",
            Self::Refusals => "refusals",
            Self::Statuses => "statuses",
            Self::Trap => "trap",
            Self::Operator => "operator",
            Self::Neighbours => "neighbours",
            Self::Shared => "shared",
        }
    }

    fn of_number(number: u64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number).copied())
            .unwrap_or(Self::Operator)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How 48 bits count strikes: so many parts of the find time, the running one and those before it, and so many bits for
/// each.
#[derive(Clone, Copy)]
struct Counts {
    parts: u32,
    bits: u32,
}

impl Counts {
    /// A client has few strikes and is judged to a seventh of the find time; a network has those of many clients, and a
    /// third is exact enough.
    const fn of(width: Width) -> Self {
        match width {
            Width::Client => Self { parts: 8, bits: 6 },
            Width::Net56 | Width::Net48 => Self { parts: 4, bits: 12 },
        }
    }

    const fn most(self) -> u64 {
        (1 << self.bits) - 1
    }
}

/// What any record that is in is worth at least: more than the strikes and relapses of any network.
pub(super) const SENTENCE: u64 = 1 << 48;

const ALL_COUNTS: u64 = (1 << 48) - 1;

/// One client's record. Times are whole seconds of the jail's clock.
///
/// In: `since` and `until` are the sentence's. Out: `until` is when the last one ended (0 if there was none) and
/// `since` is the number of the part of the find time that the newest count is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) since: u32,
    pub(super) until: u32,
    pub(super) width: Width,
    pub(super) cause: Cause,
    /// Sentences so far, less those forgiven up to the last one.
    pub(super) relapses: u8,
    /// Strikes, newest part in the lowest bits: see `Counts`.
    counts: u64,
}

impl Record {
    /// Nothing is known yet.
    pub(super) const fn new(width: Width) -> Self {
        Self {
            since: 0,
            until: 0,
            width,
            cause: Cause::Operator,
            relapses: 0,
            counts: 0,
        }
    }

    pub(super) const fn is_in(&self, now: u32) -> bool {
        now < self.until
    }

    /// One more strike; true if it led in.
    pub(super) fn strike(&mut self, now: u32, terms: &Terms, cause: Cause, jitter: u32) -> bool {
        if self.count(now, terms) < u32::from(terms.max_strikes) {
            return false;
        }
        self.sentence(now, terms, cause, jitter);
        true
    }

    /// Counts one more strike: how many there are.
    pub(super) fn count(&mut self, now: u32, terms: &Terms) -> u32 {
        self.age(now, terms);
        let most = Counts::of(self.width).most();
        let newest = (self.counts & most) + 1;
        self.counts = (self.counts & !most) | newest.min(most);
        self.strikes()
    }

    /// Sends the client in for as long as its relapses ask for.
    pub(super) fn sentence(&mut self, now: u32, terms: &Terms, cause: Cause, jitter: u32) {
        let relapses = self.relapses_now(now, terms);
        let length = terms.sentence_after(u32::from(relapses), jitter);
        self.relapses = relapses.saturating_add(1).min(MOST_RELAPSES_KEPT);
        self.put_in(now, now.saturating_add(length), cause);
    }

    /// Sends the client in until then.
    pub(super) fn put_in(&mut self, now: u32, until: u32, cause: Cause) {
        self.since = now;
        self.until = until;
        self.cause = cause;
        self.counts = 0;
    }

    /// Strikes that count, as of the last look.
    pub(super) fn strikes(&self) -> u32 {
        let Counts { parts, bits } = Counts::of(self.width);
        let most = Counts::of(self.width).most();
        (0..parts)
            .map(|part| (self.counts >> (part * bits)) & most)
            .fold(0, |sum, count| sum + u32::try_from(count).unwrap_or(0))
    }

    /// Moves the counts on to now.
    fn age(&mut self, now: u32, terms: &Terms) {
        let Counts { parts, bits } = Counts::of(self.width);
        let part = now / terms.part(parts - 1);
        // Also when a sentence has ended since: `since` is a time then, and there is nothing to move.
        let moved = part.saturating_sub(self.since);
        self.counts = match moved {
            _ if self.counts == 0 => 0,
            _ if moved < parts => (self.counts << (moved * bits)) & ALL_COUNTS,
            _ => 0,
        };
        self.since = part;
    }

    /// Relapses that are not forgiven yet.
    pub(super) fn relapses_now(&self, now: u32, terms: &Terms) -> u8 {
        let forgiven = now.saturating_sub(self.until) / terms.forgive_seconds();
        self.relapses
            .saturating_sub(u8::try_from(forgiven).unwrap_or(u8::MAX))
    }

    /// How much would be lost with this record: nothing (0), strikes and relapses, or a sentence, the longer it
    /// still lasts the more.
    pub(super) fn worth(&self, now: u32, terms: &Terms) -> u64 {
        if self.is_in(now) {
            return SENTENCE + u64::from(self.until);
        }
        let mut aged = *self;
        aged.age(now, terms);
        // A relapse outweighs a strike: it took several.
        let (relapses, strikes) = (
            u64::from(self.relapses_now(now, terms)),
            u64::from(aged.strikes()),
        );
        if relapses == 0 && strikes == 0 {
            return 0;
        }
        // Among equals the one whose strikes are fresher.
        ((relapses * u64::from(terms.max_strikes) + strikes) << 28)
            + (aged.counts & Counts::of(self.width).most())
    }

    pub(super) fn pack(self) -> (u64, u64) {
        let times = u64::from(self.since) << 32 | u64::from(self.until);
        let rest = self.counts << 16
            | u64::from(self.relapses) << 8
            | (self.cause as u64) << 2
            | self.width as u64;
        (times, rest)
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are cut out on purpose"
    )]
    pub(super) fn unpack((times, rest): (u64, u64)) -> Self {
        Self {
            since: (times >> 32) as u32,
            until: times as u32,
            width: width_of(rest),
            cause: Cause::of_number((rest >> 2) & 0x3f),
            relapses: (rest >> 8) as u8,
            counts: rest >> 16,
        }
    }
}

/// What a count of relapses saturates at: no cap is so far away that more would matter.
#[expect(clippy::cast_possible_truncation, reason = "31")]
const MOST_RELAPSES_KEPT: u8 = MOST_RELAPSES as u8;

#[inline]
pub(super) const fn width_of(rest: u64) -> Width {
    match rest & 3 {
        0 => Width::Client,
        1 => Width::Net56,
        _ => Width::Net48,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn terms() -> Terms {
        Terms::default().jitter_percent(0)
    }

    fn strike(record: &mut Record, now: u32) -> bool {
        record.strike(now, &terms(), Cause::RateLimit, 0)
    }

    #[test]
    fn the_fifth_strike_within_ten_minutes_leads_in_for_ten() {
        let mut record = Record::new(Width::Client);
        for now in [1_000, 1_140, 1_280, 1_420] {
            assert!(!strike(&mut record, now));
        }
        assert!(strike(&mut record, 1_599));
        assert!(record.is_in(1_599) && record.is_in(2_198));
        assert!(!record.is_in(2_199));
    }

    #[test]
    fn strikes_further_apart_never_add_up() {
        let mut record = Record::new(Width::Client);
        for now in (0..100).map(|i| 1_000 + i * 200) {
            assert!(!strike(&mut record, now), "{now}");
        }
    }

    #[test]
    fn relapses_double_the_sentence_and_good_behaviour_forgives_them_one_by_one() {
        let mut record = Record::new(Width::Client);
        let mut lengths = Vec::new();
        let mut now = 1_000;
        for _ in 0..3 {
            record.sentence(now, &terms(), Cause::Waf, 0);
            lengths.push(record.until - now);
            now = record.until;
        }
        assert_eq!(lengths, [600, 1_200, 2_400]);
        now += 86_400 * 2;
        record.sentence(now, &terms(), Cause::Waf, 0);
        assert_eq!(record.until - now, 1_200, "two of three are forgiven");
        now = record.until + 86_400 * 10;
        assert_eq!(record.worth(now, &terms()), 0, "all is forgotten");
    }

    #[test]
    fn what_counts_for_more_is_worth_more() {
        let now = 100_000;
        let client = || Record::new(Width::Client);
        let mut one = client();
        strike(&mut one, now);
        let mut old = client();
        strike(&mut old, now - 300);
        let mut two = old;
        strike(&mut two, now);
        let mut former = client();
        former.sentence(now - 700, &terms(), Cause::Waf, 0);
        let mut inside = client();
        inside.sentence(now, &terms(), Cause::Waf, 0);
        let mut longer = former;
        longer.sentence(now, &terms(), Cause::Waf, 0);
        let worths: Vec<_> = [client(), old, one, two, former, inside, longer]
            .iter()
            .map(|record| record.worth(now, &terms()))
            .collect();
        assert!(worths.is_sorted_by(|one, other| one < other), "{worths:?}");
    }

    fn records() -> impl Strategy<Value = Record> {
        (
            any::<u32>(),
            any::<u32>(),
            0..3_u64,
            0..8_usize,
            any::<u8>(),
            0..=ALL_COUNTS,
        )
            .prop_map(|(since, until, width, cause, relapses, counts)| Record {
                since,
                until,
                width: width_of(width),
                cause: Cause::ALL[cause],
                relapses,
                counts,
            })
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(record in records()) {
            prop_assert_eq!(Record::unpack(record.pack()), record);
        }

        /// The same of a network, whose strikes are counted by thirds, and with more room for each.
        #[test]
        fn a_network_misses_no_strike_within_the_find_time(
            find in 7..2_000_u32,
            steps in proptest::collection::vec((0..400_u32, 1..200_u32), 1..60),
        ) {
            let terms = Terms::default().find_time(Duration::from_secs(find.into()));
            let mut record = Record::new(Width::Net48);
            let mut times: Vec<u32> = Vec::new();
            let mut now = 10_000;
            for (step, strikes) in steps {
                now += step;
                let mut counted = 0;
                for _ in 0..strikes {
                    times.push(now);
                    counted = record.count(now, &terms) as usize;
                }
                let within = |time: u32| times.iter().filter(|at| **at + time > now).count();
                prop_assert!(counted >= within(find).min(4_095), "{counted} of {}", within(find));
                prop_assert!(counted <= within(4 * terms.part(3)), "{counted} of {}", within(find));
            }
        }

        /// Against the exact times of all strikes: within the find time none is missed, and none counts longer
        /// than a seventh more.
        #[test]
        fn agrees_with_a_list_of_all_strikes(
            max in 1..=20_u8,
            find in 7..2_000_u32,
            steps in proptest::collection::vec(0..400_u32, 1..200),
        ) {
            let terms = Terms::default().max_strikes(max).find_time(Duration::from_secs(find.into()));
            let slack = terms.part(7);
            let mut record = Record::new(Width::Client);
            let mut times: Vec<u32> = Vec::new();
            let mut now = 10_000;
            for step in steps {
                now += step;
                if record.is_in(now) {
                    continue;
                }
                times.push(now);
                let within = |time: u32| times.iter().filter(|at| **at + time > now).count();
                let led_in = record.strike(now, &terms, Cause::Trap, 0);
                if within(find) >= max.into() {
                    prop_assert!(led_in, "missed: {} within {find}", within(find));
                }
                if led_in {
                    prop_assert!(within(7 * slack + slack) >= max.into(), "too strict");
                    times.clear();
                }
            }
        }
    }
}
