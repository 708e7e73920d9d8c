//! Which bytes of an XML document are which characters (XML 1.0, appendix F; RFC 7303, section 3).
//!
//! A rule sees only what it is shown in the encoding that the application will read. So an encoding is understood, or the document
//! is an error; nothing is guessed.

use super::BodyError;

/// A document as the parser takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Text(String),
    /// One character for each byte: an encoding that has ASCII in it, or UTF-8 with mistakes. The bytes come back as they were.
    Bytes(String),
}

/// Encodings that differ only in bytes above 127, each of which is a character of its own: whatever has a meaning in XML, or for a
/// rule, is where ASCII has it. Encodings of two bytes are not among them: their second byte may be that of a bracket.
const ASCII_AND_MORE: &[&str] = &[
    "ascii", "iso-ir-6", "koi8-r", "koi8-u", "latin1", "us-ascii", "utf-8", "utf8",
];

/// The same, by the beginnings of their names: a number follows.
const FAMILIES: &[&str] = &["cp125", "iso-8859-", "iso8859-", "iso_8859-", "windows-125"];

/// How far the declaration may reach: it is the first thing in a document, and short.
const DECLARATION: usize = 256;

/// Reads a document; `content_type` may have a `charset`.
pub(super) fn decode(document: &[u8], content_type: &[u8]) -> Result<Decoded, BodyError> {
    match document {
        [0xff, 0xfe, 0, 0, ..]
        | [0, 0, 0xfe, 0xff, ..]
        | [b'<', 0, 0, 0, ..]
        | [0, 0, 0, b'<', ..] => Err(unknown(b"UTF-32")),
        // `<?xm` in EBCDIC.
        [0x4c, 0x6f, 0xa7, 0x94, ..] => Err(unknown(b"EBCDIC")),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a mark: the first character is ASCII, so one byte of it is 0.
        [first, 0, ..] if *first != 0 => utf16(document, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(document, u16::from_be_bytes),
        // Behind the mark of UTF-8 a label is nothing new, or there are parsers that believe it and not the mark.
        [0xef, 0xbb, 0xbf, rest @ ..] => labelled(rest, content_type),
        _ => labelled(document, content_type),
    }
}

/// A document that is what its labels say, if each of them is known.
fn labelled(document: &[u8], content_type: &[u8]) -> Result<Decoded, BodyError> {
    let labels = [charset(content_type), declared(document)?];
    match labels
        .into_iter()
        .flatten()
        .find(|label| !is_ascii_and_more(label))
    {
        Some(label) => Err(unknown(label)),
        None => Ok(of_bytes(document)),
    }
}

fn of_bytes(document: &[u8]) -> Decoded {
    match std::str::from_utf8(document) {
        Ok(text) => Decoded::Text(text.to_owned()),
        Err(_) => Decoded::Bytes(document.iter().copied().map(char::from).collect()),
    }
}

fn utf16(document: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Decoded, BodyError> {
    let (pairs, odd) = document.as_chunks::<2>();
    let decoded: Result<String, _> =
        char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
    match decoded {
        Ok(text) if odd.is_empty() => Ok(Decoded::Text(text)),
        _ => Err(BodyError::XmlEncoding {
            name: "UTF-16 that is cut or has half a character".into(),
        }),
    }
}

fn unknown(label: &[u8]) -> BodyError {
    let name = label.get(..40).unwrap_or(label).escape_ascii();
    BodyError::XmlEncoding {
        name: name.to_string().into(),
    }
}

fn is_ascii_and_more(label: &[u8]) -> bool {
    let lower = label.to_ascii_lowercase();
    let in_family = |family: &&str| {
        let number = lower.strip_prefix(family.as_bytes());
        number.is_some_and(|number| {
            (1..=2).contains(&number.len()) && number.iter().all(u8::is_ascii_digit)
        })
    };
    ASCII_AND_MORE.iter().any(|known| known.as_bytes() == lower) || FAMILIES.iter().any(in_family)
}

/// The `charset` of a content type.
fn charset(content_type: &[u8]) -> Option<&[u8]> {
    content_type
        .split(|byte| *byte == b';')
        .skip(1)
        .find_map(|parameter| {
            let at = memchr::memchr(b'=', parameter)?;
            let (name, value) = parameter.split_at(at);
            let value = value.get(1..)?.trim_ascii();
            let value = value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""))
                .unwrap_or(value);
            name.trim_ascii()
                .eq_ignore_ascii_case(b"charset")
                .then_some(value)
        })
}

