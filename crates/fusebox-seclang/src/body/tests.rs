//! What each processor finds, that chunks do not matter, and that nothing a client sends makes one misbehave.

use proptest::prelude::*;

use super::*;

/// Everything that was told, as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found(Vec<String>);

impl Found {
    fn note(&mut self, what: &str, parts: &[&[u8]]) {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| part.escape_ascii().to_string())
            .collect();
        self.0.push(format!("{what} {}", parts.join("=")));
    }
}

impl Sink for Found {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        self.note("arg", &[name, value]);
    }
    fn file(&mut self, field: &[u8], filename: &[u8], size: u64) {
        self.note("file", &[field, filename, size.to_string().as_bytes()]);
    }
    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        self.note("header", &[part, line]);
    }
    fn xml_text(&mut self, text: &[u8]) {
        self.note("text", &[text]);
    }
    fn xml_attribute(&mut self, value: &[u8]) {
        self.note("attribute", &[value]);
    }
}

type Outcome = (Vec<String>, Result<(), BodyError>, Option<MultipartFlags>);

fn read_chunks(kind: BodyKind, content_type: &str, chunks: &[&[u8]], limits: Limits) -> Outcome {
    let mut found = Found::default();
    let mut processor = Processor::new(kind, content_type.as_bytes(), limits);
    let mut result = Ok(());
    for chunk in chunks {
        result = processor.feed(chunk, &mut found);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| processor.finish(&mut found));
    (found.0, result, processor.multipart_flags())
}

fn read(kind: BodyKind, body: &[u8]) -> (Vec<String>, Result<(), BodyError>) {
    let (found, result, _flags) = read_chunks(
        kind,
        "multipart/form-data; boundary=B",
        &[body],
        Limits::default(),
    );
    (found, result)
}

#[track_caller]
fn finds(kind: BodyKind, body: &str, expected: &[&str]) {
    assert_eq!(
        read(kind, body.as_bytes()),
        (
            expected.iter().map(|line| (*line).to_owned()).collect(),
            Ok(())
        ),
        "{body}"
    );
}

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
fn a_form_is_parted_and_decoded() {
    finds(
        BodyKind::UrlEncoded,
        "a=1&b=x+y%20z%26&c&=d&&e=f=g&%41=%zz",
        &[
            "arg a=1",
            "arg b=x y z&",
            "arg c=",
            "arg =d",
            "arg e=f=g",
            "arg A=%zz",
        ],
    );
    finds(BodyKind::UrlEncoded, "", &[]);
}

#[test]
fn an_escape_that_is_none_is_noted() {
    for (body, invalid) in [
        ("a=%41", false),
        ("a=%4", true),
        ("%=a", true),
        ("a=%%41", true),
    ] {
        let mut form = Processor::new(BodyKind::UrlEncoded, b"", Limits::default());
        form.feed(body.as_bytes(), &mut Found::default()).unwrap();
        form.finish(&mut Found::default()).unwrap();
        assert_eq!(form.has_invalid_escape(), invalid, "{body}");
        let in_query = query(
            body.as_bytes(),
            b'&',
            Limits::default(),
            &mut Found::default(),
        );
        assert_eq!(in_query, Ok(invalid), "{body}");
    }
}

#[test]
fn a_query_may_be_parted_by_semicolons() {
    let mut found = Found::default();
    query(b"a=1;b=2&c", b';', Limits::default(), &mut found).unwrap();
    assert_eq!(found.0, ["arg a=1", "arg b=2&c"]);
}

