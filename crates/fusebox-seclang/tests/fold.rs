//! What is decided at load changes nothing: random small programs mean the same folded and as they are written.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::fmt::Write as _;
use std::time::SystemTime;

use fusebox_seclang::{Ruleset, Transaction};
use proptest::prelude::*;

/// The rule numbers the variables, so that both engines show all of TX in the same order: that of numbers, which has no meaning.
const SETUP: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecRequestBodyLimit 10\n\
                     SecRule TX:a|TX:b|TX:c|!TX:never \"@streq never\" \"id:100,phase:5,pass,nolog\"\n";

/// One rule with its chain, or a marker.
#[derive(Clone, Debug)]
struct Rule {
    phase: u8,
    links: Vec<(String, Vec<String>)>,
    verdict: &'static str,
    log: &'static str,
    skip: Option<usize>,
    marker_after: bool,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", "c"][..])
}

fn amount() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&["0", "1", "2", "-1", "x", ""][..]).prop_map(str::to_owned),
        1 => name().prop_map(|name| format!("%{{tx.{name}}}")),
    ]
}

/// Targets and operator; empty for a `SecAction`.
fn condition() -> impl Strategy<Value = String> {
    let order = || prop::sample::select(&["@eq", "@lt", "@ge", "!@eq", "@streq", "!@streq"][..]);
    prop_oneof![
        3 => Just(String::new()),
        4 => (name(), order(), amount()).prop_map(|(name, op, n)| format!("TX:{name} \"{op} {n}\"")),
        2 => (name(), order(), 0..2_u8).prop_map(|(name, op, n)| format!("&TX:{name} \"{op} {n}\"")),
        1 => (name(), name(), order(), amount())
            .prop_map(|(a, b, op, n)| format!("TX:{a}|TX:{b} \"{op} {n}\"")),
        1 => (name(), name(), order(), amount())
            .prop_map(|(a, b, op, n)| format!("TX:{a}|&TX:{b} \"{op} {n}\"")),
        1 => (name(), order(), amount())
            .prop_map(|(a, op, n)| format!("TX|!TX:{a} \"{op} {n}\"")),
        1 => name().prop_map(|name| format!("TX:/^[{name}d]$/ \"@rx ^[12]$\"")),
        3 => prop::sample::select(&["p", "q"][..]).prop_map(|p| format!("ARGS_GET:{p} \"@streq 1\"")),
        1 => name().prop_map(|name| format!("ARGS_GET \"@streq %{{tx.{name}}}\"")),
        1 => Just("HIGHEST_SEVERITY \"@lt 5\"".to_owned()),
        1 => Just("TX:1 \"@eq 1\"".to_owned()),
    ]
}

fn effect() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (name(), amount()).prop_map(|(name, n)| format!("setvar:'tx.{name}={n}'")),
        2 => (name(), amount()).prop_map(|(name, n)| format!("setvar:'tx.{name}=+{n}'")),
        1 => (name(), amount()).prop_map(|(name, n)| format!("setvar:'tx.{name}=-{n}'")),
        1 => name().prop_map(|name| format!("setvar:!tx.{name}")),
        1 => (name(), amount()).prop_map(|(name, n)| format!("setvar:'tx.%{{tx.{name}}}={n}'")),
        1 => name().prop_map(|name| format!("setvar:'tx.{name}=%{{MATCHED_VAR}}'")),
        1 => (1..9_u8, 0..3_u8)
            .prop_map(|(from, more)| format!("ctl:ruleRemoveById={from}-{}", from + more)),
        1 => (1..9_u8, name()).prop_map(|(id, name)| format!("ctl:ruleRemoveTargetById={id};TX:{name}")),
        1 => prop::sample::select(&["Off", "DetectionOnly", "On"][..])
            .prop_map(|mode| format!("ctl:ruleEngine={mode}")),
        1 => Just("capture".to_owned()),
        1 => Just("t:length".to_owned()),
        1 => Just("multiMatch".to_owned()),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let link = || (condition(), prop::collection::vec(effect(), 0..3));
    let links = prop_oneof![
        3 => prop::collection::vec(link(), 1..2),
        1 => prop::collection::vec(link(), 2..4),
    ];
    let verdict = prop::sample::select(
        &[
            "pass",
            "pass",
            "pass",
            "pass",
            "pass",
            "pass",
            "deny",
            "allow",
            "allow:phase",
            "allow:request",
            "pass,severity:3",
        ][..],
    );
    let log = prop::sample::select(
        &[
            "nolog",
            "nolog",
            "log,msg:'%{tx.a} %{tx.b} %{MATCHED_VAR_NAME}'",
            "log,tag:'t%{tx.c}',logdata:'%{tx.1}'",
        ][..],
    );
    let skip = prop::option::weighted(0.3, 0..3_usize);
    let phase = prop_oneof![4 => Just(1_u8), 3 => Just(2_u8), 1 => Just(3_u8), 1 => Just(4_u8), 2 => Just(5_u8)];
    (phase, links, verdict, log, skip, any::<bool>()).prop_map(
        |(phase, links, verdict, log, skip, marker_after)| Rule {
            phase,
            links,
            verdict,
            log,
            skip,
            marker_after,
        },
    )
}

