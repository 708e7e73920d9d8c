//! What the language means, by small rules of our own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::time::{Duration, SystemTime};

use fusebox_seclang::{
    Action, OverBudget, Ruleset, RulesetBuilder, Slice, Transaction, WorkBudget,
};

const ON: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n";

fn builder(text: &str) -> RulesetBuilder {
    Ruleset::builder().text("on", ON).text("rules", text)
}

fn rules(text: &str) -> Ruleset {
    builder(text)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn get(rules: &Ruleset, uri: &str) -> Transaction {
    get_at(rules, uri, SystemTime::UNIX_EPOCH)
}

fn get_at(rules: &Ruleset, uri: &str, now: SystemTime) -> Transaction {
    let mut tx = rules.transaction(now);
    tx.connection(
        "192.0.2.7:1".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
    );
    tx.request_line(b"GET", uri.as_bytes(), b"HTTP/1.1");
    tx.request_header(b"Host", b"example.com");
    tx.end_request_headers();
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/plain");
    tx.end_response_headers();
    tx.response_body(b"secret");
    tx.end_response_body();
    tx.finish();
    tx
}

fn ids(tx: &Transaction) -> Vec<u32> {
    tx.matches().map(|found| found.rule_id()).collect()
}

fn messages(tx: &Transaction) -> Vec<String> {
    tx.matches()
        .map(|found| String::from_utf8_lossy(found.message()).into_owned())
        .collect()
}

/// Both engines, so that whatever is said here is said of each.
fn both(text: &str, uri: &str, check: impl Fn(&Transaction)) {
    check(&get(&rules(text), uri));
    let plain = builder(text).plain().build().unwrap();
    check(&get(&plain, uri));
}

#[test]
fn a_variable_is_set_for_each_value_that_matches() {
    both(
        "SecRule ARGS \"@rx x\" \"id:1,phase:2,pass,nolog,setvar:tx.n=+1\"\n\
         SecRule TX:N \"@gt 0\" \"id:2,phase:2,pass,msg:'%{tx.n}'\"",
        "/?a=x&b=y&c=xx",
        |tx| assert_eq!(messages(tx), ["2"]),
    );
}

#[test]
fn a_chain_is_logged_only_when_all_of_it_matches() {
    let text = "SecRule ARGS:a \"@streq 1\" \"id:1,phase:2,deny,msg:'%{MATCHED_VAR_NAME}',chain\"\n\
                SecRule ARGS:b \"@streq 2\"";
    both(text, "/?a=1&b=3", |tx| {
        assert_eq!(ids(tx), [0_u32; 0]);
        assert!(tx.interruption().is_none());
    });
    both(text, "/?a=1&b=2", |tx| {
        assert_eq!(messages(tx), ["ARGS:b"]);
        assert_eq!(tx.interruption().unwrap().rule_id(), 1);
    });
}

#[test]
fn captures_reach_the_rest_of_the_chain_and_the_log() {
    both(
        r#"SecRule ARGS:range "@rx (\d+)-(\d+)" "id:1,phase:2,pass,capture,msg:'%{TX.0} %{TX.1} %{TX.2}%{TX.3}',chain"
        SecRule TX:2 "@lt %{tx.1}""#,
        "/?range=x9-4y",
        |tx| assert_eq!(messages(tx), ["9-4 9 4"]),
    );
}

#[test]
fn matched_vars_are_what_the_rule_before_matched() {
    both(
        "SecRule ARGS \"@rx a\" \"id:1,phase:2,pass,msg:'%{MATCHED_VAR}',chain\"\n\
         SecRule MATCHED_VARS \"@rx b\"",
        "/?x=ac&y=ab&z=b",
        |tx| assert_eq!(messages(tx), ["ab"]),
    );
}

#[test]
fn multi_match_looks_after_every_step_that_changed_something() {
    both(
        "SecRule ARGS \"@rx ^(?:%41|A|a)$\" \"id:1,phase:2,pass,nolog,t:urlDecode,t:lowercase,multiMatch,setvar:tx.n=+1\"\n\
         SecAction \"id:2,phase:2,pass,msg:'%{tx.n}'\"",
        "/?x=%2541",
        |tx| assert_eq!(messages(tx), ["3"]),
    );
}

#[test]
fn exclusions_take_targets_out_at_load_and_at_run_time() {
    let text = "SecRule REQUEST_URI \"@contains off\" \"id:9,phase:1,pass,nolog,ctl:ruleRemoveTargetById=1;ARGS:b\"\n\
                SecRule ARGS \"@rx x\" \"id:1,phase:2,pass,msg:'%{MATCHED_VAR_NAME}'\"\n\
                SecRuleUpdateTargetById 1 \"!ARGS:/^ign/\"";
    both(text, "/?ignored=x&b=x", |tx| {
        assert_eq!(messages(tx), ["ARGS:b"]);
    });
    both(text, "/off?ignored=x&b=x", |tx| {
        assert_eq!(ids(tx), [0_u32; 0]);
    });
    both(text, "/off?c=x&b=x", |tx| {
        assert_eq!(messages(tx), ["ARGS:c"]);
    });
}

#[test]
fn default_actions_fill_in_what_a_rule_leaves_open() {
    let text = "SecDefaultAction \"phase:2,log,deny,status:418,t:lowercase\"\n\
                SecRule ARGS:a \"@streq x\" \"id:1,phase:2,block\"\n\
                SecRule ARGS:b \"@streq x\" \"id:2,phase:2,block,t:none\"";
    both(text, "/?a=X", |tx| {
        let stopped = tx.interruption().unwrap();
        assert_eq!(*stopped.action(), Action::Deny { status: 418 });
    });
    both(text, "/?b=X", |tx| assert!(tx.interruption().is_none()));
}

#[test]
fn nolog_is_silent_and_noauditlog_alone_is_not() {
    both(
        "SecAction \"id:1,phase:1,pass,nolog\"\n\
         SecAction \"id:2,phase:1,pass,noauditlog\"\n\
         SecAction \"id:3,phase:1,pass,nolog,auditlog\"",
        "/",
        |tx| {
            let logged: Vec<u32> = tx
                .matches()
                .filter(|m| m.is_logged())
                .map(|m| m.rule_id())
                .collect();
            let audited: Vec<u32> = tx
                .matches()
                .filter(|m| m.is_audited())
                .map(|m| m.rule_id())
                .collect();
            assert_eq!((logged, audited), (vec![2], vec![3]));
        },
    );
}

#[test]
fn a_skip_goes_on_after_its_marker_and_only_in_its_phase() {
    both(
        "SecAction \"id:1,phase:1,pass,nolog,skipAfter:END\"\n\
         SecAction \"id:2,phase:1,pass\"\n\
         SecAction \"id:3,phase:2,pass\"\n\
         SecMarker END\n\
         SecAction \"id:4,phase:1,pass\"\n\
         SecAction \"id:5,phase:1,pass,nolog,skip:1\"\n\
         SecAction \"id:6,phase:1,pass\"\n\
         SecAction \"id:7,phase:1,pass\"",
        "/",
        |tx| assert_eq!(ids(tx), [4, 7, 3]),
    );
}

#[test]
fn allow_reaches_as_far_as_it_says() {
    let text = |scope: &str| {
        format!(
            "SecAction \"id:1,phase:1,nolog,allow{scope}\"\n\
             SecAction \"id:2,phase:1,pass\"\nSecAction \"id:3,phase:2,pass\"\n\
             SecAction \"id:4,phase:3,pass\"\nSecAction \"id:5,phase:5,pass\""
        )
    };
    both(&text(""), "/", |tx| assert_eq!(ids(tx), [5]));
    both(&text(":phase"), "/", |tx| assert_eq!(ids(tx), [3, 4, 5]));
    both(&text(":request"), "/", |tx| assert_eq!(ids(tx), [4, 5]));
}

#[test]
fn after_a_refusal_only_phase_five_runs() {
    both(
        "SecAction \"id:1,phase:1,deny,nolog\"\nSecAction \"id:2,phase:2,pass\"\nSecAction \"id:3,phase:5,pass\"",
        "/",
        |tx| assert_eq!(ids(tx), [3]),
    );
}

#[test]
fn detection_only_tells_what_it_would_have_done() {
    let tx = get(
        &rules(
            "SecRuleEngine DetectionOnly\nSecAction \"id:1,phase:1,deny\"\nSecAction \"id:2,phase:2,drop\"",
        ),
        "/",
    );
    assert!(tx.interruption().is_none());
    assert_eq!(tx.detected().unwrap().rule_id(), 1);
    assert_eq!(ids(&tx), [1, 2]);
}

#[test]
fn a_redirect_says_where_to() {
    both(
        "SecAction \"id:1,phase:1,redirect:'https://example.org%{REQUEST_URI}'\"",
        "/a",
        |tx| {
            let location = b"https://example.org/a".to_vec();
            assert_eq!(
                *tx.interruption().unwrap().action(),
                Action::Redirect {
                    status: 302,
                    location
                }
            );
        },
    );
}

#[test]
fn a_response_body_is_looked_at_when_its_type_is_listed() {
    let text = "SecRule RESPONSE_BODY \"@contains secret\" \"id:1,phase:4,deny\"";
    both(text, "/", |tx| {
        assert_eq!(tx.interruption().unwrap().phase(), 4);
    });
    let off = format!("SecResponseBodyMimeTypesClear\nSecResponseBodyMimeType text/html\n{text}");
    both(&off, "/", |tx| assert!(tx.interruption().is_none()));
}

#[test]
fn a_collection_counts_over_transactions_and_expires() {
    let rules = rules(
        "SecCollectionTimeout 60\n\
         SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.count=+1\"\n\
         SecRule IP:COUNT \"@ge 3\" \"id:2,phase:1,deny\"",
    );
    let at = |seconds| {
        get_at(
            &rules,
            "/",
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        )
    };
    assert!(at(100).interruption().is_none());
    assert!(at(110).interruption().is_none());
    assert!(at(120).interruption().is_some());
    assert!(at(181).interruption().is_none());
}

#[test]
fn a_body_over_its_limit_is_refused_or_cut_as_the_rules_say() {
    let post = |rules: &Ruleset| {
        let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
        tx.request_line(b"POST", b"/", b"HTTP/1.1");
        tx.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
        let stopped = tx.request_body(b"a=123456789");
        (tx, stopped)
    };
    let limit = "SecRequestBodyLimit 5\nSecRule ARGS:a \"@streq 123\" \"id:1,phase:2,pass,chain\"\nSecRule INBOUND_DATA_ERROR \"@eq 1\"\n";
    let (_, stopped) = post(&rules(limit));
    assert_eq!(*stopped.unwrap().action(), Action::Deny { status: 413 });
    let (mut tx, stopped) = post(&rules(&format!(
        "SecRequestBodyLimitAction ProcessPartial\n{limit}"
    )));
    assert!(stopped.is_none());
    tx.end_request_body();
    assert_eq!(ids(&tx), [1]);
}

const MANY: &str = "SecRule ARGS \"@rx a.*b\" \"id:1,phase:2,pass\"\nSecRule ARGS \"@rx b.*c\" \"id:2,phase:2,pass\"\n\
                    SecRule ARGS \"@rx c.*d\" \"id:3,phase:2,pass\"";

#[test]
fn slices_decide_what_one_run_would() {
    let rules = rules(MANY);
    let value = "abcd".repeat(1_000);
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"GET", format!("/?x={value}").as_bytes(), b"HTTP/1.1");
    tx.end_request_headers();
    let mut slices = 1;
    while tx.end_request_body_slice(1) == Slice::More {
        slices += 1;
    }
    assert_eq!(slices, 3, "one for each rule");
    assert_eq!(ids(&tx), [1, 2, 3]);
}

