//! The `Content-Disposition` of a part: its name, and the name of the file if it is one.

/// What a `Content-Disposition` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) name: Vec<u8>,
    pub(super) filename: Option<Vec<u8>>,
    /// A value in single quotes, or with one inside and none around it. Within double quotes it is an apostrophe.
    pub(super) invalid_quoting: bool,
}

/// Reads `form-data` and the two parameters it may have; anything else is refused, as in ModSecurity. `None` says that
/// it is malformed.
pub(super) fn parse(header: &[u8]) -> Option<Disposition> {
    let mut found = Disposition::default();
    let mut rest = skip_blanks(strip_form_data(header)?);
    while let [b';', after @ ..] = rest {
        rest = skip_blanks(after);
        if rest.is_empty() && found.name.is_empty() {
            return None;
        }
        if rest.is_empty() {
            break;
        }
        rest = parameter(rest, &mut found)?;
    }
    rest.is_empty().then_some(found)
}

fn strip_form_data(header: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = header.split_at_checked(b"form-data".len())?;
    kind.eq_ignore_ascii_case(b"form-data").then_some(rest)
}

fn parameter<'a>(input: &'a [u8], found: &mut Disposition) -> Option<&'a [u8]> {
    let end = input
        .iter()
        .position(|byte| matches!(byte, b'=' | b' ' | b'\t'))?;
    let (name, rest) = input.split_at(end);
    let [b'=', rest @ ..] = skip_blanks(rest) else {
        return None;
    };
    let rest = skip_blanks(rest);
    let (value, rest) = match rest {
        [quote @ (b'"' | b'\''), rest @ ..] => {
            found.invalid_quoting |= *quote == b'\'';
            quoted(rest, *quote)?
        }
        [] => return None,
        _ => {
            let length = rest.iter().take_while(|byte| is_token(**byte)).count();
            let (value, rest) = rest.split_at(length);
            found.invalid_quoting |= value.contains(&b'\'');
            (value.to_vec(), rest)
        }
    };
    // A second name or file name: which of them a server takes nobody knows.
    if name.eq_ignore_ascii_case(b"name") {
        if !found.name.is_empty() {
            return None;
        }
        found.name = value;
    } else if name.eq_ignore_ascii_case(b"filename") {
        if found.filename.is_some() {
            return None;
        }
        found.filename = Some(value);
    } else {
        return None;
    }
    Some(skip_blanks(rest))
}

/// The inside of a quoted value and what follows it. A backslash escapes the quote and itself; before anything else it
/// stands for itself, because browsers send Windows paths so.
fn quoted(input: &[u8], quote: u8) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = input;
    loop {
        rest = match rest {
            [b'\\', escaped, after @ ..] if *escaped == quote || *escaped == b'\\' => {
                value.push(*escaped);
                after
            }
            [b'\\'] | [] => return None,
            [byte, after @ ..] if *byte == quote => return Some((value, after)),
            [byte, after @ ..] => {
                value.push(*byte);
                after
            }
        };
    }
}

/// RFC 2045 section 5.1.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'(' | b')'
                | b'<'
                | b'>'
                | b'@'
                | b','
                | b';'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'='
        )
}

fn skip_blanks(mut input: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = input {
        input = rest;
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_name_and_the_name_of_the_file() {
        let found = parse(br#"form-data; name="a b"; filename="c\"d\\e\f.txt""#).unwrap();
        assert_eq!(found.name, b"a b");
        assert_eq!(found.filename.unwrap(), br#"c"d\e\f.txt"#);
        assert!(!found.invalid_quoting);
        let found = parse(b"form-data ;name = x ;\tfilename=y.z").unwrap();
        assert_eq!(
            (found.name, found.filename),
            (b"x".to_vec(), Some(b"y.z".to_vec()))
        );
    }

    #[test]
    fn single_quotes_are_read_and_noted() {
        for (header, invalid) in [
            ("form-data; name='a'", true),
            ("form-data; name=it's", true),
            ("form-data; name=\"it's\"; filename=\"O'Neill.txt\"", false),
        ] {
            let found = parse(header.as_bytes()).unwrap();
            assert_eq!(found.invalid_quoting, invalid, "{header}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for header in [
            "attachment; name=x",
            "form-data x",
            "form-data;",
            "form-data; name",
            "form-data; name=",
            "form-data; name=\"x",
            "form-data; name=\"x\\",
            "form-data; name=x; name=y",
            "form-data; name=x; filename=a; filename=b",
            "form-data; name=x; filename*=UTF-8''a",
            "form-data; name=x y",
            "form-data; name=\"x\"y",
        ] {
            assert_eq!(parse(header.as_bytes()), None, "{header}");
        }
        assert!(parse(b"form-data").unwrap().name.is_empty());
    }
}
