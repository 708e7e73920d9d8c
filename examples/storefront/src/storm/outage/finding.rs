//! What the authoriser's failure came to.

use std::time::{Duration, Instant};

use fusebox_core::CircuitState;
use fusebox_example_grpc::client::DEADLINE;

use super::{
    super::{finding::time, table::Table, tally::Sorted, verdict::Target},
    circuit::Stay,
};
use crate::payments::authoriser::{PROBES, RAMP};

/// The ramp is shown in so many parts.
const PARTS: u32 = 4;

/// Payments due in the last so long are to be paid, all of them.
const IN_THE_END: Duration = Duration::from_millis(500);

const PAID: u16 = 201;
/// The circuit is open. While it is closed nothing here answers with this.
const REFUSED: u16 = 503;

/// What the authoriser is, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    name: &'static str,
    since: Instant,
}

impl Act {
    pub(super) const fn new(name: &'static str, since: Instant) -> Self {
        Self { name, since }
    }
}

/// One payment that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it was due.
    pub(super) due: Instant,
    /// When it was over, from then on.
    pub(super) latency: Duration,
    /// What the shop answered, if it did before the client gave up.
    pub(super) status: Option<u16>,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Outage {
    acts: Vec<Act>,
    payments: Vec<Sent>,
    stays: Vec<Stay>,
}

impl Outage {
    pub(super) fn new(acts: [Act; 4], payments: Vec<Sent>, stays: Vec<Stay>) -> Self {
        Self {
            acts: acts.to_vec(),
            payments,
            stays,
        }
    }

    /// What became of the payments.
    #[must_use]
    pub(in super::super) fn payments(&self) -> Table {
        let head = [
            "payments while the authoriser",
            "due",
            "paid",
            "p99",
            "refused at once",
            "p50",
            "p99",
            "failed",
            "slowest",
        ];
        let rows = self.acts.iter().enumerate().map(|(number, act)| {
            let end = self.acts.get(number + 1).map(|next| next.since);
            let due: Vec<&Sent> = self.due(Some(act.since), end).collect();
            let latencies = |wanted: fn(Option<u16>) -> bool| {
                let those = due.iter().filter(|sent| wanted(sent.status));
                those.map(|sent| sent.latency).collect::<Vec<_>>()
            };
            let paid = latencies(|status| status == Some(PAID));
            let refused = latencies(|status| status == Some(REFUSED));
            let failed = latencies(|status| !matches!(status, Some(PAID | REFUSED)));
            vec![
                act.name.to_owned(),
                due.len().to_string(),
                paid.len().to_string(),
                quantile(&paid, 990),
                refused.len().to_string(),
                quantile(&refused, 500),
                quantile(&refused, 990),
                failed.len().to_string(),
                quantile(&failed, 1_000),
            ]
        });
        Table {
            head: head.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }
    }

    /// What the circuit did.
    #[must_use]
    pub(in super::super) fn circuit(&self) -> Table {
        let stays = |state| self.stays.iter().filter(move |stay| stay.state == state);
        let told = |value: Option<Duration>| value.map_or_else(|| "never".to_owned(), time);
        let rows = [
            (
                "opened after the first call hung",
                told(self.opened_after()),
            ),
            (
                "times it opened",
                stays(CircuitState::Open).count().to_string(),
            ),
            (
                "calls that reached the authoriser while open",
                self.reached_while_open().to_string(),
            ),
            (
                "most probes at once",
                format!("{} of {PROBES}", self.most_probes()),
            ),
            ("closed after the return", told(self.closed_after())),
            ("paid in each quarter of the ramp", self.ramp()),
        ];
        Table {
            head: vec!["the circuit".to_owned(), String::new()],
            rows: rows
                .map(|(name, value)| vec![name.to_owned(), value])
                .to_vec(),
        }
    }

