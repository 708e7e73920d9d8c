//! What a banned attacker cost, and what became of the payments.

use std::time::Duration;

use super::{
    super::{
        finding::{over, time},
        table::Table,
        tally::{Fate, Tally},
        verdict::Target,
        visit::Reception,
    },
    bots::{Receptions, Siege, expected},
};
use crate::edge::Bans;

/// No depth may cost more than the one above it.
const WORST_STEP: f64 = 1.0;

/// The payments' p99 under attack, over the worse of those before and after it.
const WORST_RATIO: f64 = 2.0;

/// What became of the whole experiment.
#[derive(Clone, Debug)]
pub(in super::super) struct Attack {
    /// Each depth, from the dearest to the cheapest.
    pub(super) levels: Vec<Level>,
    /// Before, during and after.
    pub(super) payments: [Tally; 3],
    /// What the attacker met with meanwhile.
    pub(super) siege: Siege,
    /// Where it was turned away.
    pub(super) siege_bans: Bans,
}

/// One depth at which banned clients are turned away.
#[derive(Clone, Debug)]
pub(super) struct Level {
    bans: Bans,
    cost: Result<Cost, String>,
}

/// What a connection costs there.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    met: Receptions,
    /// Processor time of the service for each connection; none where the system does not tell.
    each: Option<Duration>,
    as_expected: bool,
}

impl Level {
    pub(super) const fn run(bans: Bans, cost: Cost) -> Self {
        Self {
            bans,
            cost: Ok(cost),
        }
    }

    /// It cannot be shown here, for that reason.
    pub(super) const fn not_run(bans: Bans, reason: String) -> Self {
        Self {
            bans,
            cost: Err(reason),
        }
    }

    fn each(&self) -> Option<Duration> {
        self.cost.as_ref().ok()?.each
    }
}

impl Cost {
    /// Of batches of so many visits, which took that much computing.
    pub(super) fn new(
        bans: Bans,
        met: Receptions,
        mut computed: Vec<Duration>,
        visits: usize,
    ) -> Self {
        computed.sort_unstable();
        let middle = computed.get(computed.len() / 2);
        let visits = u32::try_from(visits).unwrap_or(u32::MAX).max(1);
        Self {
            as_expected: met.keys().all(|reception| *reception == expected(bans)),
            each: middle.map(|middle| *middle / visits),
            met,
        }
    }

    fn visits(&self) -> usize {
        self.met.values().sum()
    }
}

const fn title(bans: Bans) -> &'static str {
    match bans {
        Bans::Handler => "403 by the handler",
        Bans::Deny => "`Deny`: 403 by the layer",
        Bans::Drop => "`Drop`: closed by the layer",
        Bans::Accept => "closed at accept",
        Bans::Kernel => "dropped by the kernel",
    }
}

const TIMES: [&str; 3] = ["before the attack", "under attack", "after it"];

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