#[test]
fn a_budget_ends_the_work_with_the_outcome_that_was_chosen() {
    let uri = format!("/?x={}", "abcd".repeat(1_000));
    let with = |bytes, outcome| {
        let rules = builder(MANY)
            .budget(WorkBudget { bytes, outcome })
            .build()
            .unwrap();
        get(&rules, &uri)
    };
    let refused = with(10_000, OverBudget::Refuse { status: 413 });
    assert_eq!(
        *refused.interruption().unwrap().action(),
        Action::Deny { status: 413 }
    );
    assert!(refused.is_over_budget());
    let passed = with(10_000, OverBudget::Pass);
    assert!(passed.interruption().is_none() && passed.is_over_budget());
    assert!(ids(&passed).len() < 3, "{:?}", ids(&passed));
    let enough = with(1_000_000, OverBudget::Pass);
    assert_eq!(ids(&enough), [1, 2, 3]);
    assert!(!enough.is_over_budget());
}

#[test]
fn a_log_line_cannot_be_broken_by_what_is_in_it() {
    let tx = get(
        &rules("SecRule ARGS \"@rx x\" \"id:1,phase:2,pass,msg:'m',logdata:'%{MATCHED_VAR}'\""),
        "/?a=x%0a%22%5c%ff",
    );
    let mut line = String::new();
    tx.matches().next().unwrap().write_log_line(&mut line);
    assert_eq!(line, r#"[id "1"] [msg "m"] [data "x\x0a\"\\\xff"]"#);
}

#[test]
fn what_cannot_be_honoured_is_an_error_with_its_place() {
    for (text, expected) in [
        ("SecRule ARGS \"@rx (?=a)\" \"id:1\"", "look-around"),
        ("SecRule ARGS \"@rx %{tx.a}\" \"id:1\"", "a macro"),
        (
            "SecRule ARGS \"@pmFromFile none.data\" \"id:1\"",
            "cannot be read",
        ),
        ("SecRule ARGS x \"id:1,t:rot13\"", "no such transformation"),
        ("SecRule ARGS x \"id:1,skipAfter:NOWHERE\"", "no marker"),
        ("SecRule ARGS x \"pass\"", "no id"),
        ("SecRule ARGS x \"id:1,chain\"", "no rule follows"),
        (
            "SecRule ARGS x \"id:1\"\nSecRule ARGS x \"id:1\"",
            "already used at rules:1",
        ),
        (
            "SecRule ARGS x \"id:1,chain\"\nSecRule ARGS x \"deny\"",
            "only the first rule",
        ),
        (
            "SecRule ARGS x \"id:1,chain\"\nSecRule ARGS x \"msg:'x'\"",
            "rules:2: msg: only the first rule",
        ),
        (
            "SecRule !ARGS:a x \"id:1\"",
            "rules:1: SecRule: must be at least one target to look at, got \"!ARGS:a\"",
        ),
        (
            "SecDefaultAction \"phase:1,pass,setvar:tx.a=1\"",
            "rules:1: SecDefaultAction: what a rule does",
        ),
        (
            "SecDefaultAction \"phase:1,pass,t:rot13\"",
            "no such transformation",
        ),
        (
            "SecRule MATCHED_VARS x \"id:1\"",
            "rules:1: MATCHED_VARS: is what the rule before in a chain",
        ),
        (
            "SecAction \"id:1\"\nSecRuleUpdateActionById 1 \"phase:3\"",
            "rules:2: SecRuleUpdateActionById: cannot change",
        ),
    ] {
        let error = builder(text).build().unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.location().is_some(), "{text}");
    }
}