#[test]
fn cookies_are_not_decoded() {
    let mut found = Vec::new();
    cookies(b" a=1;b =\t%41+;;  =x; c ; d=e=f; ", |name, value| {
        found.push(format!("{}|{}", name.escape_ascii(), value.escape_ascii()));
    });
    assert_eq!(found, ["a|1", "b |\\t%41+", "c |", "d|e=f"]);
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

#[test]
fn xml_is_text_and_attributes() {
    finds(
        BodyKind::Xml,
        r#"<?xml version="1.0"?><r a="1" b='&lt;x&#39;&#x3e;'><c d="2"/> t&amp;u<![CDATA[<v>]]> <!-- no --><e>w</e></r>"#,
        &[
            "attribute 1",
            r"attribute <x\'>",
            "attribute 2",
            "text no",
            "text t&u<v>",
            "text w",
            "text t&u<v> w",
        ],
    );
    finds(
        BodyKind::Xml,
        r#"<s:Envelope xmlns:s="http://x" xmlns="http://y" s:z="1"></s:Envelope>"#,
        &["attribute 1"],
    );
    finds(BodyKind::Xml, "", &[]);
}

#[test]
fn xml_expands_nothing_but_shows_what_is_declared() {
    let (found, result) = read(
        BodyKind::Xml,
        br#"<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r a="&lt;&x;&y">&x;</r>"#,
    );
    assert_eq!(result, Err(BodyError::XmlEntity));
    assert_eq!(
        found,
        [
            r#"text r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]"#,
            "attribute <&x;&y",
            "text &x;",
        ]
    );
    finds(BodyKind::Xml, "<!DOCTYPE html><r>x</r>", &["text x"]);
}

#[test]
fn nothing_but_a_tag_parts_a_text_in_xml() {
    finds(
        BodyKind::Xml,
        "<r>un<!-- a -->i<?b c?>o<![CDATA[n]]>&#32;<![CDATA[]]>select</r>",
        &["text a", "text b c", "text union select"],
    );
}

#[test]
fn what_is_beside_the_tree_of_xml_is_a_text_of_its_own() {
    finds(
        BodyKind::Xml,
        r#"<!DOCTYPE r SYSTEM "http://x/y.dtd"><!-- a --><?b c?><r/><!----><!-- d -->"#,
        &[
            r#"text r SYSTEM \"http://x/y.dtd\""#,
            "text a",
            "text b c",
            "text d",
        ],
    );
}

#[test]
fn text_with_tags_in_it_is_also_shown_as_a_whole() {
    finds(
        BodyKind::Xml,
        "<r><p>un<b>i<i/>on</b> sel<i>ect</i></p><q>x<b>y</b></q><z>z</z> <z>z</z></r>",
        &[
            "text un",
            "text i",
            "text on",
            "text sel",
            "text ect",
            "text x",
            "text y",
            "text z",
            "text z",
            "text union select",
            "text xy",
        ],
    );
    // Only the outermost, or a deep document would be shown as often as it is deep.
    finds(
        BodyKind::Xml,
        "<r>a<s>b<t>c</t></s></r>",
        &["text a", "text b", "text c", "text abc"],
    );
}

#[test]
fn a_text_that_empty_elements_part_is_also_a_whole() {
    finds(
        BodyKind::Xml,
        "<r><q>un<i/>ion sel<i></i>ect</q> <i/> <z><i/>z<i/> </z></r>",
        &[
            "text un",
            "text ion sel",
            "text ect",
            "text z",
            "text union select",
        ],
    );
}

#[test]
fn xml_in_utf_16_is_read_and_in_an_unknown_encoding_is_an_error() {
    let wide: Vec<u8> = "<r a='1'>union select</r>"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let (found, result) = read(BodyKind::Xml, &wide);
    assert_eq!(result, Ok(()));
    assert_eq!(found, ["attribute 1", "text union select"]);
    let utf_7 = b"<?xml version='1.0' encoding='UTF-7'?>+ADw-r+AD4-";
    let (found, result) = read(BodyKind::Xml, utf_7);
    assert_eq!(
        result,
        Err(BodyError::XmlEncoding {
            name: "UTF-7".into()
        })
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn xml_in_another_encoding_keeps_its_bytes() {
    let (found, result) = read(BodyKind::Xml, b"<r a='\xe9&#8216;'>\xff</r>");
    assert_eq!(result, Ok(()));
    assert_eq!(found, [r"attribute \xe9\xe2\x80\x98", r"text \xff"]);
}

#[test]
fn what_is_no_xml_is_an_error() {
    for body in [
        "<a>",
        "<a></b>",
        "x",
        "<a b></a",
        "<a><![CDATA[x</a>",
        "</a>",
        "<a b=1/>",
        "<a",
    ] {
        assert!(
            matches!(
                read(BodyKind::Xml, body.as_bytes()).1,
                Err(BodyError::Xml { .. })
            ),
            "{body}"
        );
    }
    let deep = "<a>".repeat(300);
    assert_eq!(
        read(BodyKind::Xml, deep.as_bytes()).1,
        Err(BodyError::XmlTooDeep { limit: 256 })
    );
}

/// A body of one field and one file, with CRLF for every newline.
const FORM: &str = "--B\nContent-Disposition: form-data; name=\"a\"\n\none\n\ntwo\n--B\n\
    Content-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\nContent-Type: text/plain\n\n1234\n\n--B--\n";

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn multipart(body: &str) -> Outcome {
    read_chunks(
        BodyKind::Multipart,
        "multipart/form-data; boundary=B",
        &[body.as_bytes()],
        Limits::default(),
    )
}

#[test]
fn a_multipart_body_is_fields_files_and_headers() {
    let (found, result, flags) = multipart(&crlf(FORM));
    assert_eq!(result, Ok(()));
    assert_eq!(
        found,
        [
            r#"header a=Content-Disposition: form-data; name=\"a\""#,
            r"arg a=one\r\n\r\ntwo",
            r#"header f=Content-Disposition: form-data; name=\"f\"; filename=\"x.txt\""#,
            "header f=Content-Type: text/plain",
            "file f=x.txt=6",
        ]
    );
    let flags = flags.unwrap();
    assert!(!flags.strict_error(), "{flags:?}");
    assert_eq!(flags.unmatched_boundary(), 0);
    assert!(!flags.mixed_lines());
}

#[test]
fn the_last_boundary_may_have_no_end_of_line() {
    let (found, result, flags) = multipart(crlf(FORM).trim_end());
    assert_eq!(result, Ok(()));
    assert_eq!(found.len(), 5);
    assert!(!flags.unwrap().strict_error());
}

#[test]
fn a_file_field_that_nobody_filled_in_is_a_field() {
    let body = "--B\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\n\n\n--B--\n";
    let (found, result, _flags) = multipart(&crlf(body));
    assert_eq!(result, Ok(()));
    assert_eq!(found[1..], ["arg f="]);
}

#[test]
fn what_is_odd_sets_its_flag() {
    let part = "--B\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
    let strict = |body: String, flag: fn(MultipartFlags) -> bool| {
        let (_found, result, flags) = multipart(&body);
        let flags = flags.unwrap();
        assert_eq!(result, Ok(()), "{body}");
        assert!(flag(flags) && flags.strict_error(), "{body} {flags:?}");
    };
    strict(crlf(&format!("x\n{part}--B--\n")), |flags| {
        flags.data_before
    });
    strict(crlf(&format!("{part}--B--\nx")), |flags| flags.data_after);
    strict(format!("{part}--B--\n"), |flags| {
        flags.lf_line && !flags.mixed_lines()
    });
    strict(
        format!("{}--B--\n", crlf(part)),
        MultipartFlags::mixed_lines,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace("; name", ";\n name"))),
        |flags| flags.header_folding && !flags.invalid_header_folding,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace("; name", ";\n\x0bname"))),
        |flags| flags.invalid_header_folding,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace('"', "'"))),
        |flags| flags.invalid_quoting,
    );
    strict(crlf(&format!("--B\n{part}--B--\n")), |flags| {
        flags.invalid_part
    });
}