    /// What it has to show.
    #[must_use]
    pub(in super::super) fn judge(&self) -> Vec<Target> {
        let opened = self.opened_after();
        let reached = self.reached_while_open();
        let most = self.most_probes();
        let (paid, due) = self.paid_in_the_end();
        vec![
            Target {
                name: "storm/authoriser-opened-after-ms".to_owned(),
                measured: opened
                    .map_or_else(|| "never".to_owned(), |after| after.as_millis().to_string()),
                // Before the first timeout comes back.
                limit: format!("<{}", DEADLINE.as_millis()),
                met: opened.is_some_and(|after| after < DEADLINE),
            },
            Target {
                name: "storm/authoriser-reached-while-open".to_owned(),
                measured: reached.to_string(),
                limit: "0".to_owned(),
                // Of a circuit that never opened this says nothing.
                met: reached == 0 && opened.is_some(),
            },
            Target {
                name: "storm/authoriser-probes-at-once".to_owned(),
                measured: most.to_string(),
                limit: format!("1..={PROBES}"),
                // None at all would mean that nobody looked.
                met: (1..=PROBES as usize).contains(&most),
            },
            Target {
                name: "storm/authoriser-paid-in-the-end".to_owned(),
                measured: format!("{paid}/{due}"),
                limit: "all".to_owned(),
                met: due > 0 && paid == due,
            },
        ]
    }

    fn due(&self, from: Option<Instant>, to: Option<Instant>) -> impl Iterator<Item = &Sent> {
        self.payments.iter().filter(move |sent| {
            from.is_none_or(|from| sent.due >= from) && to.is_none_or(|to| sent.due < to)
        })
    }

    fn since(&self, act: usize) -> Option<Instant> {
        self.acts.get(act).map(|act| act.since)
    }

    /// From the first payment that was due when the authoriser hung.
    fn opened_after(&self) -> Option<Duration> {
        let hangs = self.since(1)?;
        let first = self.due(Some(hangs), None).map(|sent| sent.due).min()?;
        let opened = self.stays.iter();
        let opened = opened.filter(|stay| stay.state == CircuitState::Open);
        let opened = opened
            .map(|stay| stay.since)
            .find(|since| *since >= hangs)?;
        Some(opened.saturating_duration_since(first))
    }

    fn reached_while_open(&self) -> usize {
        let open = self.stays.iter();
        let open = open.filter(|stay| stay.state == CircuitState::Open);
        open.map(|stay| stay.reached).sum()
    }

    fn most_probes(&self) -> usize {
        let stays = self.stays.iter();
        let half_open = stays.filter(|stay| stay.state == CircuitState::HalfOpen);
        half_open.map(|stay| stay.at_once).max().unwrap_or_default()
    }

    fn closed(&self) -> Option<Instant> {
        let back = self.since(3)?;
        let closed = self.stays.iter();
        let closed = closed.filter(|stay| stay.state == CircuitState::Closed);
        closed.map(|stay| stay.since).find(|since| *since >= back)
    }

    fn closed_after(&self) -> Option<Duration> {
        Some(self.closed()?.saturating_duration_since(self.since(3)?))
    }

    /// The part that was paid of what was due in each part of the ramp.
    fn ramp(&self) -> String {
        let Some(closed) = self.closed() else {
            return "–".to_owned();
        };
        let part = RAMP.1 / PARTS;
        let shares = (0..PARTS).map(|number| {
            let from = closed + part * number;
            let due = || self.due(Some(from), Some(from + part));
            let paid = due().filter(|sent| sent.status == Some(PAID)).count();
            match due().count() {
                0 => "–".to_owned(),
                due => format!("{} %", paid * 100 / due),
            }
        });
        shares.collect::<Vec<_>>().join(", ")
    }

    fn paid_in_the_end(&self) -> (usize, usize) {
        let Some(last) = self.payments.iter().map(|sent| sent.due).max() else {
            return (0, 0);
        };
        let due = || self.due(last.checked_sub(IN_THE_END), None);
        let paid = due().filter(|sent| sent.status == Some(PAID)).count();
        (paid, due().count())
    }
}