impl Attack {
    /// What each depth cost.
    #[must_use]
    pub(in super::super) fn costs(&self) -> Table {
        let first = self.levels.first().and_then(Level::each);
        let rows = self.levels.iter().map(|level| {
            let mut row = vec![title(level.bans).to_owned()];
            match &level.cost {
                Err(reason) => row.extend([
                    "–".to_owned(),
                    format!("not run: {reason}"),
                    "–".to_owned(),
                    "–".to_owned(),
                ]),
                Ok(cost) => {
                    let met = cost.met.iter();
                    let met = met.map(|(reception, count)| match cost.met.len() {
                        1 => reception.to_string(),
                        _ => format!("{count} {reception}"),
                    });
                    row.extend([
                        cost.visits().to_string(),
                        met.collect::<Vec<_>>().join(", "),
                        cost.each.map_or_else(|| "–".to_owned(), short),
                        cost.each
                            .zip(first)
                            .and_then(|(each, first)| over(each, first))
                            .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}×")),
                    ]);
                }
            }
            row
        });
        Table {
            head: words([
                "a banned client's connection",
                "made",
                "the client sees",
                "CPU time of the service",
                "of the first",
            ]),
            rows: rows.collect(),
        }
    }

    /// What became of the payments.
    #[must_use]
    pub(in super::super) fn payments(&self) -> Table {
        let rows = TIMES.iter().zip(&self.payments).map(|(time_of, tally)| {
            let latencies = tally.latencies();
            vec![
                (*time_of).to_owned(),
                tally.sent().to_string(),
                tally.count(Fate::Paid).to_string(),
                time(latencies.quantile(500)),
                time(latencies.quantile(990)),
            ]
        });
        Table {
            head: words(["payments", "due", "paid", "p50", "p99"]),
            rows: rows.collect(),
        }
    }

    /// What became of the attacker.
    #[must_use]
    pub(in super::super) fn attacker(&self) -> Table {
        let count = |wanted: Reception| {
            let met = self.siege.visits.iter();
            met.filter(|(_, met)| *met == wanted).count()
        };
        let limited = count(Reception::Answered(429));
        let turned_away = count(Reception::Closed);
        let served = self.siege.visits.len() - limited - turned_away;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        Table {
            head: words(["the attacker's connections", ""]),
            rows: vec![
                row("made", self.siege.visits.len().to_string()),
                row("answered, within its quota", served.to_string()),
                row("told 429", limited.to_string()),
                row(
                    "banned after",
                    self.siege.banned_after.map_or_else(|| "–".to_owned(), time),
                ),
                row(
                    match self.siege_bans {
                        Bans::Accept => "then closed at accept",
                        _ => "then answered 403 by the layer",
                    },
                    turned_away.to_string(),
                ),
            ],
        }
    }

    /// What has to be shown.
    #[must_use]
    pub(in super::super) fn judge(&self) -> Vec<Target> {
        let run = || {
            self.levels
                .iter()
                .filter_map(|level| level.cost.as_ref().ok())
        };
        let (made, as_expected) = run().fold((0, true), |(made, all), cost| {
            (made + cost.visits(), all && cost.as_expected)
        });
        let mut targets = vec![Target {
            name: "storm/banned-turned-away-as-told".to_owned(),
            measured: made.to_string(),
            limit: "all".to_owned(),
            met: made > 0 && as_expected,
        }];
        let pairs = self.levels.iter().zip(self.levels.iter().skip(1));
        targets.extend(pairs.filter_map(|(above, below)| {
            // What was not run is in the table, with the reason.
            let ratio = over(below.each()?, above.each()?)?;
            Some(Target {
                name: format!("storm/ban-cost-{}-over-{}", below.bans, above.bans),
                measured: format!("{ratio:.2}"),
                limit: format!("<={WORST_STEP:.1}"),
                met: ratio <= WORST_STEP,
            })
        }));
        let [before, during, after] = &self.payments;
        let (sent, paid) = self.payments.iter().fold((0, 0), |(sent, paid), tally| {
            (sent + tally.sent(), paid + tally.count(Fate::Paid))
        });
        let p99 = |tally: &Tally| tally.latencies().quantile(990);
        let ratio = over(p99(during), p99(before).max(p99(after)));
        targets.extend([
            Target {
                name: "storm/attacker-banned".to_owned(),
                measured: self
                    .siege
                    .banned_after
                    .map_or_else(|| "never".to_owned(), |after| time(after).replace(' ', "")),
                limit: "once".to_owned(),
                met: self.siege.banned_after.is_some(),
            },
            Target {
                name: "storm/attacked-payments-paid".to_owned(),
                measured: format!("{paid}/{sent}"),
                limit: "all".to_owned(),
                met: sent > 0 && paid == sent,
            },
            Target {
                name: "storm/attacked-p99-over-calm".to_owned(),
                measured: ratio.map_or_else(|| "nothing".to_owned(), |ratio| format!("{ratio:.2}")),
                limit: format!("<={WORST_RATIO:.1}"),
                met: ratio.is_some_and(|ratio| ratio <= WORST_RATIO),
            },
        ]);
        targets
    }
}

