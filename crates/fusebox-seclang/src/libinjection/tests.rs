//! That the gates lose nothing: a value that does not pass is one the detector would have let through.

use proptest::prelude::*;

use super::*;
use crate::ByteSet;

#[track_caller]
fn gates_lose_nothing(value: &[u8]) {
    let present = ByteSet::of(value);
    if !may_be_sqli(present) || plain::is_no_sql(value) {
        assert_eq!(Tokens.sqli(value), None, "{}", value.escape_ascii());
    }
    if !may_be_xss(present) {
        assert!(!Tokens.xss(value), "{}", value.escape_ascii());
    }
}

/// Every sequence of up to `length` of the `pieces`.
fn sequences(pieces: &[&str], length: usize, check: &mut impl FnMut(&[u8])) {
    fn extend(pieces: &[&str], length: usize, value: &mut Vec<u8>, check: &mut impl FnMut(&[u8])) {
        if length == 0 {
            return;
        }
        for piece in pieces {
            let before = value.len();
            value.extend_from_slice(piece.as_bytes());
            check(value);
            extend(pieces, length - 1, value, check);
            value.truncate(before);
        }
    }
    extend(pieces, length, &mut Vec::new(), check);
}

#[test]
fn known_attacks_are_found() {
    for attack in [
        "1' or '1'='1",
        "1 union select password from users",
        "'; drop table users--",
        "\" or 1=1 #",
        "admin'/*",
        "-1 and 1=2 union all select 1,2",
    ] {
        assert!(sqli(attack.as_bytes()).is_some(), "{attack}");
    }
    for attack in [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\" onmouseover=alert(1) x=\"",
        "' style=x:expression(1)",
        "x onload=1",
        "<!DOCTYPE html>",
        "<!--[if IE]>",
        "<a href=javascript:1>",
    ] {
        assert!(xss(attack.as_bytes()), "{attack}");
    }
}

#[test]
fn usual_values_are_not() {
    for value in [
        "",
        "hello world",
        "4f2a9c",
        "O'Neill",
        "a@example.com",
        "3 > 2",
        "x=y",
        "1.5",
        "it's 5 o'clock",
    ] {
        assert_eq!(sqli(value.as_bytes()), None, "{value}");
        assert!(!xss(value.as_bytes()), "{value}");
    }
}

#[test]
fn short_values_that_do_not_pass_are_no_attacks() {
    // All of a kind is the same to both tokenizers, but for the letters that begin a literal or an exponent.
    const BYTES: &[&str] = &[
        "0", "1", "9", "a", "e", "x", "b", "n", "u", "q", "d", "f", "_", ".", "Z",
    ];
    sequences(BYTES, 4, &mut gates_lose_nothing);
    const ALL: &[&str] = &[
        "a", "1", " ", "\t", "\0", "\"", "'", "`", "/", ">", "<", "=", "!", "-", "?", "%", "&",
        ";", "on", "\u{a0}", "\\", "(", "#",
    ];
    sequences(ALL, 3, &mut gates_lose_nothing);
}

#[test]
fn one_word_with_numbers_around_it_is_no_injection() {
    const WORDS: &[&str] = &[
        "union", "select", "from", "or", "and", "not", "like", "in", "is", "null", "between",
        "case", "when", "having", "group_by", "order", "by", "limit", "exec", "drop", "insert",
        "into", "sleep", "user", "version", "char", "if", "x", "1", "0x1f", "1e5", "_", "true",
        "all", "top", "as", "int", "div", "xor", "rlike", "regexp",
    ];
    sequences(WORDS, 3, &mut gates_lose_nothing);
    const FEWER: &[&str] = &[
        "union", "select", "or", "x", "1", "0x", "1e", "n", "sleep", "null", "into",
    ];
    sequences(FEWER, 5, &mut gates_lose_nothing);
    sequences(&["0", "1", ".", "25"], 7, &mut gates_lose_nothing);
}

/// Every sequence of what passes as tokens: whatever the detector folds away, what is left is no fingerprint.
#[test]
fn sequences_of_plain_tokens_are_no_injection() {
    const TOKENS: &[&str] = &[
        "x ", "1 ", "+", ",", "(", ")", ";", ":", ".", "-", "like ", "*", "=",
    ];
    sequences(TOKENS, 4, &mut gates_lose_nothing);
    const FEWER: &[&str] = &["x ", "1 ", "+", ",", "(", ")", "::"];
    sequences(FEWER, 5, &mut gates_lose_nothing);
    sequences(FEWER, 5, &mut |value| {
        gates_lose_nothing(&[b"x/1 (", value].concat());
    });
}

