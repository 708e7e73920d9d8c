//! Settings that cannot be.

use std::time::Duration;

use fusebox_waf::{Compressed, ConfigError, OverLimit, OverTime, Ruleset, RulesetBuilder, rule};

use crate::*;

#[test]
fn settings_that_cannot_be_are_named() {
    let error = |settings: RulesetBuilder| settings.compile().unwrap_err();
    assert_eq!(
        error(Ruleset::builder("none")).to_string(),
        "rules: must be set"
    );
    let error_of = |settings| error(settings).to_string();
    for (settings, field) in [
        (
            settings().body_rate(0, Duration::from_secs(1)),
            "body_rate.bytes_per_second: ",
        ),
        (settings().body_deadline(Duration::ZERO), "body_deadline: "),
        (
            settings().time_budget(Duration::MAX, OverTime::Pass),
            "time_budget.budget: ",
        ),
        (settings().work_budget(1), "work_budget.bytes: "),
        (
            settings().response_deadline(Duration::ZERO),
            "response_deadline: ",
        ),
        (
            settings().responses(0, OverLimit::Refuse),
            "responses.limit: ",
        ),
        (
            settings().compressed(Compressed::Decode { ratio: 0 }),
            "compressed.ratio: ",
        ),
        (
            settings().exclude(rule(1).on_path("x")),
            "exclude.on_path: ",
        ),
    ] {
        let said = error_of(settings);
        assert!(said.starts_with(field), "{said}");
    }
    assert!(matches!(
        error(settings().text("bad", "SecRule")),
        ConfigError::Rules(_)
    ));
}
