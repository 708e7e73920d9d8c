//! The audit log: which transactions belong into it, and what each part tells.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::time::{Duration, SystemTime};

use fusebox_seclang::{Ruleset, Transaction};
use serde_json::{Value, json};

const ON: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n";

fn run(rules: &str, kind: &str, body: &[u8], status: u16) -> Transaction {
    let rules = Ruleset::builder()
        .text("on", ON)
        .text("rules", rules)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    tx.connection(
        "192.0.2.7:40000".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
    );
    tx.request_line(b"POST", b"/login?q=%FF", b"HTTP/1.1");
    tx.request_header(b"Cookie", b"sid=\xff\"");
    tx.request_header(b"Content-Type", kind.as_bytes());
    tx.request_body(body);
    tx.end_request_body();
    tx.response_line(status, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/plain");
    tx.response_header(b"Set-Cookie", b"a=1");
    tx.end_response_headers();
    tx.response_body(b"answer");
    tx.end_response_body();
    tx.finish();
    tx
}

fn form(rules: &str) -> Transaction {
    let kind = "application/x-www-form-urlencoded";
    run(rules, kind, b"user=ann&password=x%22", 200)
}

fn json(tx: &Transaction) -> Value {
    let mut text = String::new();
    tx.audit_record().unwrap().write_json(&mut text);
    assert!(!text.contains('\n'));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn each_part_is_there_when_it_is_asked_for_and_only_then() {
    let parts = |letters: &str| {
        let rules = format!(
            "SecAuditEngine On\nSecAuditLogParts {letters}\nSecAction \"id:1,phase:1,pass,msg:'m'\"\n\
             SecRule ARGS \"@rx ann\" \"id:2,phase:2,pass,nolog\""
        );
        json(&form(&rules))
    };
    let header = [
        "client_ip",
        "client_port",
        "host_ip",
        "host_port",
        "time_stamp",
        "unique_id",
    ];
    let with = |more: &[&'static str]| {
        let mut all: Vec<&str> = header.iter().chain(more).copied().collect();
        all.sort_unstable();
        all
    };
    assert_eq!(keys(&parts("AZ")), with(&[]));
    // It is always there, whether it is asked for or not.
    assert_eq!(keys(&parts("Z")), with(&[]));
    assert_eq!(parts("A")["time_stamp"], 1_000);
    assert_eq!(
        parts("AB")["request"],
        json!({
            "line": "POST /login?q=%FF HTTP/1.1",
            "headers": [
                ["Cookie", {"base64": "c2lkPf8i"}],
                ["Content-Type", "application/x-www-form-urlencoded"],
            ],
        })
    );
    assert_eq!(
        parts("AC")["request"],
        json!({"body": "user=ann&password=x%22"})
    );
    assert_eq!(
        parts("AI")["request"],
        json!({"arguments": [["user", "ann"], ["password", "x\""]]})
    );
    assert_eq!(parts("AE")["response"], json!({"body": "answer"}));
    assert_eq!(
        parts("AF")["response"],
        json!({"http_code": "200", "headers": [["Content-Type", "text/plain"], ["Set-Cookie", "a=1"]]})
    );
    assert_eq!(
        parts("AH")["messages"],
        json!([{
            "ruleId": 1, "phase": 1, "msg": "m", "data": "", "match": "", "ver": "", "tags": [],
            "file": "rules", "lineNumber": 3,
        }])
    );
    assert_eq!(parts("AK")["matched"], json!([1, 2]));
    assert_eq!(keys(&parts("ADGZ")), with(&[]));
    assert_eq!(
        keys(&parts("ABCEFHIJKZ")),
        with(&["matched", "messages", "request", "response"])
    );
}

#[test]
fn files_are_told_by_name_and_size_and_bodies_as_they_came() {
    let body = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n12345\r\n\
                --B\r\nContent-Disposition: form-data; name=\"g\"\r\n\r\nx\r\n--B--\r\n";
    let rules = |parts: &str| {
        format!(
            "SecAuditEngine On\nSecAuditLogParts {parts}\nSecRule &REQUEST_BODY \"@gt 0\" \"id:1,phase:2,deny\""
        )
    };
    let kind = "multipart/form-data; boundary=B";
    let tx = run(&rules("AIJ"), kind, body.as_bytes(), 200);
    assert_eq!(
        json(&tx)["request"],
        json!({
            "arguments": [["g", "x"]],
            "files": [{"field": "f", "name": "a.txt", "size": "5"}],
        })
    );
    // Part C keeps it for the log, and rules do not see it for all that.
    let tx = run(&rules("AC"), kind, body.as_bytes(), 200);
    assert_eq!(json(&tx)["request"], json!({"body": body}));
    assert!(tx.interruption().is_none());
}

#[test]
fn relevant_is_what_matched_or_has_a_relevant_status() {
    let rules = "SecAuditEngine RelevantOnly\nSecAuditLogRelevantStatus \"^(?:5|4(?!04))\"\n";
    // Look-around is no part of what is understood: named, not left dead.
    assert!(Ruleset::builder().text("r", rules).build().is_err());
    let rules = "SecAuditEngine RelevantOnly\nSecAuditLogRelevantStatus \"^(?:5|40[^4])\"\n";
    let audited =
        |more: &str, status| run(&format!("{rules}{more}"), "text/plain", b"", status).is_audited();
    assert!(!audited("", 200) && !audited("", 404));
    assert!(audited("", 403) && audited("", 500));
    assert!(audited("SecAction \"id:1,phase:1,pass\"", 200));
    assert!(!audited("SecAction \"id:1,phase:1,pass,noauditlog\"", 200));
    assert!(!audited("SecAction \"id:1,phase:1,pass,nolog\"", 200));
    assert!(audited(
        "SecAction \"id:1,phase:1,pass,nolog,auditlog\"",
        200
    ));
    // A refusal is what the client gets, whatever the service would have said.
    assert!(audited(
        "SecAction \"id:1,phase:1,deny,status:503,nolog\"",
        200
    ));
    assert!(!audited(
        "SecAction \"id:1,phase:1,deny,status:404,nolog\"",
        500
    ));
    assert!(!audited(
        "SecAction \"id:1,phase:1,pass,nolog,ctl:auditEngine=Off\"",
        500
    ));
    assert!(audited(
        "SecAction \"id:1,phase:1,pass,nolog,ctl:auditEngine=On\"",
        200
    ));
    assert!(
        !run("", "text/plain", b"", 500).is_audited(),
        "off unless asked for"
    );
}

#[test]
fn rules_change_the_parts_of_one_transaction() {
    let with = |change: &str| {
        let rules = format!(
            "SecAuditEngine On\nSecAuditLogParts ABZ\nSecAction \"id:1,phase:1,pass,nolog,ctl:auditLogParts={change}\""
        );
        let tx = form(&rules);
        tx.audit_log_parts().to_owned()
    };
    assert_eq!(with("+ch"), "ABZCH");
    assert_eq!(with("-B"), "AZ");
    assert_eq!(with("AIZ"), "AIZ");
    for wrong in ["+X", "-", "9"] {
        let rules = format!("SecAction \"id:1,ctl:auditLogParts={wrong}\"");
        let error = Ruleset::builder().text("r", &rules).build().unwrap_err();
        assert!(
            error.to_string().contains("letters A to K and Z"),
            "{error}"
        );
    }
}

#[test]
fn a_refusal_is_told_with_its_rule() {
    let tx = form(
        "SecAuditEngine On\nSecAuditLogParts AHZ\n\
         SecRule ARGS:user \"@streq ann\" \"id:7,phase:2,deny,status:418,severity:2,tag:'t\\x',msg:'%{MATCHED_VAR}',logdata:'\u{7f}'\"",
    );
    let told = json(&tx);
    assert_eq!(
        told["interruption"],
        json!({"ruleId": 7, "phase": 2, "action": "deny", "status": 418})
    );
    assert_eq!(told["messages"][0]["msg"], "ann");
    assert_eq!(told["messages"][0]["match"], "ARGS:user");
    assert_eq!(told["messages"][0]["severity"], 2);
    assert_eq!(told["messages"][0]["tags"], json!(["t\\x"]));
}