/// In JSON a short body can have long names: each value of an array has those of all above it.
#[test]
fn a_budget_holds_for_names_that_are_longer_than_their_body() {
    let chains = [
        "urlDecodeUni",
        "htmlEntityDecode",
        "jsDecode",
        "lowercase",
        "cmdLine",
        "replaceComments",
    ];
    let rules: String = (1..)
        .zip(chains)
        .map(|(id, chain)| {
            format!("SecRule ARGS_NAMES \"@rx never\" \"id:{id},phase:2,deny,t:{chain}\"\n\
                     SecRule ARGS_NAMES \"!@rx json\" \"id:1{id},phase:2,deny,t:{chain},t:length\"\n")
        })
        .collect();
    let json = "SecAction \"id:99,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n";
    let key = "A%41&lt; /**/".repeat(300);
    let body = format!("{{\"{key}\":[{}0]}}", "0,".repeat(900));
    let budget = WorkBudget {
        bytes: 1 << 20,
        outcome: OverBudget::Refuse { status: 413 },
    };
    for plain in [false, true] {
        let builder = builder(&format!("{json}{rules}")).budget(budget);
        let builder = if plain { builder.plain() } else { builder };
        let rules = builder.build().unwrap();
        let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
        tx.request_line(b"POST", b"/", b"HTTP/1.1");
        tx.end_request_headers();
        tx.request_body(body.as_bytes());
        let stopped = tx.end_request_body().unwrap();
        assert_eq!(*stopped.action(), Action::Deny { status: 413 });
        // At most one value more, under every transformation.
        let most = budget.bytes + 4 * 4_000 * 6;
        assert!(tx.work() <= most, "{} of {most}", tx.work());
    }
}