/// The `encoding` of an XML declaration.
///
/// A declaration that does not end where one should have ended is an error: the name may be behind that.
fn declared(document: &[u8]) -> Result<Option<&[u8]>, BodyError> {
    let start = document.get(..DECLARATION).unwrap_or(document);
    // An instruction whose name only begins like that (`<?xml-stylesheet`) declares nothing.
    let is_named = |next: &u8| next.is_ascii_alphanumeric() || b"-._:".contains(next);
    match start.strip_prefix(b"<?xml") {
        Some(rest) if !rest.first().is_some_and(is_named) => {
            match memchr::memmem::find(rest, b"?>") {
                Some(end) => Ok(rest.get(..end).and_then(named)),
                None => Err(BodyError::XmlEncoding {
                    name: "an XML declaration without an end".into(),
                }),
            }
        }
        _ => Ok(None),
    }
}

/// The value of `encoding` in what a declaration says.
fn named(inside: &[u8]) -> Option<&[u8]> {
    let after = inside.get(memchr::memmem::find(inside, b"encoding")? + 8..)?;
    let value = after
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let end = memchr::memchr(*quote, value)?;
    value.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8], content_type: &str) -> Option<String> {
        match decode(document, content_type.as_bytes()) {
            Ok(Decoded::Text(text) | Decoded::Bytes(text)) => Some(text),
            Err(_) => None,
        }
    }

    fn wide(text: &str, mark: bool, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter()
            .chain(text.encode_utf16())
            .flat_map(unit)
            .collect()
    }

    #[test]
    fn utf_16_is_read_with_a_mark_and_without() {
        for mark in [true, false] {
            for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                let document = wide("<a>\u{1f600}</a>", mark, unit);
                assert_eq!(text(&document, "").as_deref(), Some("<a>\u{1f600}</a>"));
                assert_eq!(text(&document[..document.len() - 1], ""), None);
            }
        }
        assert_eq!(text(b"<\0a\0\0\xd8>\0", ""), None, "half a pair");
    }

    #[test]
    fn what_has_ascii_where_ascii_has_it_passes() {
        for label in ["UTF-8", "us-ascii", "ISO-8859-15", "windows-1252", "KOI8-R"] {
            let document = format!("<?xml version='1.0' encoding='{label}'?><a/>");
            assert_eq!(text(document.as_bytes(), "").as_deref(), Some(&*document));
            let typed = format!("text/xml; Charset=\"{label}\"");
            assert_eq!(text(b"<a/>", &typed).as_deref(), Some("<a/>"));
        }
        assert_eq!(text(b"\xef\xbb\xbf<a/>", "").as_deref(), Some("<a/>"));
        assert_eq!(
            decode(b"<a>\xe9</a>", b""),
            Ok(Decoded::Bytes("<a>\u{e9}</a>".to_owned()))
        );
    }

    #[test]
    fn a_declaration_is_read_to_its_end_or_is_an_error() {
        let padded = |blanks: usize, encoding: &str| {
            let blanks = " ".repeat(blanks);
            format!("<?xml version='1.0'{blanks}encoding='{encoding}'?><a/>")
        };
        for (blanks, encoding, passes) in [
            (150, "utf-8", true),
            (150, "utf-7", false),
            (300, "utf-8", false),
            (300, "utf-7", false),
            (1_000_000, "utf-7", false),
        ] {
            let document = padded(blanks, encoding);
            let read = text(document.as_bytes(), "");
            assert_eq!(read.is_some(), passes, "{blanks} {encoding}");
        }
        let sheet = format!("<?xml-stylesheet href='{}'?><a/>", "a".repeat(300));
        assert_eq!(text(sheet.as_bytes(), "").as_deref(), Some(&*sheet));
        assert_eq!(text(b"<?xml", ""), None);
    }

    #[test]
    fn a_label_behind_the_mark_of_utf_8_is_read_too() {
        let marked = |encoding: &str| {
            let document = format!("\u{feff}<?xml version='1.0' encoding='{encoding}'?><a/>");
            text(document.as_bytes(), "").is_some()
        };
        assert!(marked("UTF-8"));
        assert!(!marked("UTF-7"));
        assert_eq!(text(b"\xef\xbb\xbf<a/>", "text/xml; charset=utf-7"), None);
    }

    #[test]
    fn what_could_hide_a_tag_is_an_error() {
        for label in [
            "UTF-7",
            "UTF-16",
            "Shift_JIS",
            "GB18030",
            "ISO-2022-JP",
            "IBM037",
            "ISO-8859-",
            "x",
            "",
        ] {
            let document = format!("<?xml version=\"1.0\"\n encoding = \"{label}\" ?><a/>");
            assert_eq!(text(document.as_bytes(), ""), None, "{label}");
            assert_eq!(
                text(b"<a/>", &format!("text/xml;charset={label}")),
                None,
                "{label}"
            );
        }
        for document in [
            &b"\xff\xfe\0\0<\0\0\0"[..],
            b"\0\0\0<",
            b"<\0\0\0",
            b"\x4c\x6f\xa7\x94",
        ] {
            assert_eq!(text(document, ""), None, "{document:?}");
        }
    }
}