#[test]
fn a_line_that_looks_like_a_boundary_is_noted_apart() {
    for (line, complete, expected) in [
        ("--C", true, 2),
        ("x--B", true, 2),
        ("--C", false, 1),
        ("-B", true, 0),
        ("-", true, 0),
    ] {
        let end = if complete { "--B--\n" } else { "" };
        let body = format!("--B\nContent-Disposition: form-data; name=\"a\"\n\n{line}\n{end}");
        let (_found, result, flags) = multipart(&crlf(&body));
        assert_eq!(flags.unwrap().unmatched_boundary(), expected, "{line}");
        assert_eq!(result.is_ok(), complete, "{line}");
        assert_eq!(flags.unwrap().strict_error(), !complete, "{line}");
    }
}

#[test]
fn what_is_ambiguous_is_an_error() {
    use MultipartProblem as P;
    let part = "--B\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
    for (body, problem) in [
        ("x\n".to_owned(), P::NoParts),
        (part.to_owned(), P::NoEnd),
        ("--Bx\n".to_owned(), P::BoundaryLine),
        ("--B--x\n".to_owned(), P::BoundaryLine),
        ("-- B\n".to_owned(), P::BlankBoundaryLine),
        (part.replace("form", "fo\0rm"), P::HeaderNul),
        (part.replace("name", &"n".repeat(5000)), P::HeaderTooLong),
        (part.replace("--B\n", "--B\n X: y\n"), P::HeaderFolding),
        (part.replace("--B\n", "--B\nX\n"), P::HeaderColon),
        (part.replace("--B\n", "--B\n: x\n"), P::HeaderName),
        (
            part.replace("--B\n", "--B\ncontent-disposition: x\n"),
            P::HeaderTwice,
        ),
        ("--B\nX: y\n\n".to_owned(), P::NoDisposition),
        (part.replace("form-data", "attachment"), P::Disposition),
        (part.replace("name=\"a\"", "name=\"\""), P::NoName),
        (
            format!(
                "--B\n{}",
                (0..100).map(|i| format!("x{i}: y\n")).collect::<String>()
            ),
            P::TooManyHeaders,
        ),
    ] {
        let (_found, result, flags) = multipart(&crlf(&body));
        assert_eq!(result, Err(BodyError::Multipart(problem)), "{body}");
        assert!(flags.unwrap().error && flags.unwrap().strict_error());
    }
    let quoted = "multipart/form-data; boundary=\"B\"";
    let (_, result, _) = read_chunks(
        BodyKind::Multipart,
        quoted,
        &[b"--\"B\"\r\n"],
        Limits::default(),
    );
    assert_eq!(result, Err(BodyError::Multipart(P::QuotedBoundaryLine)));
    let (_, result, flags) = read_chunks(
        BodyKind::Multipart,
        "multipart/form-data",
        &[b"x"],
        Limits::default(),
    );
    assert_eq!(result, Err(BodyError::Multipart(P::NoBoundary)));
    assert!(flags.unwrap().strict_error());
}

