//! What a caller, an inner service and an operator see of the firewall.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail by panicking too"
)]

mod bodies;
mod built_in;
mod coded;
mod config;
mod effort;
mod exclusions;
mod incidents;
mod modes;
mod refusals;
mod responses;
mod slow;
mod swaps;

use std::sync::{Arc, Mutex};

use fusebox_core::{Registration, Rejection, RejectionKind};
use fusebox_testkit::{MockBody, MockFrame, MockHandle, MockService, Script};
use fusebox_waf::{Incident, Ruleset, RulesetBuilder};
use http::{Request, Response};
use tower::{Layer, ServiceExt};

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyNoFilesLimit 10000000
SecRule REQUEST_HEADERS:Content-Type "@rx json" "id:10,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:X-Attack "@streq now" "id:1,phase:1,deny,status:403,msg:'An attack',severity:'CRITICAL'"
SecRule ARGS "@contains evil" "id:2,phase:2,deny,status:406,msg:'Evil',tag:'test/evil'"
SecRule ARGS:go "@streq away" "id:3,phase:2,redirect:https://elsewhere.example/"
SecRule ARGS:log "@streq me" "id:4,phase:2,pass,log,msg:'Seen'"
SecRule RESPONSE_HEADERS:X-Leak "@streq now" "id:5,phase:3,deny,status:502"
SecRule RESPONSE_BODY "@contains secret" "id:6,phase:4,deny,status:500"
SecRule REQUEST_HEADERS:X-Drop "@streq now" "id:7,phase:1,drop"
"#;

fn settings() -> RulesetBuilder {
    Ruleset::builder("test")
        .text("rules.conf", RULES)
        .registration(Registration::Unlisted)
}

fn mock() -> MockHandle {
    MockService::new(Script::ok(MockBody::full("hello"))).handle()
}

fn form(body: MockBody) -> Request<MockBody> {
    Request::post("/form")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .unwrap()
}

async fn send(
    settings: RulesetBuilder,
    mock: &MockHandle,
    request: Request<MockBody>,
) -> Response<fusebox_waf::ResponseBody<MockBody>> {
    let layer = settings.build().unwrap().layer();
    layer.layer(mock.service()).oneshot(request).await.unwrap()
}

fn kind<B>(answer: &Response<B>) -> RejectionKind {
    answer.extensions().get::<Rejection>().unwrap().kind()
}

type Heard = Arc<Mutex<Vec<(Option<(u32, bool)>, Vec<(u32, String, Option<String>)>)>>>;

fn listening(settings: RulesetBuilder) -> (RulesetBuilder, Heard) {
    let heard = Heard::default();
    let listener = {
        let heard = heard.clone();
        move |incident: &Incident<'_>| {
            let decision = incident
                .decision
                .map(|decided| (decided.rule_id, decided.enforced));
            let findings = incident.findings.iter();
            let findings = findings.map(|f| (f.rule_id, f.target.clone(), f.value.clone()));
            heard.lock().unwrap().push((decision, findings.collect()));
        }
    };
    (settings.on_incident(Arc::new(listener)), heard)
}

fn answering(body: MockBody, kind: &'static str) -> MockHandle {
    let answer = Response::builder()
        .header("content-type", kind)
        .body(body)
        .unwrap();
    MockService::new(Script::answer(answer)).handle()
}

fn core_post(kind: &str, body: String) -> Request<MockBody> {
    Request::post("/import")
        .header("host", "shop.example")
        .header("user-agent", "Mozilla/5.0")
        .header("accept", "*/*")
        .header("content-type", kind)
        .body(MockBody::of([MockFrame::Data(body.into())]))
        .unwrap()
}

fn core_settings() -> RulesetBuilder {
    Ruleset::builder("core")
        .core()
        .registration(Registration::Unlisted)
}
