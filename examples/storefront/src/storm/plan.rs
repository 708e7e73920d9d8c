//! What the experiment does, for how long, and how hard.

use std::time::Duration;

use super::{attack::Raid, outage::Acts, pace::schedule, replay::Pairs};
use crate::{
    analytics::Strain,
    compartments::{ANALYTICS, Protection},
};

/// One column of the experiment: a way to run the shop, calm or flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// A word for file names and colours.
    pub(super) key: &'static str,
    /// What the table calls it.
    pub(super) title: &'static str,
    /// How the shop is run.
    pub(super) protection: Protection,
    /// Whether the analytics are flooded.
    pub(super) flooded: bool,
}

/// The shop as it is meant to be run, without a flood: what the others are compared to.
pub(super) const IDLE: Scenario = Scenario {
    key: "idle",
    title: "idle",
    protection: Protection::Fusebox,
    flooded: false,
};

/// One runtime, one pool, nothing in between, and nothing but a deadline before the authoriser.
pub(super) const UNPROTECTED: Scenario = Scenario {
    key: "none",
    title: "flooded, without fusebox",
    protection: Protection::None,
    flooded: true,
};

/// The same, and as many analytics at once as the compartment would have threads.
pub(super) const SEMAPHORE: Scenario = Scenario {
    key: "semaphore",
    title: "flooded, semaphore only",
    protection: Protection::Semaphore,
    flooded: true,
};

/// A compartment for each kind of traffic.
pub(super) const FUSEBOX: Scenario = Scenario {
    key: "fusebox",
    title: "flooded, with fusebox",
    protection: Protection::Fusebox,
    flooded: true,
};

/// All of them, in the order in which they run.
pub(super) const SCENARIOS: [Scenario; 4] = [IDLE, UNPROTECTED, SEMAPHORE, FUSEBOX];

/// How long and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Payments sent in a second, however the earlier ones fare.
    pub(super) rate: u32,
    /// When a client gives its payment up, counted from when it meant to send it.
    pub(super) patience: Duration,
    /// Payments before the flood begins, to open connections and fill caches; not measured.
    pub(super) warm_up: Duration,
    /// Payments while the flood comes up; not measured.
    pub(super) onset: Duration,
    /// What is measured.
    pub(super) measured: Duration,
    /// Analytics clients, each with one request under way.
    pub(super) flood: usize,
    /// How long an analytics client that was turned away waits before it asks again. Impatient: the answer
    /// asks for more.
    pub(super) pause: Duration,
    /// The extra work in each analytics request.
    pub(super) strain: Strain,
    /// How long the authoriser is well, hangs, is dead and is back.
    pub(super) acts: Acts,
    /// What attackers do.
    pub(super) raid: Raid,
    /// How many payments are timed with and without the firewall.
    pub(super) pairs: Pairs,
}

/// Flooded is twelve times what the compartment takes at once.
const FLOOD: usize = 12 * ANALYTICS.slots;

/// How long a service that was asked to stop may take before it is killed.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// No experiment takes longer, seeding apart.
pub(super) const LONGEST: Duration = Duration::from_secs(88);

impl Plan {
    /// The real thing.
    pub(super) const FULL: Self = Self {
        // Idle, these keep a processor busy for a tenth of the time: what is measured is the flood's doing,
        // not the payments' own queue.
        rate: 150,
        patience: Duration::from_secs(3),
        warm_up: Duration::from_millis(500),
        // The first requests have waited out their delay and are computing by then.
        onset: Duration::from_millis(2_500),
        // 1,050 payments: ten of them lie beyond the 99th percentile.
        measured: Duration::from_secs(7),
        flood: FLOOD,
        pause: Duration::from_millis(250),
        strain: Strain {
            delay: Duration::from_secs(2),
            cpu: Duration::from_secs(1),
        },
        acts: Acts::FULL,
        raid: Raid::FULL,
        pairs: Pairs::FULL,
    };

    /// Only to see that it runs.
    pub(super) const QUICK: Self = Self {
        rate: 50,
        patience: Duration::from_secs(2),
        warm_up: Duration::from_millis(200),
        onset: Duration::from_millis(500),
        measured: Duration::from_secs(1),
        flood: FLOOD,
        pause: Duration::from_millis(100),
        strain: Strain {
            delay: Duration::from_millis(200),
            cpu: Duration::from_millis(100),
        },
        acts: Acts::QUICK,
        raid: Raid::QUICK,
        pairs: Pairs::QUICK,
    };

    /// How many of the payments that are measured are due by then, counted from the start.
    #[must_use]
    pub(super) fn due(&self, elapsed: Duration) -> usize {
        let measured = elapsed.saturating_sub(self.warm_up + self.onset);
        schedule(self.rate, measured.min(self.measured)).count()
    }

    /// From the first payment to the last.
    #[must_use]
    pub(super) fn sending(&self) -> Duration {
        self.warm_up + self.onset + self.measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_experiment_is_bounded() {
        // A second for each service to start.
        let start = Duration::from_secs(1);
        let calm = Plan::FULL.sending() + start;
        // Even where every payment is given up and every service has to be killed but the first.
        let flooded = calm + Plan::FULL.patience + STOP_PATIENCE;
        // The authoriser's part starts a service too, and ends with its payments.
        let outage = Plan::FULL.acts.length() + 2 * start;
        // Banned bots, and a siege; then every pair, payments and look-ups, at three milliseconds each.
        let raid = Plan::FULL.raid.length(start) + Plan::FULL.warm_up;
        let replay = start + 4 * Plan::FULL.pairs.0 * Duration::from_micros(1_500);
        let whole = calm + 3 * flooded + outage + raid + replay;
        assert!(whole <= LONGEST, "{whole:?}");
        assert!(LONGEST < Duration::from_secs(90));
    }

    #[test]
    fn the_flood_computes_before_the_measurement_begins() {
        for plan in [Plan::FULL, Plan::QUICK] {
            assert!(plan.onset > plan.strain.delay);
        }
    }

    #[test]
    fn what_is_due_counts_from_where_the_measurement_begins() {
        let plan = Plan::FULL;
        let begins = plan.warm_up + plan.onset;
        for (elapsed, due) in [
            (Duration::ZERO, 0),
            (begins, 0),
            (begins + Duration::from_millis(999), 150),
            (plan.sending(), 1_050),
            (plan.sending() * 2, 1_050),
        ] {
            assert_eq!(plan.due(elapsed), due, "{elapsed:?}");
        }
    }

    #[test]
    fn the_percentiles_have_something_beyond_them() {
        let payments = u128::from(Plan::FULL.rate) * Plan::FULL.measured.as_millis() / 1_000;
        assert!(payments / 1_000 >= 1);
    }
}