#[test]
fn a_rule_that_an_earlier_jump_reaches_is_not_left_out_with_a_later_one() {
    both(
        "SecAction \"id:9,phase:1,pass,nolog,setvar:tx.level=1\"\n\
         SecRule ARGS:x \"@streq 1\" \"id:1,phase:2,pass,nolog,skipAfter:M1\"\n\
         SecRule TX:level \"@lt 2\" \"id:2,phase:2,pass,nolog,skipAfter:END\"\n\
         SecRule ARGS \"@rx foo\" \"id:3,phase:2,deny\"\n\
         SecMarker M1\n\
         SecRule ARGS \"@rx attack\" \"id:4,phase:2,deny\"\n\
         SecMarker END",
        "/?x=1&y=attack",
        |tx| assert_eq!(ids(tx), [4]),
    );
}

#[test]
fn a_variable_that_is_always_set_is_set_after_what_was_written_before() {
    both(
        "SecRule ARGS:x \"@streq 1\" \"id:1,phase:1,pass,nolog,setvar:tx.thr=1000\"\n\
         SecAction \"id:2,phase:1,pass,nolog,setvar:tx.thr=5\"\n\
         SecRule ARGS:y \"@streq 1\" \"id:3,phase:1,pass,nolog,setvar:tx.thr=7\"\n\
         SecAction \"id:5,phase:1,pass,nolog,setvar:tx.score=6\"\n\
         SecRule TX:score \"@ge %{tx.thr}\" \"id:4,phase:2,deny\"",
        "/?x=1",
        |tx| assert_eq!(ids(tx), [4]),
    );
}