#[test]
fn long_lines_of_data_stay_whole() {
    for length in 4090..4100 {
        let data = "x".repeat(length);
        let body =
            format!("--B\nContent-Disposition: form-data; name=\"a\"\n\n{data}\n{data}\n--B--\n");
        let (found, result, flags) = multipart(&crlf(&body));
        assert_eq!(result, Ok(()));
        assert_eq!(found[1], format!("arg a={data}\\r\\n{data}"), "{length}");
        assert!(!flags.unwrap().strict_error());
    }
}

#[test]
fn an_error_is_told_again() {
    let mut json = Processor::new(BodyKind::Json, b"", Limits::default());
    let error = json.feed(b"]", &mut Found::default());
    assert!(error.is_err());
    assert_eq!(json.feed(b"1", &mut Found::default()), error);
    assert_eq!(json.finish(&mut Found::default()), error);
}

#[test]
fn a_processor_is_found_by_name_and_by_content_type() {
    assert_eq!(BodyKind::from_name(b"json"), Some(BodyKind::Json));
    assert_eq!(BodyKind::from_name(b"raw"), None);
    assert_eq!(
        BodyKind::from_content_type(b"Application/X-WWW-Form-Urlencoded; charset=x"),
        Some(BodyKind::UrlEncoded)
    );
    assert_eq!(
        BodyKind::from_content_type(b"multipart/form-data; boundary=x"),
        Some(BodyKind::Multipart)
    );
    assert_eq!(BodyKind::from_content_type(b"application/json"), None);
}

const KINDS: [BodyKind; 4] = [
    BodyKind::UrlEncoded,
    BodyKind::Multipart,
    BodyKind::Json,
    BodyKind::Xml,
];

/// Bodies that are nearly what they should be.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "a=1",
        "&",
        "=",
        "%41",
        "%",
        "+",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"k\"",
        "\"",
        "\\",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud83d",
        "1.5e3",
        "true",
        "null",
        " ",
        "\r\n",
        "\n",
        "\r",
        "--B",
        "--B--",
        "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
        "; filename=\"f\"",
        "X: y\r\n",
        "<a>",
        "</a>",
        "<b c='d'/>",
        "&amp;",
        "&#65;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "\0",
        "\u{e9}",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        body in bodies(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        kind in prop::sample::select(KINDS.to_vec()),
    ) {
        let content_type = "multipart/form-data; boundary=B";
        let whole = read_chunks(kind, content_type, &[&body], Limits::default());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([body.len()]) {
            chunks.push(&body[start..cut]);
            start = cut;
        }
        prop_assert_eq!(&read_chunks(kind, content_type, &chunks, Limits::default()), &whole);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&read_chunks(kind, content_type, &bytes, Limits::default()), &whole);
    }

    #[test]
    fn json_that_serde_reads_is_read_and_the_other_way_round(body in bodies()) {
        if let Ok(text) = std::str::from_utf8(&body)
            && !text.is_empty()
            // Ours shows what cannot be a string of Rust's.
            && !text.contains("\\ud83d")
        {
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            prop_assert_eq!(read(BodyKind::Json, &body).1.is_ok(), theirs.is_ok(), "{} {:?}", text, theirs);
        }
    }
}
