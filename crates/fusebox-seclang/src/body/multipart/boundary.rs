//! The boundary parameter of a content type, read as strictly as ModSecurity reads it: where two parsers might
//! disagree about a boundary, what one of them sees as one part the other may see as two.

use super::MultipartProblem;

/// A boundary and what is odd about how it was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) text: Vec<u8>,
    pub(super) quoted: bool,
    pub(super) whitespace: bool,
    pub(super) missing_semicolon: bool,
}

/// ModSecurity's limit; a boundary has at most 70 characters (RFC 2046 section 5.1.1).
const MAX_CONTENT_TYPE: usize = 1024;
const MEDIA_TYPE: &[u8] = b"multipart/form-data";
const PARAMETER: &[u8] = b"boundary";

pub(super) fn parse(content_type: &[u8]) -> Result<Boundary, MultipartProblem> {
    if content_type.len() > MAX_CONTENT_TYPE {
        return Err(MultipartProblem::ContentTypeTooLong);
    }
    let (media_type, parameters) = content_type
        .split_at_checked(MEDIA_TYPE.len())
        .ok_or(MultipartProblem::ContentType)?;
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(MultipartProblem::ContentType);
    }
    if mentions(content_type) > 1 {
        return Err(MultipartProblem::SeveralBoundaries);
    }
    let position =
        memchr::memmem::find(parameters, PARAMETER).ok_or(MultipartProblem::NoBoundary)?;
    let (before, after) = parameters.split_at(position);
    let mut boundary = Boundary {
        missing_semicolon: !has_one_semicolon(before)?,
        ..Boundary::default()
    };
    let after = after.get(PARAMETER.len()..).unwrap_or_default();
    let equals = memchr::memchr(b'=', after).ok_or(MultipartProblem::BoundaryName)?;
    let (gap, value) = after.split_at(equals);
    if !gap.iter().all(u8::is_ascii_whitespace) {
        return Err(MultipartProblem::BoundaryName);
    }
    let value = value.get(1..).unwrap_or_default();
    boundary.whitespace = !gap.is_empty() || value.first().is_some_and(u8::is_ascii_whitespace);
    boundary.text = match value {
        [b'"', text @ .., b'"'] => {
            boundary.quoted = true;
            text.to_vec()
        }
        [b'"', ..] | [_, .., b'"'] => return Err(MultipartProblem::BoundaryQuote),
        text => text.to_vec(),
    };
    if boundary.text.is_empty() {
        return Err(MultipartProblem::BoundaryEmpty);
    }
    if mentions(&boundary.text) > 0 {
        return Err(MultipartProblem::SeveralBoundaries);
    }
    if !has_valid_characters(&boundary.text) {
        return Err(MultipartProblem::BoundaryCharacters);
    }
    Ok(boundary)
}

/// How often the word stands in `text`, in any case, with an equals sign somewhere behind it.
fn mentions(text: &[u8]) -> usize {
    let Some(last_equals) = memchr::memrchr(b'=', text) else {
        return 0;
    };
    let before = text.get(..last_equals).unwrap_or_default();
    before
        .windows(PARAMETER.len())
        .filter(|window| window.eq_ignore_ascii_case(PARAMETER))
        .count()
}

/// Nothing but blanks and at most one semicolon may stand between the media type and the parameter.
fn has_one_semicolon(before: &[u8]) -> Result<bool, MultipartProblem> {
    let mut seen = false;
    for byte in before {
        match byte {
            b';' if !seen => seen = true,
            byte if byte.is_ascii_whitespace() => {}
            _ => return Err(MultipartProblem::BeforeBoundary),
        }
    }
    Ok(seen)
}

/// RFC 2046 section 5.1.1: a space may not be the last character.
fn has_valid_characters(boundary: &[u8]) -> bool {
    boundary.last() != Some(&b' ')
        && boundary
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b" '()+_,-./:=?".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content_type: &str) -> Result<String, MultipartProblem> {
        parse(content_type.as_bytes()).map(|found| String::from_utf8(found.text).unwrap())
    }

    #[test]
    fn there_is_nothing_odd_about_what_browsers_send() {
        let found = parse(b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk").unwrap();
        let expected = Boundary {
            text: b"----WebKitFormBoundary7MA4YWxk".to_vec(),
            ..Boundary::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_odd_but_clear_is_noted() {
        let parsed = |content_type: &str| parse(content_type.as_bytes()).unwrap();
        assert!(parsed("multipart/form-data; boundary=\"a b\"").quoted);
        assert!(parsed("Multipart/Form-Data ;\tboundary =x").whitespace);
        assert!(parsed("multipart/form-data; boundary= x").whitespace);
        assert!(parsed("multipart/form-data boundary=x").missing_semicolon);
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        use MultipartProblem as P;
        for (content_type, problem) in [
            ("multipart/form-data", P::NoBoundary),
            ("multipart/form-data; BOUNDARY=x", P::NoBoundary),
            ("multipart/mixed; boundary=x", P::ContentType),
            ("text", P::ContentType),
            (
                "multipart/form-data; boundary=x; boundary=y",
                P::SeveralBoundaries,
            ),
            (
                "multipart/form-data; boundary=x;Boundary=y",
                P::SeveralBoundaries,
            ),
            (
                "multipart/form-data; charset=x; boundary=x",
                P::BeforeBoundary,
            ),
            ("multipart/form-data;; boundary=x", P::BeforeBoundary),
            ("multipart/form-data; boundaryx=x", P::BoundaryName),
            ("multipart/form-data; boundary", P::BoundaryName),
            ("multipart/form-data; boundary=\"x", P::BoundaryQuote),
            ("multipart/form-data; boundary=x\"", P::BoundaryQuote),
            ("multipart/form-data; boundary=", P::BoundaryEmpty),
            ("multipart/form-data; boundary=\"\"", P::BoundaryEmpty),
            ("multipart/form-data; boundary=x;y", P::BoundaryCharacters),
            ("multipart/form-data; boundary=x ", P::BoundaryCharacters),
            (
                "multipart/form-data; boundary=\u{e9}",
                P::BoundaryCharacters,
            ),
        ] {
            assert_eq!(text(content_type), Err(problem), "{content_type}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(1024));
        assert_eq!(text(&long), Err(P::ContentTypeTooLong));
    }
}