#[test]
fn a_rule_that_always_matches_counts_each_of_its_targets() {
    both(
        "SecRule &TX:a|&TX:b \"@eq 0\" \"id:1,phase:1,pass,nolog,setvar:tx.n=+1\"\n\
         SecRule TX:n \"@ge 2\" \"id:2,phase:1,deny\"",
        "/",
        |tx| assert_eq!(ids(tx), [2]),
    );
}

#[test]
fn an_argument_separator_parts_bodies_as_well_as_queries() {
    let rules = rules(
        "SecArgumentSeparator ;\n\
         SecRule ARGS \"@unconditionalMatch\" \"id:1,phase:2,pass,nolog,setvar:'tx.all=%{tx.all} %{MATCHED_VAR_NAME}=%{MATCHED_VAR}'\"\n\
         SecAction \"id:2,phase:2,pass,msg:'%{tx.all}'\"",
    );
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", b"/?a=1;b=2&c", b"HTTP/1.1");
    tx.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    tx.request_body(b"d=3;");
    tx.request_body(b"e=4&f;");
    tx.end_request_body();
    assert_eq!(messages(&tx), [" ARGS:a=1 ARGS:b=2&c ARGS:d=3 ARGS:e=4&f"]);
    for wrong in ["=", "%", "'&&'"] {
        let error = builder(&format!("SecArgumentSeparator {wrong}"))
            .build()
            .unwrap_err();
        assert!(
            error.to_string().contains("one visible character"),
            "{error}"
        );
    }
}

