//! The oracle of the body processors: what they tell does not depend on how the body is cut, and where another
//! implementation is at hand they agree with it.

use fusebox_seclang::body::{BodyKind, Limits, Processor, Sink};

const CONTENT_TYPE: &[u8] = b"multipart/form-data; boundary=B";

/// Everything that was told, as one list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told(Vec<(&'static str, Vec<u8>, Vec<u8>)>);

impl Sink for Told {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(("argument", name.to_vec(), value.to_vec()));
    }
    fn file(&mut self, field: &[u8], filename: &[u8], size: u64) {
        self.0.push(("file", field.to_vec(), filename.to_vec()));
        self.0
            .push(("size", size.to_string().into_bytes(), Vec::new()));
    }
    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        self.0.push(("header", part.to_vec(), line.to_vec()));
    }
    fn xml_text(&mut self, text: &[u8]) {
        self.0.push(("text", Vec::new(), text.to_vec()));
    }
    fn xml_attribute(&mut self, value: &[u8]) {
        self.0.push(("attribute", Vec::new(), value.to_vec()));
    }
}

/// Panics where a processor of this kind does not do with `body` what it should.
pub(crate) fn check(kind: BodyKind, body: &[u8]) {
    let whole = read(kind, body, body.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(read(kind, body, size), whole, "in chunks of {size}");
    }
    let (told, result, _flags) = &whole;
    match kind {
        BodyKind::UrlEncoded => assert_eq!(told.0, naive_form(body)),
        BodyKind::Json => agrees_with_serde(body, result.is_ok()),
        BodyKind::Xml => {
            let shown: usize = told.0.iter().map(|(_, _, value)| value.len()).sum();
            // Nothing is expanded: an entity is longer than what it stands for. Text with tags in it is shown once more, and what
            // UTF-16 has in two bytes may be three.
            assert!(shown <= 3 * body.len(), "{shown} bytes of {}", body.len());
        }
        BodyKind::Multipart => {
            // Each line is told once, and a file's name once more.
            let told: usize = told.0.iter().map(|(_, _, value)| value.len()).sum();
            assert!(told <= 2 * body.len(), "{told} bytes of {}", body.len());
        }
    }
}

fn read(kind: BodyKind, body: &[u8], size: usize) -> (Told, Result<(), String>, String) {
    let mut told = Told::default();
    let mut processor = Processor::new(kind, CONTENT_TYPE, Limits::default());
    let mut result = Ok(());
    for chunk in body.chunks(size) {
        result = result.and_then(|()| processor.feed(chunk, &mut told));
    }
    let result = result
        .and_then(|()| processor.finish(&mut told))
        .map_err(|error| error.to_string());
    let flags = format!(
        "{:?} {} {}",
        processor.multipart_flags(),
        processor.has_invalid_escape(),
        processor.file_bytes()
    );
    (told, result, flags)
}

fn naive_form(body: &[u8]) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || naive_unescape(halves.next().unwrap_or_default());
            ("argument", half(), half())
        })
        .collect()
}

fn naive_unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut position = 0;
    while position < text.len() {
        let digits = text
            .get(position + 1..position + 3)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (text[position], digits) {
            (b'%', Some(byte)) => {
                out.push(byte);
                position += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        position += 1;
    }
    out
}

/// `serde_json` refuses what cannot be a string of Rust's, and is not asked about nothing at all or about great depth.
fn agrees_with_serde(body: &[u8], ok: bool) {
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    let depth = body
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    if text.is_empty() || depth > 100 || text.to_ascii_lowercase().contains("\\ud") {
        return;
    }
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    // A number that no float holds is JSON all the same.
    if let Err(error) = &theirs
        && error.to_string().starts_with("number out of range")
    {
        return;
    }
    assert_eq!(ok, theirs.is_ok(), "{theirs:?}");
}