/// Microseconds with one digit behind the point: these are short.
fn short(value: Duration) -> String {
    format!("{:.1} µs", value.as_secs_f64() * 1e6)
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);
    const MS: Duration = Duration::from_millis(1);

    fn level(bans: Bans, each: u32) -> Level {
        let met = Receptions::from([(expected(bans), 2_000)]);
        let computed = vec![1_000 * each * US, 400 * each * US, US];
        Level::run(bans, Cost::new(bans, met, computed, 400))
    }

    fn paid(latency: Duration) -> Tally {
        let mut tally = Tally::new(Duration::from_secs(3));
        for _ in 0..400 {
            tally.record(Duration::ZERO, Duration::ZERO, latency, Fate::Paid);
        }
        tally
    }

    /// Everything as it should be.
    pub(in super::super::super) fn attack() -> Attack {
        let mut visits = vec![(Duration::ZERO, Reception::Answered(201)); 40];
        visits.extend([(MS, Reception::Answered(429)); 5]);
        visits.extend([(2 * MS, Reception::Closed); 1_955]);
        Attack {
            levels: vec![
                level(Bans::Handler, 200),
                level(Bans::Deny, 100),
                level(Bans::Drop, 80),
                level(Bans::Accept, 20),
                Level::not_run(Bans::Kernel, "no right".to_owned()),
            ],
            payments: [paid(MS), paid(2 * MS), paid(MS)],
            siege: Siege {
                visits,
                banned_after: Some(46 * MS),
            },
            siege_bans: Bans::Accept,
        }
    }

    fn missed(attack: &Attack) -> Vec<String> {
        let targets = attack.judge().into_iter();
        let missed = targets.filter(|target| !target.met);
        missed.map(|target| target.name).collect()
    }

    #[test]
    fn the_tables_say_what_happened() {
        let attack = attack();
        assert_eq!(
            attack.costs().to_string(),
            "\
| a banned client's connection | made |       the client sees | CPU time of the service | of the first |
|------------------------------|-----:|----------------------:|------------------------:|-------------:|
| 403 by the handler           | 2000 |          answered 403 |                200.0 µs |        1.00× |
| `Deny`: 403 by the layer     | 2000 |          answered 403 |                100.0 µs |        0.50× |
| `Drop`: closed by the layer  | 2000 | closed without a byte |                 80.0 µs |        0.40× |
| closed at accept             | 2000 | closed without a byte |                 20.0 µs |        0.10× |
| dropped by the kernel        |    – |     not run: no right |                       – |            – |
"
        );
        let last = |table: Table| -> Vec<String> {
            let rows = table.rows.into_iter();
            rows.filter_map(|mut row| row.pop()).collect()
        };
        assert_eq!(last(attack.payments()), ["1.00 ms", "2.00 ms", "1.00 ms"]);
        assert_eq!(
            last(attack.attacker()),
            ["2000", "40", "5", "46.0 ms", "1955"]
        );
    }

    #[test]
    fn what_has_to_be_shown_is_shown() {
        assert_eq!(missed(&attack()), [""; 0]);
        // Not run, so not judged.
        assert!(
            !attack()
                .judge()
                .iter()
                .any(|target| target.name.contains("kernel"))
        );
    }

    #[test]
    fn each_target_is_missed_on_its_own() {
        let mut dear = attack();
        dear.levels[2] = level(Bans::Drop, 101);
        assert_eq!(missed(&dear), ["storm/ban-cost-drop-over-deny"]);

        let mut leaky = attack();
        let met = Receptions::from([(Reception::Closed, 1_999), (Reception::Answered(201), 1)]);
        leaky.levels[3] = Level::run(Bans::Accept, Cost::new(Bans::Accept, met, vec![US], 1));
        assert_eq!(missed(&leaky), ["storm/banned-turned-away-as-told"]);

        let mut free = attack();
        free.siege.banned_after = None;
        assert_eq!(missed(&free), ["storm/attacker-banned"]);

        let mut lost = attack();
        lost.payments[1].record(MS, MS, MS, Fate::Status(429));
        assert_eq!(missed(&lost), ["storm/attacked-payments-paid"]);

        let mut slow = attack();
        slow.payments[1] = paid(3 * MS);
        assert_eq!(missed(&slow), ["storm/attacked-p99-over-calm"]);
    }

    #[test]
    fn the_cost_is_that_of_the_batch_in_the_middle() {
        let met = Receptions::from([(Reception::Closed, 6)]);
        let computed = vec![9 * MS, MS, 2 * MS];
        let cost = Cost::new(Bans::Drop, met, computed, 2);
        assert_eq!(cost.each, Some(MS));
    }
}