#[test]
fn links_do_at_once_what_they_say_even_if_the_chain_fails_later() {
    let text = "SecRule ARGS:a \"@rx ^(.)\" \"id:1,phase:2,deny,capture,setvar:tx.head=+1,chain\"\n\
                SecRule ARGS \"@rx (\\d)$\" \"capture,setvar:'tx.seen=%{tx.seen}%{TX.1}',ctl:ruleRemoveById=3,chain\"\n\
                SecRule MATCHED_VARS \"@streq never\" \"setvar:tx.all=1\"\n\
                SecAction \"id:2,phase:2,pass,msg:'%{tx.head} %{tx.seen} %{tx.all}'\"\n\
                SecAction \"id:3,phase:2,pass,msg:'not removed'\"";
    both(text, "/?a=x1&b=y2&c=z", |tx| {
        assert_eq!(messages(tx), ["1 12 "]);
        assert!(tx.interruption().is_none());
    });
    both(text, "/?a=x&b=y", |tx| {
        assert_eq!(messages(tx), ["1  ", "not removed"]);
    });
}

#[test]
fn what_a_link_says_of_the_log_holds_for_its_chain() {
    let chain = |last: &str| {
        format!(
            "SecRule ARGS:a \"@rx .\" \"id:1,phase:2,pass,log,chain\"\nSecRule ARGS:a \"@rx .\" \"{last}\""
        )
    };
    both(&chain("nolog"), "/?a=1", |tx| {
        assert_eq!(ids(tx), [0_u32; 0]);
    });
    both(&chain("nolog,auditlog"), "/?a=1", |tx| {
        let found = tx.matches().next().unwrap();
        assert!(!found.is_logged() && found.is_audited());
    });
}

#[test]
fn matched_var_in_a_chain_is_what_the_link_before_matched_last() {
    both(
        "SecRule ARGS \"@rx ^a\" \"id:1,phase:2,pass,msg:'%{MATCHED_VAR_NAME} %{MATCHED_VAR}',chain\"\n\
         SecRule MATCHED_VAR \"@streq ab\" \"chain\"\n\
         SecRule MATCHED_VARS_NAMES|MATCHED_VAR_NAME \"@rx ^MATCHED_VAR$\" \"setvar:tx.n=+1\"\n\
         SecAction \"id:2,phase:2,pass,msg:'%{tx.n}'\"",
        "/?x=ac&y=ab&z=b",
        |tx| assert_eq!(messages(tx), ["MATCHED_VAR_NAME MATCHED_VAR", "2"]),
    );
}

#[test]
fn an_address_is_in_a_network_however_either_is_written() {
    let matches = |networks: &str, address: &str| {
        let text = format!("SecRule ARGS:a \"@ipMatch {networks}\" \"id:1,phase:1,pass\"");
        let found = ids(&get(&rules(&text), &format!("/?a={address}"))) == [1];
        let negated = text.replace("@ipMatch", "!@ipMatch");
        assert_eq!(
            found,
            ids(&get(&rules(&negated), &format!("/?a={address}"))).is_empty(),
            "{networks} {address}"
        );
        found
    };
    for (networks, address, expected) in [
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3/8", "10.9.9.9", true),
        ("10.0.0.0/31", "10.0.0.2", false),
        ("10.0.0.1", "10.0.0.1", true),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        // IPv4 written as IPv6, on either side.
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "::FFFF:0a01:0203", true),
        ("::ffff:10.0.0.0/104", "11.0.0.1", false),
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::/0", "10.0.0.1", false),
        ("2001:DB8::/32", "2001:db8:ffff::", true),
        ("2001:db8::/32", "2001:db9::", false),
        ("::1, 192.0.2.0/24", "::1", true),
        // No address at all.
        ("0.0.0.0/0", "10.0.0.1:80", false),
        ("0.0.0.0/0", "[::1]", false),
        ("0.0.0.0/0", "", false),
    ] {
        assert_eq!(matches(networks, address), expected, "{networks} {address}");
    }
}
