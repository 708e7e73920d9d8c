//! Collections that outlive a transaction: whose they are, when they end, how much they take.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::time::{Duration, SystemTime};

use fusebox_seclang::{Ruleset, Transaction};

fn rules(text: &str) -> Ruleset {
    Ruleset::builder()
        .text("on", "SecRuleEngine On\n")
        .text("rules", text)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// One request of a session at a time in seconds, and what `id:9` said of it.
fn session(rules: &Ruleset, session: &str, uri: &str, seconds: u64) -> Vec<String> {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    tx.connection(
        "192.0.2.7:1".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
    );
    tx.request_line(b"GET", uri.as_bytes(), b"HTTP/1.1");
    tx.request_header(b"Cookie", format!("sid={session}").as_bytes());
    tx.end_request_headers();
    tx.end_request_body();
    tx.finish();
    messages(&tx)
}

fn messages(tx: &Transaction) -> Vec<String> {
    tx.matches()
        .map(|found| String::from_utf8_lossy(found.message()).into_owned())
        .collect()
}

const COUNT: &str = "SecAction \"id:1,phase:1,pass,nolog,initcol:session=%{REQUEST_COOKIES.sid},setvar:session.n=+1\"\n\
                     SecAction \"id:9,phase:1,pass,msg:'%{SESSION.n}'\"\n";

#[test]
fn a_client_cannot_escape_its_counter_with_a_long_key() {
    let rules = rules(COUNT);
    let long = "s".repeat(10_000);
    assert_eq!(session(&rules, &long, "/", 1), ["1"]);
    assert_eq!(session(&rules, &long, "/", 1), ["2"]);
    assert_eq!(session(&rules, &format!("{long}x"), "/", 1), ["1"]);
}

#[test]
fn without_a_key_there_is_no_collection_and_nobody_elses_is_left_open() {
    let rules = rules(&format!(
        "SecAction \"id:2,phase:1,pass,nolog,initcol:session=first\"\n{COUNT}"
    ));
    assert_eq!(session(&rules, "", "/", 1), [""]);
    assert_eq!(session(&rules, "", "/", 1), [""]);
    assert_eq!(session(&rules, "first", "/", 1), ["1"]);
}

#[test]
fn a_name_that_a_client_chose_is_found_again_whatever_its_length() {
    let rules = rules(
        "SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}\"\n\
         SecRule ARGS_NAMES \"@unconditionalMatch\" \"id:2,phase:2,pass,nolog,setvar:'ip.seen_%{MATCHED_VAR}=+1'\"\n\
         SecRule IP \"@ge 2\" \"id:9,phase:2,pass,msg:'%{MATCHED_VAR_NAME} %{MATCHED_VAR}'\"",
    );
    let short = session(&rules, "", "/?a=1", 1);
    assert_eq!(short, [""; 0]);
    assert_eq!(session(&rules, "", "/?a=1", 1), ["IP:seen_a 2"]);
    let long = format!("/?{}=1", "b".repeat(5_000));
    session(&rules, "", &long, 1);
    let twice = session(&rules, "", &long, 1).concat();
    assert!(
        twice.starts_with("IP:sha1:") && twice.len() < 100,
        "{twice}"
    );
}

#[test]
fn a_variable_ends_before_its_collection_where_a_rule_says_so() {
    let rules = rules(
        "SecCollectionTimeout 100\n\
         SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}\"\n\
         SecRule ARGS:block \"@streq 1\" \"id:2,phase:1,pass,nolog,setvar:ip.block=1,expirevar:ip.block=10,setvar:ip.n=1\"\n\
         SecRule IP:block|IP:n \"@eq 1\" \"id:9,phase:1,pass,msg:'%{MATCHED_VAR_NAME}'\"",
    );
    assert_eq!(session(&rules, "", "/?block=1", 100), ["IP:n"]);
    assert_eq!(session(&rules, "", "/", 109), ["IP:n"]);
    assert_eq!(session(&rules, "", "/", 110), ["IP:n"]);
    assert_eq!(session(&rules, "", "/", 199), ["IP:n"]);
    assert_eq!(session(&rules, "", "/", 200), [""; 0]);
}

#[test]
fn sessions_and_users_are_those_of_one_application() {
    let named = |name: &str| {
        rules(&format!(
            "SecWebAppId {name}\n{COUNT}\
             SecRule WEBAPPID \"@rx ^{name}$\" \"id:10,phase:1,pass,msg:'%{{WEBAPPID}}'\""
        ))
    };
    let shop = named("shop");
    assert_eq!(session(&shop, "s", "/", 1), ["1", "shop"]);
    assert_eq!(session(&shop, "s", "/", 1), ["2", "shop"]);
    assert_eq!(session(&rules(COUNT), "s", "/", 1), ["1"]);
}
