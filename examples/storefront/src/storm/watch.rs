//! Progress, for whoever watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    finding::{PERCENTILES, time},
    flood::Analytics,
    plan::{Plan, Scenario},
    tally::{Fate, Tally},
};

/// The bar of one scenario.
#[derive(Debug)]
pub(super) struct Watch {
    bar: ProgressBar,
    plan: Plan,
}

impl Watch {
    /// An empty bar.
    ///
    /// # Errors
    ///
    /// Never in practice: the template is a constant.
    pub(super) fn new(scenario: &Scenario, plan: &Plan) -> anyhow::Result<Self> {
        let length = u64::try_from(plan.sending().as_millis())?;
        let style = ProgressStyle::with_template("{prefix:24} {bar:24} {msg}")?;
        let bar = ProgressBar::new(length)
            .with_style(style)
            .with_prefix(scenario.title);
        bar.set_message("starting");
        Ok(Self { bar, plan: *plan })
    }

    /// Shows where things are, `elapsed` from the start.
    pub(super) fn show(&self, elapsed: Duration, payments: &Tally, analytics: Option<Analytics>) {
        self.bar
            .set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        self.bar
            .set_message(message(self.plan.due(elapsed), payments, analytics));
    }

    /// Leaves the last line standing.
    pub(super) fn finish(self) {
        self.bar.abandon();
    }
}

/// Of `due` payments some may still be on their way: they are not in the tally yet.
fn message(due: usize, payments: &Tally, analytics: Option<Analytics>) -> String {
    if due == 0 {
        return "warming up".to_owned();
    }
    let mut message = format!("{} of {due} paid", payments.count(Fate::Paid));
    let latencies = payments.latencies();
    for (per_mille, name) in PERCENTILES.iter().take(2).filter(|_| payments.sent() > 0) {
        message += &format!("  {name} {}", time(latencies.quantile(*per_mille)));
    }
    if let Some(Analytics {
        answered, refused, ..
    }) = analytics
    {
        message += &format!("  analytics: {answered} answered, {refused} refused");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_on_their_way_are_not_called_paid() {
        let mut payments = Tally::new(Duration::from_secs(5));
        assert_eq!(message(0, &payments, None), "warming up");
        assert_eq!(message(7, &payments, None), "0 of 7 paid");
        let latency = Duration::from_millis(2);
        payments.record(Duration::ZERO, Duration::ZERO, latency, Fate::Paid);
        let analytics = Analytics {
            answered: 3,
            refused: 5,
            failed: 0,
        };
        assert_eq!(
            message(7, &payments, Some(analytics)),
            "1 of 7 paid  p50 2.00 ms  p99 2.00 ms  analytics: 3 answered, 5 refused"
        );
    }
}
