//! What the firewall stopped, and what it cost.

use std::time::Duration;

use super::{
    super::{finding::time, table::Table, tally::Sorted, verdict::Target, visit::Reception},
    letters::Sample,
};

/// Of a hundred attacks so many have to be stopped.
const LEAST_STOPPED: usize = 90;

/// What the firewall may add to the median.
const MOST_ADDED: Duration = Duration::from_micros(100);

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) sample: Sample,
    /// What its sender saw.
    pub(super) met: Reception,
    /// Whether it was the firewall that stopped it: the shop refuses much of it too, for reasons of its own.
    pub(super) stopped: bool,
}

/// How long the same requests took both ways, in pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    payments: Ways,
    look_ups: Ways,
}

#[derive(Clone, Debug, Default)]
struct Ways {
    with: Vec<Duration>,
    without: Vec<Duration>,
}

impl Ways {
    fn add(&mut self, firewall: bool, took: Duration) {
        let way = if firewall {
            &mut self.with
        } else {
            &mut self.without
        };
        way.push(took);
    }

    /// Without, with, and by how much the second is longer, in nanoseconds: it may be shorter.
    fn compared(&self, per_mille: usize) -> (Duration, Duration, i128) {
        let quantile = |way: &[Duration]| Sorted::new(way.to_vec()).quantile(per_mille);
        let (without, with) = (quantile(&self.without), quantile(&self.with));
        let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        (without, with, nanos(with) - nanos(without))
    }
}

impl Times {
    pub(super) fn paid(&mut self, firewall: bool, took: Duration) {
        self.payments.add(firewall, took);
    }

    pub(super) fn looked_up(&mut self, firewall: bool, took: Duration) {
        self.look_ups.add(firewall, took);
    }
}

/// What became of the whole experiment.
#[derive(Clone, Debug)]
pub(in super::super) struct Replay {
    /// What the rules are called.
    pub(super) rules: &'static str,
    pub(super) attacks: Vec<Tried>,
    pub(super) honest: Vec<Tried>,
    pub(super) times: Times,
    /// Of the honest payments and look-ups that were timed.
    pub(super) stopped_pairs: u64,
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.to_vec()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

impl Replay {
    fn stopped(tried: &[Tried]) -> usize {
        tried.iter().filter(|tried| tried.stopped).count()
    }

    /// Honest requests that were sent, those that were timed among them.
    fn honest_sent(&self) -> usize {
        self.honest.len() + self.times.payments.with.len() + self.times.look_ups.with.len()
    }

    fn honest_stopped(&self) -> u64 {
        Self::stopped(&self.honest) as u64 + self.stopped_pairs
    }

    /// What was stopped, family by family, and honest requests at the end.
    #[must_use]
    pub(in super::super) fn stops(&self) -> Table {
        let mut families: Vec<(&str, Vec<Tried>)> = Vec::new();
        for tried in &self.attacks {
            let family = tried.sample.family;
            match families.iter_mut().find(|(known, _)| *known == family) {
                Some((_, members)) => members.push(tried.clone()),
                None => families.push((family, vec![tried.clone()])),
            }
        }
        let counts = |name: String, sent: usize, stopped: u64| {
            row([name, sent.to_string(), stopped.to_string()])
        };
        let mut rows: Vec<_> = families
            .into_iter()
            .map(|(family, members)| {
                let stopped = Self::stopped(&members) as u64;
                counts(format!("attacks: {family}"), members.len(), stopped)
            })
            .collect();
        let stopped = Self::stopped(&self.attacks) as u64;
        rows.push(counts(
            "all attacks".to_owned(),
            self.attacks.len(),
            stopped,
        ));
        rows.push(counts(
            "honest requests".to_owned(),
            self.honest_sent(),
            self.honest_stopped(),
        ));
        Table {
            head: row([
                "requests".to_owned(),
                "sent".to_owned(),
                format!("stopped by the {} rules", self.rules),
            ]),
            rows,
        }
    }

    /// What the firewall adds.
    #[must_use]
    pub(in super::super) fn costs(&self) -> Table {
        let of = |name: &str, ways: &Ways| {
            let mut row = vec![name.to_owned(), ways.with.len().to_string()];
            for per_mille in [500, 990] {
                let (without, with, added) = ways.compared(per_mille);
                row.extend([time(without), time(with), microseconds(added)]);
            }
            row
        };
        Table {
            head: words([
                "with and without the firewall",
                "pairs",
                "p50 without",
                "with",
                "added",
                "p99 without",
                "with",
                "added",
            ]),
            rows: vec![
                of("paying", &self.times.payments),
                of("looking a payment up", &self.times.look_ups),
            ],
        }
    }

    /// What came out the wrong way, each in a line.
    pub(in super::super) fn surprises(&self) -> impl Iterator<Item = String> {
        let passed = self.attacks.iter().filter(|tried| !tried.stopped);
        let refused = self.honest.iter().filter(|tried| tried.stopped);
        let told = |what: &'static str| {
            move |tried: &Tried| {
                let Sample { family, letter, .. } = &tried.sample;
                format!("{what} ({family}), {}: {}", tried.met, letter.gist())
            }
        };
        let passed = passed.map(told("an attack passed the firewall"));
        passed.chain(refused.map(told("an honest request was stopped")))
    }

