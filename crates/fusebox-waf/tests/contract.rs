//! The contract every layer keeps: looking at requests alone, and at responses too.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking too")]

use std::sync::Arc;

use fusebox_core::{LayerKind, Mode, Observer, Registration};
use fusebox_testkit::{Counted, Fixture, MockBody, Situation, Subject, contract};
use fusebox_waf::{OverLimit, ResponseBody, Ruleset, RulesetBuilder, WafLayer};
use http::HeaderValue;
use http::request::Parts;

/// The body is read, and phase 2 has something to look at.
const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRule REQUEST_HEADERS:X-Attack "@streq now" "id:1,phase:1,deny,status:403,msg:'An attack'"
SecRule REQUEST_BODY|ARGS "@contains evil" "id:2,phase:2,deny,status:403"
SecRule RESPONSE_BODY "@contains secret" "id:3,phase:4,deny,status:500"
"#;

fn settings(rules: &str) -> RulesetBuilder {
    Ruleset::builder("contract").text("rules.conf", rules)
}

/// An operator takes the rule away.
struct Relents(Ruleset);

impl Drop for Relents {
    fn drop(&mut self) {
        self.0.swap(settings("SecRuleEngine On").compile().unwrap());
    }
}

struct Firewall {
    looks_at_responses: bool,
}

impl Subject for Firewall {
    const KIND: LayerKind = LayerKind::Waf;
    type Layer = WafLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<WafLayer>> {
        let mode = match situation {
            Situation::Waits => return None,
            Situation::Shadow => Mode::Shadow,
            _ => Mode::Enforce,
        };
        let settings = settings(RULES)
            .mode(mode)
            .registration(Registration::Unlisted);
        let mut settings = observer
            .into_iter()
            .fold(settings, RulesetBuilder::observer);
        if self.looks_at_responses {
            settings = settings.responses(1 << 20, OverLimit::InspectFirstPart);
        }
        let rules = settings.build().unwrap();
        let counted = rules.clone();
        Some(
            Fixture::new(rules.layer())
                .counting(move || Counted::from(&counted.stats()))
                .keeping(Relents(rules)),
        )
    }

    fn prepare(&self, situation: Situation, request: &mut Parts) {
        if situation != Situation::Admits {
            request
                .headers
                .insert("x-attack", HeaderValue::from_static("now"));
        }
    }
}

contract! {
    mod requests: Firewall { looks_at_responses: false };
    mod responses: Firewall { looks_at_responses: true };
}
