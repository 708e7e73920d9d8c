//! What each processor finds, that chunks do not matter, and that nothing a client sends makes one misbehave.

mod chunks;
mod json;
mod multipart;
mod xml;

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