    /// What has to be shown.
    #[must_use]
    pub(in super::super) fn judge(&self) -> Vec<Target> {
        let (sent, stopped) = (self.attacks.len(), Self::stopped(&self.attacks));
        let (without, _, added) = self.times.payments.compared(500);
        vec![
            Target {
                name: "storm/attacks-stopped".to_owned(),
                measured: format!("{stopped}/{sent}"),
                limit: format!(">={LEAST_STOPPED}%"),
                met: sent > 0 && stopped * 100 >= sent * LEAST_STOPPED,
            },
            Target {
                name: "storm/honest-requests-stopped".to_owned(),
                measured: format!("{}/{}", self.honest_stopped(), self.honest_sent()),
                limit: "0".to_owned(),
                met: self.honest_sent() > 0 && self.honest_stopped() == 0,
            },
            Target {
                name: "storm/firewall-added-p50".to_owned(),
                measured: microseconds(added).replace(' ', ""),
                limit: format!("<={}µs", MOST_ADDED.as_micros()),
                // Of nothing nothing was measured.
                met: !without.is_zero()
                    && added <= i128::try_from(MOST_ADDED.as_nanos()).unwrap_or_default(),
            },
        ]
    }
}

/// Whole microseconds with a sign.
fn microseconds(nanos: i128) -> String {
    let micros = (nanos.unsigned_abs() + 500) / 1_000;
    match (nanos < 0, micros) {
        (_, 0) => "0 µs".to_owned(),
        (true, micros) => format!("−{micros} µs"),
        (false, micros) => format!("+{micros} µs"),
    }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::{super::letters, *};

    const US: Duration = Duration::from_micros(1);

    /// Everything as it should be: one attack in twenty passes.
    pub(in super::super::super) fn replay() -> Replay {
        let tried = |samples: Vec<Sample>, stopped: fn(usize) -> bool| {
            let tried = samples
                .into_iter()
                .enumerate()
                .map(|(number, sample)| Tried {
                    sample,
                    met: Reception::Answered(if stopped(number) { 403 } else { 404 }),
                    stopped: stopped(number),
                });
            tried.collect()
        };
        let mut times = Times::default();
        for _ in 0..1_000 {
            times.paid(true, 1_040 * US);
            times.paid(false, 1_000 * US);
            times.looked_up(true, 330 * US);
            times.looked_up(false, 340 * US);
        }
        Replay {
            rules: "core",
            attacks: tried(letters::attacks(), |number| number % 20 > 0),
            honest: tried(letters::honest(), |_| false),
            times,
            stopped_pairs: 0,
        }
    }

    fn missed(replay: &Replay) -> Vec<String> {
        let targets = replay.judge().into_iter();
        let missed = targets.filter(|target| !target.met);
        missed.map(|target| target.name).collect()
    }

    #[test]
    fn every_family_has_its_row_and_the_rows_add_up() {
        let replay = replay();
        let table = replay.stops();
        let sent = |row: &Vec<String>| row[1].parse::<usize>().unwrap();
        let (families, totals) = table.rows.split_at(table.rows.len() - 2);
        assert_eq!(families.iter().map(sent).sum::<usize>(), sent(&totals[0]));
        assert_eq!(sent(&totals[0]), letters::attacks().len());
        assert_eq!(sent(&totals[1]), letters::honest().len() + 2_000);
        assert_eq!(totals[1][2], "0");
    }

    #[test]
    fn what_is_added_has_a_sign() {
        let table = replay().costs();
        assert_eq!(
            table.rows[0],
            [
                "paying", "1000", "1.00 ms", "1.04 ms", "+40 µs", "1.00 ms", "1.04 ms", "+40 µs"
            ]
        );
        assert_eq!(table.rows[1][4], "−10 µs");
        assert_eq!(microseconds(400), "0 µs");
    }

    #[test]
    fn each_surprise_is_told() {
        let mut replay = replay();
        replay.honest[0].stopped = true;
        let passed = letters::attacks().len().div_ceil(20);
        assert_eq!(replay.surprises().count(), passed + 1);
        assert!(replay.surprises().last().unwrap().contains("honest"));
    }

    #[test]
    fn what_has_to_be_shown_is_shown_and_each_target_is_missed_on_its_own() {
        assert_eq!(missed(&replay()), [""; 0]);

        let mut open = replay();
        for tried in open.attacks.iter_mut().take(9) {
            tried.stopped = false;
        }
        assert_eq!(missed(&open), ["storm/attacks-stopped"]);

        let mut strict = replay();
        strict.stopped_pairs = 1;
        assert_eq!(missed(&strict), ["storm/honest-requests-stopped"]);

        let mut slow = replay();
        slow.times.payments.with = vec![1_101 * US; 1_000];
        assert_eq!(missed(&slow), ["storm/firewall-added-p50"]);
    }
}
