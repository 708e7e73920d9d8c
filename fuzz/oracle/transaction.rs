//! The oracle of a whole transaction: the engine that looks before it runs and the plain one see the same in any request, in one go
//! or in slices.
//!
//! The input is lines: URI, a header value, cookies, a content type, then the body.

use std::sync::OnceLock;
use std::time::SystemTime;

use fusebox_seclang::{OverBudget, Ruleset, RulesetBuilder, Slice, Transaction, WorkBudget};

/// A little of everything that the Core Rule Set does.
const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecRequestBodyNoFilesLimit 4096
SecDefaultAction "phase:2,log,auditlog,pass"
SecAction "id:1,phase:1,pass,nolog,setvar:tx.level=2,setvar:tx.critical=5,setvar:tx.score=0"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" "id:2,phase:1,pass,nolog,t:lowercase,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx xml" "id:3,phase:1,pass,nolog,t:lowercase,ctl:requestBodyProcessor=XML"
SecRule REQBODY_ERROR|MULTIPART_STRICT_ERROR "!@eq 0" "id:4,phase:2,block,msg:'%{REQBODY_ERROR_MSG}'"
SecRule TX:level "@lt 2" "id:5,phase:2,pass,nolog,skipAfter:END"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|REQUEST_HEADERS|!REQUEST_HEADERS:Cookie|XML:/*|XML://@* "@rx (?i)\b(?:union\s+(?:all\s+)?select|insert\s+into)\b" "id:6,phase:2,block,capture,t:urlDecodeUni,t:replaceComments,logdata:'%{TX.0} in %{MATCHED_VAR_NAME}: %{MATCHED_VAR}',setvar:'tx.score=+%{tx.critical}'"
SecRule ARGS|REQUEST_FILENAME "@rx <script[^>]*>|on(\w+)=" "id:7,phase:2,block,capture,t:htmlEntityDecode,t:jsDecode,t:lowercase,multiMatch,logdata:'%{TX.0} %{TX.1}'"
SecRule ARGS|FILES|REQUEST_URI_RAW "@pm ../ ..\ /etc/ .exe" "id:8,phase:2,block,capture,t:normalizePathWin,t:cmdLine,logdata:'%{TX.0}',chain"
SecRule MATCHED_VARS "!@rx ^safe" "setvar:tx.score=+1"
SecRule ARGS_NAMES "@rx ." "id:9,phase:2,pass,nolog,setvar:'tx.count_%{MATCHED_VAR_NAME}=+1'"
SecRule TX:/^count_/ "@gt 1" "id:10,phase:2,block,msg:'%{MATCHED_VAR_NAME}'"
SecRule ARGS "@detectSQLi" "id:11,phase:2,block,capture,t:urlDecodeUni,logdata:'%{TX.0}'"
SecRule ARGS|REQUEST_HEADERS "@detectXSS" "id:12,phase:2,block,t:utf8toUnicode,t:urlDecodeUni"
SecRule ARGS|REQUEST_BODY "@validateByteRange 9,10,13,32-126" "id:13,phase:2,block"
SecRule ARGS "@rx (\d+)-(\d+)" "id:14,phase:2,block,capture,chain"
SecRule TX:2 "@lt %{tx.1}"
SecMarker END
SecRule &ARGS "@gt 3" "id:15,phase:2,block"
SecRule MULTIPART_PART_HEADERS "@contains evil" "id:16,phase:2,block,t:lowercase"
SecRule TX:SCORE "@ge 10" "id:17,phase:2,deny,status:403,msg:'%{tx.score}'"
SecRule RESPONSE_BODY "@rx error" "id:18,phase:4,deny"
SecAction "id:19,phase:5,pass,msg:'%{tx.score} %{HIGHEST_SEVERITY}'"
"#;

fn builder() -> RulesetBuilder {
    Ruleset::builder().text("fuzz", RULES).budget(WorkBudget {
        bytes: u64::MAX,
        outcome: OverBudget::Pass,
    })
}

/// Panics where the engine does not do with the request in `data` what it should.
pub(crate) fn check(data: &[u8]) {
    static FAST: OnceLock<Ruleset> = OnceLock::new();
    static PLAIN: OnceLock<Ruleset> = OnceLock::new();
    let build = |builder: RulesetBuilder| builder.build().unwrap_or_else(|error| panic!("{error}"));
    let fast = FAST.get_or_init(|| build(builder()));
    let plain = PLAIN.get_or_init(|| build(builder().plain()));
    let whole = told(&run(fast, data, u64::MAX));
    assert_eq!(whole, told(&run(plain, data, u64::MAX)));
    assert_eq!(whole, told(&run(fast, data, 64)), "in slices");
}

fn run(rules: &Ruleset, data: &[u8], slice: u64) -> Transaction {
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (uri, header, cookies, kind, body) = (part(), part(), part(), part(), part());
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", uri, b"HTTP/1.1");
    tx.request_header(b"Referer", header);
    tx.request_header(b"Cookie", cookies);
    tx.request_header(b"Content-Type", kind);
    tx.end_request_headers();
    for chunk in body.chunks(if slice < 1_000 { 3 } else { 4_096 }) {
        tx.request_body(chunk);
    }
    while tx.end_request_body_slice(slice) == Slice::More {}
    tx.response_line(200, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/html");
    tx.end_response_headers();
    tx.response_body(header);
    while tx.end_response_body_slice(slice) == Slice::More {}
    tx.finish();
    tx
}

fn told(tx: &Transaction) -> (Vec<(Vec<u8>, String)>, String) {
    let matches = tx
        .matches()
        .map(|found| {
            let mut line = String::new();
            found.write_log_line(&mut line);
            (found.variable(), line)
        })
        .collect();
    (matches, format!("{:?}", tx.interruption()))
}
