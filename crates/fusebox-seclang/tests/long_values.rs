//! What is looked at once for several texts, and in pieces, only where texts are long: both engines on long values.

use std::time::SystemTime;

use fusebox_seclang::Ruleset;
use proptest::prelude::*;

const RULES: &str = r#"
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecRule ARGS "@rx (?i)union\s+select" "id:1,phase:2,pass,log,t:none"
SecRule ARGS "@rx union select" "id:2,phase:2,pass,log,t:none,t:lowercase"
SecRule ARGS "@rx UNION" "id:3,phase:2,pass,log,t:none"
SecRule ARGS "@rx unionselect" "id:4,phase:2,pass,log,t:none,t:removeWhitespace"
SecRule ARGS "@rx unionselect" "id:5,phase:2,pass,log,t:none,t:lowercase,t:removeWhitespace"
SecRule ARGS "@rx unionselect" "id:6,phase:2,pass,log,t:none,t:removeWhitespace,t:lowercase"
SecRule ARGS "@pm passwd shadow" "id:7,phase:2,pass,log,t:none,t:cmdLine"
SecRule ARGS "@rx /etc/(?:passwd|shadow)" "id:8,phase:2,pass,log,t:none,t:normalizePath"
SecRule ARGS "@rx <script" "id:9,phase:2,pass,log,t:none,t:htmlEntityDecode,t:lowercase,multiMatch"
SecRule ARGS "@rx [ ]{2}a" "id:10,phase:2,pass,log,t:none,t:compressWhitespace"
SecRule ARGS "@rx [A-Z]{4} [a-z]" "id:11,phase:2,pass,log,t:none,t:compressWhitespace"
SecRule ARGS "@rx (?i)evalx?\(" "id:12,phase:2,pass,log,t:none,t:jsDecode,t:lowercase"
"#;

fn found(rules: &Ruleset, value: &str) -> Vec<u32> {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", b"/", b"HTTP/1.1");
    tx.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    tx.end_request_headers();
    let body: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    tx.request_body(format!("a={body}").as_bytes());
    tx.end_request_body();
    tx.matches().map(|found| found.rule_id()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_engines_find_the_same_in_long_values(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "UNION SELECT", "union select", "Union  Select", "UNIONSELECT", "union", "PASSWD", "sha'dow", "/etc/./passwd",
            "/etc/shadow", "&lt;SCRIPT", "<script", "  a", "\ta", "EVAL(", "\\x65val(", "evalx(", "the quick brown fox ", ".", "A",
            "lazy dogs and other animals of the neighbourhood, ", "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
            "~", "&", "\u{a0}", "\\", "  ",
        ]), 1..40),
        filler in 0_usize..600,
    ) {
        let rules = |plain: bool| {
            let builder = Ruleset::builder().text("long", RULES);
            if plain { builder.plain() } else { builder }.build().unwrap()
        };
        thread_local! {
            static BOTH: std::cell::OnceCell<(Ruleset, Ruleset)> = const { std::cell::OnceCell::new() };
        }
        let value = pieces.concat() + &"e".repeat(filler);
        let (fast, plain) = BOTH.with(|both| both.get_or_init(|| (rules(false), rules(true))).clone());
        prop_assert_eq!(found(&fast, &value), found(&plain, &value), "{}", value);
    }
}
