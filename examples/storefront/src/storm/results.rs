//! What the parts that were run came to.

use super::{
    attack::Attack,
    finding::{self, Finding},
    outage::Outage,
    replay::Replay,
    table,
    verdict::{self, Target},
};

/// The parts that were run.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    /// Payments while analytics is flooded.
    pub(super) isolation: Option<[Finding; 4]>,
    /// Payments while their authoriser is down.
    pub(super) outage: Option<Outage>,
    /// What a banned attacker costs.
    pub(super) attack: Option<Attack>,
    /// What the firewall stops.
    pub(super) replay: Option<Replay>,
}

impl Results {
    /// What has to be shown by those parts.
    #[must_use]
    pub(super) fn judge(&self) -> Vec<Target> {
        let isolation = self.isolation.as_ref().map(verdict::judge);
        let outage = self.outage.as_ref().map(Outage::judge);
        let attack = self.attack.as_ref().map(Attack::judge);
        let replay = self.replay.as_ref().map(Replay::judge);
        let parts = [isolation, outage, attack, replay];
        parts.into_iter().flatten().flatten().collect()
    }

    /// All tables.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(findings) = &self.isolation {
            text += &isolation(findings);
        }
        if let Some(outage) = &self.outage {
            text += &format!("\n{}\n{}", outage.payments(), outage.circuit());
        }
        if let Some(attack) = &self.attack {
            let (costs, payments, attacker) =
                (attack.costs(), attack.payments(), attack.attacker());
            text += &format!("\n{costs}\n{payments}\n{attacker}");
        }
        if let Some(replay) = &self.replay {
            text += &format!("\n{}\n{}", replay.stops(), replay.costs());
            for surprise in replay.surprises() {
                text += &format!("{surprise}\n");
            }
        }
        text
    }
}

fn isolation(findings: &[Finding; 4]) -> String {
    let mut text = table::text(findings);
    for finding in findings {
        for (fate, count) in finding.payments.failures() {
            text += &format!("{}: {count} payments {fate}\n", finding.scenario.title);
        }
    }
    text + &format!(
        "the client itself sent 99 of 100 payments at most {} late\n",
        finding::time(finding::lateness(findings))
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::{
        super::{attack, finding::tests::finding, plan::SCENARIOS, replay},
        *,
    };

    /// All parts, and as they should be but for the first, in which some payments failed.
    pub(in super::super) fn results() -> Results {
        let isolation =
            SCENARIOS.map(|scenario| finding(scenario, Duration::from_micros(2_500), (1_000, 3)));
        Results {
            isolation: Some(isolation),
            outage: Some(Outage::default()),
            attack: Some(attack::tests::attack()),
            replay: Some(replay::tests::replay()),
        }
    }

    /// The cells of a line of a table.
    fn cells(line: &str) -> Option<Vec<&str>> {
        let cells = line.strip_prefix('|')?.trim_end().strip_suffix('|')?;
        Some(cells.split('|').map(str::trim).collect())
    }

    #[test]
    fn the_readme_shows_these_tables_and_these_rows() {
        let readme = include_str!("../../README.md");
        let shown: Vec<_> = readme.lines().filter_map(cells).collect();
        let text = results().text();
        let mut told = text.lines().filter_map(cells).peekable();
        let mut tables = 0;
        while let Some(row) = told.next() {
            let is_head = told.peek().is_some_and(|next| next[0].starts_with("--"));
            let is_rule = row[0].starts_with("--");
            if is_head {
                tables += 1;
                assert!(shown.contains(&row), "{row:?}");
            } else if !is_rule {
                // The figures are another run's.
                assert!(shown.iter().any(|other| other[0] == row[0]), "{row:?}");
            }
        }
        assert_eq!(tables, 8);
    }

    #[test]
    fn only_what_was_run_is_told_and_judged() {
        let nothing = Results::default();
        assert_eq!(nothing.text(), "");
        assert_eq!(nothing.judge(), []);

        let all = results();
        let one = Results {
            replay: all.replay.clone(),
            ..Results::default()
        };
        assert!(one.text().contains("all attacks") && !one.text().contains("idle"));
        assert!(all.text().contains("all attacks") && all.text().contains("idle"));
        assert!(all.judge().len() > one.judge().len());
    }
}