fn quantile(latencies: &[Duration], per_mille: usize) -> String {
    if latencies.is_empty() {
        return "–".to_owned();
    }
    time(Sorted::new(latencies.to_vec()).quantile(per_mille))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    /// A payment each 10 ms for 9 seconds: well for one, hangs for two and a half, dead for one and a half. The
    /// circuit opens after 200 ms, tries at 2 s and at 4 s, closes at 6 s, and all is well from 7 s on.
    fn outage() -> Outage {
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let payments = (0..900).map(|number| {
            let millis = number * 10;
            let (latency, status) = match millis {
                0..1_000 | 7_000.. => (2, Some(201)),
                1_000..1_200 => (501, Some(504)),
                // The ramp: two of three.
                6_000..7_000 if number % 3 < 2 => (2, Some(201)),
                _ => (1, Some(503)),
            };
            Sent {
                due: at(millis),
                latency: Duration::from_millis(latency),
                status,
            }
        });
        let stay = |state, since, reached, at_once| Stay {
            state,
            since: at(since),
            reached,
            at_once,
        };
        Outage::new(
            [
                Act::new("is well", at(0)),
                Act::new("hangs", at(995)),
                Act::new("is dead", at(3_500)),
                Act::new("is back", at(5_000)),
            ],
            payments.collect(),
            vec![
                stay(CircuitState::Closed, 0, 120, 21),
                stay(CircuitState::Open, 1_200, 0, 20),
                stay(CircuitState::HalfOpen, 2_000, 2, 2),
                stay(CircuitState::Open, 2_500, 0, 2),
                stay(CircuitState::HalfOpen, 4_000, 0, 0),
                stay(CircuitState::Open, 4_001, 0, 0),
                stay(CircuitState::HalfOpen, 5_990, 2, 1),
                stay(CircuitState::Closed, 6_000, 280, 2),
            ],
        )
    }

    fn missed(outage: &Outage) -> Vec<String> {
        let targets = outage.judge().into_iter();
        targets
            .filter(|target| !target.met)
            .map(|target| target.name)
            .collect()
    }

    #[test]
    fn both_tables_say_what_happened() {
        let outage = outage();
        assert_eq!(
            outage.payments().to_string(),
            "\
| payments while the authoriser | due | paid |     p99 | refused at once |     p50 |     p99 | failed | slowest |
|-------------------------------|----:|-----:|--------:|----------------:|--------:|--------:|-------:|--------:|
| is well                       | 100 |  100 | 2.00 ms |               0 |       – |       – |      0 |       – |
| hangs                         | 250 |    0 |       – |             230 | 1.00 ms | 1.00 ms |     20 |  501 ms |
| is dead                       | 150 |    0 |       – |             150 | 1.00 ms | 1.00 ms |      0 |       – |
| is back                       | 400 |  267 | 2.00 ms |             133 | 1.00 ms | 1.00 ms |      0 |       – |
"
        );
        let circuit: Vec<_> = outage
            .circuit()
            .rows
            .into_iter()
            .filter_map(|mut row| row.pop())
            .collect();
        assert_eq!(
            circuit,
            [
                "200 ms",
                "3",
                "0",
                "2 of 2",
                "1.00 s",
                "68 %, 68 %, 64 %, 68 %"
            ]
        );
    }

    #[test]
    fn what_has_to_be_shown_is_shown() {
        assert_eq!(missed(&outage()), [""; 0]);
    }

    #[test]
    fn each_target_is_missed_on_its_own() {
        let mut leaky = outage();
        leaky.stays[3].reached = 1;
        assert_eq!(missed(&leaky), ["storm/authoriser-reached-while-open"]);

        for at_once in [0, PROBES as usize + 1] {
            let mut eager = outage();
            for stay in &mut eager.stays {
                stay.at_once = at_once;
            }
            assert_eq!(missed(&eager), ["storm/authoriser-probes-at-once"]);
        }

        let mut slow = outage();
        slow.stays[1].since += DEADLINE;
        assert_eq!(missed(&slow), ["storm/authoriser-opened-after-ms"]);

        let mut stuck = outage();
        stuck.payments.last_mut().unwrap().status = Some(503);
        assert_eq!(missed(&stuck), ["storm/authoriser-paid-in-the-end"]);
    }

    #[test]
    fn of_nothing_nothing_is_shown() {
        assert_eq!(missed(&Outage::default()).len(), 4);
        assert_eq!(Outage::default().payments().rows.len(), 0);
    }

    #[test]
    fn the_return_is_longer_than_the_last_cool_down_and_the_ramp() {
        let back = super::super::Acts::FULL.back;
        let longest = crate::payments::authoriser::COOL_DOWN.1;
        assert!(back > longest + RAMP.1 + IN_THE_END + STEP);
    }
}