#[test]
fn a_dot_between_words_is_looked_at() {
    // Seen by the exhaustive test when dots were let through with letters.
    assert!(sqli(b"select.11null").is_some());
}

#[test]
fn html_that_opens_no_tag_and_sets_no_attribute_is_no_script() {
    const PIECES: &[&str] = &[
        "\"",
        "'",
        "`",
        " ",
        "\n",
        "\0",
        "/",
        ">",
        "onload",
        "onerror",
        "style",
        "href",
        "src",
        "xmlns",
        "javascript:",
        "data:",
        "!--",
        "-->",
        "!DOCTYPE",
        "script",
        "[if",
        "?import",
        "x",
        "%3c",
        "&lt;",
        "&#x3d;",
    ];
    sequences(PIECES, 3, &mut gates_lose_nothing);
}

/// What another port of the C library misses, among its own test lines.
#[test]
fn attacks_of_several_words_and_blanks_before_the_equals_sign_are_found() {
    for (attack, fingerprint) in [
        ("' into outfile '/var/www/aa.php", "sks"),
        ("-1 LOCK IN SHARE MODE UNION SELECT 1", "1kUE1"),
    ] {
        let found = sqli(attack.as_bytes());
        assert_eq!(
            found.as_ref().map(Fingerprint::as_bytes),
            Some(fingerprint.as_bytes()),
            "{attack}"
        );
    }
    for attack in [
        "<img src=x onerror\t=alert(1)>",
        "<a href = javascript:1>",
        "<a href='&#x6a;&#97vascript:1'>",
        // A closing tag with a blank hides the next one from the C library.
        "</a b><script>alert(1)</script>",
        "<svg><a xlink:href=?><set attributeName=href to=java&#10script:1>",
        "<x on\0load=1>",
    ] {
        assert!(xss(attack.as_bytes()), "{attack}");
    }
}

/// Version 4.0 reads brackets as arrays, which finds the first, and has lost the second by it.
#[test]
fn what_versions_read_in_different_ways_is_read_in_all() {
    assert!(sqli(b"1[ or 1=1 /*!0").is_some());
    assert!(sqli(b"a=self[\"$\"][\"e\"]/*!(\"alert(1)\")").is_some());
    assert!(sqli(b"1.e'1'/*").is_some());
    assert!(sqli(b"case 1 1.e procedure + foo").is_some());
}

