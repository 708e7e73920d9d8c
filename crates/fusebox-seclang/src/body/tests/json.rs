use super::*;

#[track_caller]
fn json_problem(body: &str, at: u64, problem: JsonProblem) {
    let expected = BodyError::Json {
        offset: at,
        problem,
    };
    assert_eq!(
        read(BodyKind::Json, body.as_bytes()).1,
        Err(expected),
        "{body}"
    );
}

#[test]
fn json_values_are_named_by_their_path() {
    finds(
        BodyKind::Json,
        r#" {"a": {"b": 1, "c": [true, {"d": null}, ["x", -0.5e+3]]}, "e": "f"} "#,
        &[
            "arg json.a.b=1",
            "arg json.a.c.array_0=true",
            "arg json.a.c.array_1.d=",
            "arg json.a.c.array_2.array_0=x",
            "arg json.a.c.array_2.array_1=-0.5e+3",
            "arg json.a.c.array_2=2",
            "arg json.a.c=3",
            "arg json.e=f",
        ],
    );
    finds(
        BodyKind::Json,
        r#"[[], {}, [{}], 7, {"": 8}]"#,
        &[
            "arg json.array_0=0",
            "arg json.array_2=1",
            "arg json.array_3=7",
            "arg json.array_4.=8",
            "arg json=5",
        ],
    );
    finds(BodyKind::Json, "\"x\"", &["arg json=x"]);
    finds(BodyKind::Json, "12", &["arg json=12"]);
    finds(BodyKind::Json, "", &[]);
}

#[test]
fn json_strings_are_unescaped() {
    finds(
        BodyKind::Json,
        r#"{"\u0061\n": "\"\\\/\b\f\n\r\t\u003Cscript\u003e\u00e9\ud83d\ude00"}"#,
        &[r#"arg json.a\n=\"\\/\x08\x0c\n\r\t<script>\xc3\xa9\xf0\x9f\x98\x80"#],
    );
    // Halves of pairs: alone, before text, before another escape, before another half, in the wrong order.
    finds(
        BodyKind::Json,
        r#"["\ud83d", "\ud83dx", "\ud83d\n", "\ud83d\ud83d\ude00", "\ud83d\u0041", "\ude00"]"#,
        &[
            r"arg json.array_0=\xed\xa0\xbd",
            r"arg json.array_1=\xed\xa0\xbdx",
            r"arg json.array_2=\xed\xa0\xbd\n",
            r"arg json.array_3=\xed\xa0\xbd\xf0\x9f\x98\x80",
            r"arg json.array_4=\xed\xa0\xbdA",
            r"arg json.array_5=\xed\xb8\x80",
            "arg json=6",
        ],
    );
}

#[test]
fn what_is_no_json_is_an_error_that_says_where() {
    use JsonProblem as P;
    json_problem("{", 1, P::End);
    json_problem("[1,]", 3, P::Unexpected(b']'));
    json_problem("[1 2]", 3, P::Unexpected(b'2'));
    json_problem(r#"{"a":1,}"#, 7, P::Unexpected(b'}'));
    json_problem(r#"{"a" 1}"#, 5, P::Unexpected(b'1'));
    json_problem("{a:1}", 1, P::Unexpected(b'a'));
    json_problem("[1}", 2, P::Unexpected(b'}'));
    json_problem("]", 0, P::Unexpected(b']'));
    json_problem("{} x", 3, P::Unexpected(b'x'));
    json_problem("\"a\nb\"", 2, P::Control);
    json_problem(r#""\x""#, 2, P::Escape);
    json_problem(r#""\u12g4""#, 5, P::Escape);
    json_problem("\"a", 2, P::End);
    json_problem(" ", 1, P::End);
    json_problem("\u{feff}{}", 0, P::Unexpected(0xef));
    for word in [
        "tru", "nul", "True", "01", "-", "1.", ".5", "+1", "1e", "1e+", "0x10", "NaN", "-01",
    ] {
        let body = format!("[{word}]");
        assert!(read(BodyKind::Json, body.as_bytes()).1.is_err(), "{body}");
    }
    for word in ["0", "-0", "10", "1.50", "1e5", "1E-05", "0.0e0", "-1.5e+10"] {
        let body = format!("[{word}]");
        assert_eq!(read(BodyKind::Json, body.as_bytes()).1, Ok(()), "{body}");
    }
}

#[test]
fn json_is_as_deep_as_the_limit_and_no_deeper() {
    let limits = Limits {
        json_depth: 3,
        ..Limits::default()
    };
    let outcome = |body: &str| read_chunks(BodyKind::Json, "", &[body.as_bytes()], limits).1;
    assert_eq!(outcome(r#"[{"a":[1]}]"#), Ok(()));
    assert_eq!(
        outcome("[[[[1]]]]"),
        Err(BodyError::JsonTooDeep { limit: 3 })
    );
    let hostile = "[".repeat(1 << 20);
    assert_eq!(
        read(BodyKind::Json, hostile.as_bytes()).1,
        Err(BodyError::JsonTooDeep { limit: 512 })
    );
}

#[test]
fn arguments_are_counted_and_their_names_are_weighed() {
    let limits = Limits {
        arguments: 3,
        argument_bytes: 40,
        argument_growth: 0,
        ..Limits::default()
    };
    let outcome = |kind, body: &str| read_chunks(kind, "", &[body.as_bytes()], limits).1;
    let too_many = Err(BodyError::TooManyArguments { limit: 3 });
    let too_long = Err(BodyError::ArgumentsTooLong { limit: 40 });
    assert_eq!(outcome(BodyKind::UrlEncoded, "a&b&c"), Ok(()));
    assert_eq!(outcome(BodyKind::UrlEncoded, "a&b&c&d"), too_many);
    assert_eq!(outcome(BodyKind::Json, "[1,2]"), Ok(()));
    assert_eq!(
        outcome(BodyKind::Json, r#"{"long key here":[1,2,3]}"#),
        too_long
    );
    assert_eq!(outcome(BodyKind::Xml, "<a>1<b/>2<b/>3<b/>4</a>"), too_many);
    // A key of 60 KiB above 30,000 values would be names of 1.8 GB.
    let hostile = format!("{{\"{}\":[{}1]}}", "k".repeat(60_000), "1,".repeat(30_000));
    assert!(matches!(
        read(BodyKind::Json, hostile.as_bytes()).1,
        Err(BodyError::ArgumentsTooLong { .. })
    ));
    // A long body may have long arguments.
    let honest = format!("[{}1]", "\"a value of some length\",".repeat(60_000));
    let many = Limits {
        arguments: 100_000,
        ..Limits::default()
    };
    let result = read_chunks(BodyKind::Json, "", &[honest.as_bytes()], many).1;
    assert_eq!(result, Ok(()));
}
