//! Progress, for whoever watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    finding::{PERCENTILES, time},
    flood::Analytics,
    plan::{Plan, Scenario},
    tally::Tally,
};

/// The bar of one scenario.
#[derive(Debug)]
pub(super) struct Watch(ProgressBar);

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
        Ok(Self(bar))
    }

    /// Shows where things are, `elapsed` from the start.
    pub(super) fn show(&self, elapsed: Duration, payments: &Tally, analytics: Option<Analytics>) {
        self.0
            .set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        self.0.set_message(message(payments, analytics));
    }

    /// Leaves the last line standing.
    pub(super) fn finish(self) {
        self.0.abandon();
    }
}

fn message(payments: &Tally, analytics: Option<Analytics>) -> String {
    if payments.sent() == 0 {
        return "warming up".to_owned();
    }
    let latencies = payments.latencies();
    let mut message = String::new();
    for (per_mille, name) in PERCENTILES.iter().take(2) {
        message += &format!("{name} {}  ", time(latencies.quantile(*per_mille)));
    }
    message += &format!("{:.1} % paid", payments.success() * 100.0);
    if let Some(Analytics {
        answered, refused, ..
    }) = analytics
    {
        message += &format!("  analytics: {answered} answered, {refused} refused");
    }
    message
}