/// Each of these is long, and made of what a reader could go back to again and again. With the square of its length one would
/// take half a minute without optimisation; the machine's noise is far from that.
#[test]
fn long_values_cost_no_more_than_their_length() {
    let start = std::time::Instant::now();
    for piece in [
        "a.",
        "a`",
        "$a",
        "$a$",
        "\\'",
        "''",
        "/*",
        "/* ",
        "--",
        "q'[",
        "b'0",
        "x'f",
        "@`",
        "@@",
        "[",
        "{",
        "{a ",
        "(",
        ")",
        "1.e",
        "1e",
        "1,-",
        "!",
        "+",
        "\\",
        "u&'",
        "\"\\",
        "union ",
        "not in ",
        "::int ",
        "collate a_ ",
        "<",
        "</a ",
        "<!--",
        "-\0",
        "<%",
        "on=",
        "a=`",
        "&#0",
        "<a href=&#0",
        "/",
        "=",
        "%",
        "]]",
        "<![CDATA[",
    ] {
        let value = piece.repeat((128 << 10) / piece.len());
        let _ = (sqli(value.as_bytes()), xss(value.as_bytes()));
        let _ = (Tokens.sqli(value.as_bytes()), Tokens.xss(value.as_bytes()));
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

/// Another port of the C library, version 3.10, which misses some attacks but invents none.
#[track_caller]
fn finds_what_the_other_port_finds(value: &[u8]) {
    let theirs = libinjectionrs::detect_sqli(value).is_injection();
    assert!(
        !theirs || Tokens.sqli(value).is_some(),
        "{}",
        value.escape_ascii()
    );
    let theirs = libinjectionrs::detect_xss(value).is_injection();
    assert!(!theirs || Tokens.xss(value), "{}", value.escape_ascii());
}

#[test]
fn short_sequences_are_judged_as_by_the_other_port() {
    const SQL: &[&str] = &[
        "'", "\"", "1", "x", " or ", "union ", "select ", "=", "(", ")", ",", "--", "/*", "*/",
        "#", ";", "in", "like", "@a", "::",
    ];
    sequences(SQL, 4, &mut |value| {
        let theirs = libinjectionrs::detect_sqli(value);
        let is_injection = theirs.is_injection();
        let theirs = theirs.fingerprint.filter(|_| is_injection);
        let theirs = theirs.map(|fingerprint| Fingerprint::new(fingerprint.as_bytes()));
        assert_eq!(Tokens.sqli(value), theirs, "{}", value.escape_ascii());
    });
    const HTML: &[&str] = &[
        "<", ">", "</", "/", "a", "script", " ", "=", "\"", "'", "`", "onload", "href", "data:",
        "<!--", "-->", "<!", "style",
    ];
    sequences(HTML, 4, &mut finds_what_the_other_port_finds);
}

proptest! {
    #[test]
    fn mutated_attacks_that_do_not_pass_are_none(
        attack in prop::sample::select(vec![
            "1' or '1'='1", "1 union select 1,2 from x", "'; drop table users--", "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>", "\" onload=alert(1)", "1.union.select.1", "a=b&c=d", "<svg/onload=x>",
        ]),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        inserted in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut value = attack.as_bytes().to_vec();
        for index in removed {
            if !value.is_empty() {
                value.remove(index.index(value.len()));
            }
        }
        for (index, byte) in inserted {
            value.insert(index.index(value.len() + 1), byte);
        }
        gates_lose_nothing(&value);
        finds_what_the_other_port_finds(&value);
        prop_assert_eq!(sqli(&value), Tokens.sqli(&value));
        prop_assert_eq!(xss(&value), Tokens.xss(&value));
    }

    #[test]
    fn sequences_of_words_and_signs_are_judged_as_by_the_other_port(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "'", "\"", "`", "1", "1.5", "0x1f", "x", "a.b", "or", "and", "union", "all", "select", "from", "not", "in", "is",
            "null", "like", "between", "user", "sleep", "case", "when", "exec", "limit", "group by", "having", "into", "collate",
            "int", "=", "(", ")", ",", ";", "--", "/*", "*/", "/*!", "#", "@", "@@", "$$", "::", "||", "&&", "<=>", "!", "+", "-",
            "*", "{", "}", ":", "?", "\\", "\0", "<", ">", "</", "script", "onload", "href", "style", "<!--", "-->", "<%", "&#0;",
        ]), 1..12),
        apart in any::<bool>(),
    ) {
        let value = if apart { pieces.join(" ") } else { pieces.concat() };
        finds_what_the_other_port_finds(value.as_bytes());
    }

    #[test]
    fn longer_sequences_of_plain_tokens_are_none(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "x", "1", "1.5", "0x1f", "+", "-", "=", "<", ">", "!", "%", "*", "/", "~", "^", "&", ",", "(", ")", ";", ":", "?",
            ".", " ", "like", "é", "1e", "2x", "\n", "::", ":=", "<=>", "foo.bar",
        ]), 0..24),
    ) {
        gates_lose_nothing(tokens.concat().as_bytes());
        gates_lose_nothing(tokens.join(" ").as_bytes());
        gates_lose_nothing(format!("Mozilla/5.0 ({}", tokens.join(" ")).as_bytes());
        gates_lose_nothing(format!("x/1(1{}", tokens.concat()).as_bytes());
    }

    #[test]
    fn anything_that_does_not_pass_is_none(value in prop::collection::vec(any::<u8>(), 0..40)) {
        gates_lose_nothing(&value);
    }
}

/// Names of two to five parts from what a fingerprint is made of, each part alone and two joined.
#[test]
fn the_name_of_a_value_in_json_is_never_an_injection() {
    const PARTS: &[&str] = &[
        "select",
        "union",
        "or",
        "and",
        "1",
        "0x1",
        "null",
        "sleep",
        "from",
        "where",
        "users",
        "waitfor",
        "x",
        "like",
        "in",
        "information_schema",
        "1e5",
        "not",
        "case",
        "if",
        "exec",
        "concat",
        "array_0",
        "",
        "json",
        "_",
    ];
    let mut state = 7_u64;
    for _ in 0..200_000 {
        let mut name = "json".to_owned();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut digits = state;
        for _ in 0..2 + state % 4 {
            name.push('.');
            for _ in 0..1 + digits % 2 {
                digits /= 2;
                name.push_str(PARTS[usize::try_from(digits % PARTS.len() as u64).unwrap()]);
                digits /= PARTS.len() as u64;
            }
        }
        assert!(super::is_json_name(name.as_bytes()), "{name}");
        assert!(super::Tokens.sqli(name.as_bytes()).is_none(), "{name}");
    }
}