fn program(rules: &[Rule]) -> String {
    let mut text = SETUP.to_owned();
    for (at, rule) in rules.iter().enumerate() {
        let last = rule.links.len() - 1;
        for (link_at, (condition, effects)) in rule.links.iter().enumerate() {
            let mut actions = effects.clone();
            if link_at == 0 {
                let (phase, verdict, log) = (rule.phase, rule.verdict, rule.log);
                actions.push(format!("id:{},phase:{phase},{verdict},{log}", at + 1));
                if let Some(skip) = rule.skip {
                    // The marker after a later rule, or the one at the very end.
                    let markers = rules.iter().enumerate().skip(at);
                    let marker = markers.filter(|(_, rule)| rule.marker_after).nth(skip);
                    let name = marker.map_or("END".to_owned(), |(at, _)| format!("M{at}"));
                    actions.push(format!("skipAfter:{name}"));
                }
            }
            if link_at < last {
                actions.push("chain".to_owned());
            }
            let actions = actions.join(",");
            if condition.is_empty() {
                writeln!(text, "SecAction \"{actions}\"").unwrap();
            } else {
                writeln!(text, "SecRule {condition} \"{actions}\"").unwrap();
            }
        }
        if rule.marker_after {
            writeln!(text, "SecMarker M{at}").unwrap();
        }
    }
    text.push_str("SecMarker END\n");
    text
}

/// How far a request comes: a client may go away, a body may be too long, a caller may have no response to show.
#[derive(Clone, Copy, Debug)]
enum Life {
    Whole,
    BodyTooLong,
    HeadersOnly,
    NoResponse,
}

fn run(rules: &Ruleset, uri: &str, life: Life) -> String {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", uri.as_bytes(), b"HTTP/1.1");
    tx.end_request_headers();
    match life {
        Life::HeadersOnly => {}
        Life::BodyTooLong => {
            tx.request_body(&[b'x'; 20]);
        }
        Life::NoResponse => {
            tx.end_request_body();
        }
        Life::Whole => {
            tx.end_request_body();
            tx.response_line(200, b"HTTP/1.1");
            tx.end_response_headers();
            tx.end_response_body();
        }
    }
    tx.finish();
    told(&mut tx)
}

fn told(tx: &mut Transaction) -> String {
    let mut told = String::new();
    for found in tx.matches() {
        found.write_log_line(&mut told);
        let variable = String::from_utf8_lossy(&found.variable()).into_owned();
        writeln!(told, " {variable}").unwrap();
    }
    let scores = ["a", "b", "c"].map(|name| tx.score(name));
    write!(
        told,
        "{:?} {:?} {scores:?}",
        tx.interruption(),
        tx.detected()
    )
    .unwrap();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_folded_program_does_what_is_written(rules in prop::collection::vec(rule(), 1..9)) {
        let text = program(&rules);
        let builder = Ruleset::builder().text("p", &text);
        match (builder.clone().build(), builder.plain().build()) {
            (Ok(folded), Ok(plain)) => {
                for uri in ["/", "/?p=1", "/?q=1", "/?p=1&q=1&r=2"] {
                    for life in [Life::Whole, Life::BodyTooLong, Life::HeadersOnly, Life::NoResponse] {
                        prop_assert_eq!(
                            run(&folded, uri, life), run(&plain, uri, life), "{} {:?}\n{}", uri, life, text
                        );
                    }
                }
            }
            (Err(folded), Err(plain)) => prop_assert_eq!(folded, plain),
            (folded, plain) => prop_assert!(false, "{:?} {:?}\n{}", folded.err(), plain.err(), text),
        }
    }
}

/// What is said here is said of both engines.
fn both(text: &str, life: Life, expected: &str) {
    let builder = Ruleset::builder().text("p", &format!("{SETUP}{text}"));
    for builder in [builder.clone(), builder.plain()] {
        assert_eq!(run(&builder.build().unwrap(), "/", life), expected);
    }
}

#[test]
fn a_phase_that_never_came_has_set_nothing() {
    both(
        "SecAction \"id:1,phase:2,pass,nolog,setvar:tx.a=1\"\n\
         SecRule &TX:a \"@eq 1\" \"id:2,phase:5,pass,log\"",
        Life::HeadersOnly,
        "None None [0, 0, 0]",
    );
}

#[test]
fn a_condition_that_always_holds_is_still_what_matched() {
    both(
        "SecRule &TX:a \"@eq 0\" \"id:1,phase:1,pass,msg:'%{MATCHED_VAR_NAME}',chain\"\nSecAction \"\"",
        Life::Whole,
        "[id \"1\"] [msg \"&TX:a\"] &TX:a\nNone None [0, 0, 0]",
    );
}
