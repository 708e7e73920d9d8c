//! The `Forwarded` field of RFC 7239, read from its right end.
//!
//! A client can send `Forwarded: for=192.0.2.1;by="` and a proxy that appends to the field then makes
//! `for=192.0.2.1;by=", for=198.51.100.7` of it. Read from the left, the client's quote swallows the
//! proxy's element. Read from the right, the proxy's element is whole: it starts outside quotes at its
//! end, and in a well-formed element a `"` met outside quotes closes a string, while inside a string
//! the first `"` without an odd run of backslashes before it opens it (before an opening quote there is
//! always a `=`). So the comma that ends the scan is found without knowing anything of what is left
//! of it, and it is the same one that a scan of a well-formed field from the left would find.

use super::address::Address;
use super::client::Unattributed;
use super::node::{self, split_at_byte};

/// Room for the longest address with brackets and port (53 bytes), rounded up.
const LONGEST_ESCAPED_NODE: usize = 64;

/// Where the last comma outside quotes is.
pub(super) fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut rest = line;
    while let Some((byte, before)) = rest.split_last() {
        match byte {
            b',' if !quoted => return Some(before.len()),
            b'"' if !quoted => quoted = true,
            b'"' if !ends_in_an_escape(before) => quoted = false,
            _ => {}
        }
        rest = before;
    }
    None
}

/// Whether the byte after this text is escaped. Each run of backslashes is counted for the one quote
/// after it, so the whole scan stays linear.
fn ends_in_an_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the `for` parameter of a `forwarded-element`.
///
/// Blanks around `;` are tolerated, as are `[`, `]` and `:` in an unquoted value: proxies in the field
/// forget the quotes, and nothing becomes ambiguous. The element must be sound as a whole, and `for`
/// may occur once (RFC 7239 section 4).
///
/// # Errors
/// [`Unattributed::NotNamed`] if there is no `for`, else as [`node::parse`].
pub(super) fn address(element: &[u8]) -> Result<Address, Unattributed> {
    let mut found = None;
    let mut rest = element.trim_ascii();
    if rest.is_empty() {
        return Err(Unattributed::Malformed);
    }
    loop {
        rest = rest.trim_ascii_start();
        // A pair may be missing: `for=192.0.2.43;` is an element.
        if !matches!(rest, [] | [b';', ..]) {
            let (pair, after) = Pair::parse(rest).ok_or(Unattributed::Malformed)?;
            if pair.name.eq_ignore_ascii_case(b"for") && found.replace(pair.node()).is_some() {
                return Err(Unattributed::Malformed);
            }
            rest = after.trim_ascii_start();
        }
        match rest {
            [] => return found.unwrap_or(Err(Unattributed::NotNamed)),
            [b';', after @ ..] => rest = after,
            _ => return Err(Unattributed::Malformed),
        }
    }
}

/// A `forwarded-pair`. The value is without its quotes but still has its escapes.
struct Pair<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Pair<'a> {
    fn parse(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name, text) = split_at_byte(text, b'=')?;
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return None;
        }
        let (value, after) = match text {
            [b'"', string @ ..] => quoted_string(string)?,
            _ => unquoted(text)?,
        };
        Some((Self { name, value }, after))
    }

    fn node(&self) -> Result<Address, Unattributed> {
        if !self.value.contains(&b'\\') {
            return node::parse(self.value);
        }
        // `for="\1\9\2.0.2.43"` is a legal, if pointless, way to write an address.
        let mut room = [0; LONGEST_ESCAPED_NODE];
        let mut free = room.iter_mut();
        let mut bytes = self.value.iter();
        let mut length = 0;
        while let Some(mut byte) = bytes.next() {
            if *byte == b'\\' {
                byte = bytes.next().ok_or(Unattributed::Malformed)?;
            }
            *free.next().ok_or(Unattributed::Malformed)? = *byte;
            length += 1;
        }
        node::parse(room.get(..length).unwrap_or_default())
    }
}

/// The inside of a `quoted-string` whose opening quote is gone, and what follows its closing quote.
fn quoted_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// A value without quotes, and what follows it.
fn unquoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|byte| !is_token(*byte) && !matches!(byte, b'[' | b']' | b':'))
        .unwrap_or(text.len());
    (end > 0).then_some(())?;
    text.split_at_checked(end)
}

/// `tchar` of RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_element(line: &str) -> &str {
        last_comma(line.as_bytes()).map_or(line, |comma| &line[comma + 1..])
    }

    #[test]
    fn finds_the_last_element_whatever_quotes_stand_to_its_left() {
        for (line, expected) in [
            ("for=192.0.2.43", "for=192.0.2.43"),
            ("for=192.0.2.43,for=198.51.100.17", "for=198.51.100.17"),
            (
                r#"for=192.0.2.43,for="[2001:db8::1]";host="a,b""#,
                r#"for="[2001:db8::1]";host="a,b""#,
            ),
            (
                r#"for=injected;by=", for=198.51.100.17"#,
                " for=198.51.100.17",
            ),
            (
                r#"for=injected;by=",for="198.51.100.17""#,
                r#"for="198.51.100.17""#,
            ),
            (r#"x="\",for="198.51.100.17""#, r#"for="198.51.100.17""#),
            (r#"x,for="a\",b\\";by="c,d""#, r#"for="a\",b\\";by="c,d""#),
            (r#"x,a="\\\",\\""#, r#"a="\\\",\\""#),
            ("for=192.0.2.43,", ""),
            ("", ""),
        ] {
            assert_eq!(last_element(line), expected, "{line}");
        }
    }

    #[test]
    fn reads_the_elements_of_rfc_7239() {
        for (element, expected) in [
            // Sections 4, 6.3 and 7.1, and their like.
            ("for=192.0.2.43", Ok("192.0.2.43")),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                Ok("192.0.2.60"),
            ),
            (r#"For="[2001:db8:cafe::17]:4711""#, Ok("2001:db8:cafe::17")),
            (r#"for="[2001:db8:cafe::17]""#, Ok("2001:db8:cafe::17")),
            (r#"for="192.0.2.43:47011""#, Ok("192.0.2.43")),
            (r#"for="_gazonk""#, Err(Unattributed::Hidden)),
            ("for=_hidden, ", Err(Unattributed::Malformed)),
            ("for=_SEVKISEK", Err(Unattributed::Hidden)),
            ("for=unknown", Err(Unattributed::Hidden)),
            ("proto=https;by=203.0.113.43", Err(Unattributed::NotNamed)),
            ("by=192.0.2.1;for=192.0.2.43", Ok("192.0.2.43")),
            (" FOR=192.0.2.43 ; proto=http ", Ok("192.0.2.43")),
            ("for=192.0.2.43;", Ok("192.0.2.43")),
            (";;for=192.0.2.43", Ok("192.0.2.43")),
            (r#"secret="a\"b,c;for=1";for=192.0.2.43"#, Ok("192.0.2.43")),
            (r#"for="\1\9\2.0.2.43""#, Ok("192.0.2.43")),
            (r#"for="\_hidden""#, Err(Unattributed::Hidden)),
            // Not RFC 7239, but written by proxies.
            ("for=192.0.2.43:47011", Ok("192.0.2.43")),
            ("for=[2001:db8::17]:4711", Ok("2001:db8::17")),
            (r#"for="2001:db8::17""#, Ok("2001:db8::17")),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(
                address(element.as_bytes()).map(Address::ip),
                expected,
                "{element}"
            );
        }
    }

    #[test]
    fn an_element_that_is_not_sound_as_a_whole_names_nobody() {
        for element in [
            "",
            " ",
            "192.0.2.43",
            "for",
            "for=",
            "for=;proto=http",
            "by=;for=192.0.2.43",
            "=192.0.2.43",
            "for =192.0.2.43",
            "for= 192.0.2.43",
            "for=192.0.2.43;for=198.51.100.17",
            "for=192.0.2.43;FOR=192.0.2.43",
            "for=192.0.2.43 proto=http",
            r#"for="192.0.2.43"#,
            r#"for=192.0.2.43""#,
            r#"for=192.0.2.43;by=""#,
            r#"for="192.0.2.43"x"#,
            r#"for="192.0.2.43\"#,
            r#"for=192.0.2.43;by=a\b"#,
            "for=192.0.2.43;b@d=x",
            "for=192.0.2.43;proto=é",
            "for=\"\"",
            "for=192.0.2.43;host=a/b",
        ] {
            assert_eq!(
                address(element.as_bytes()),
                Err(Unattributed::Malformed),
                "{element}"
            );
        }
    }

    #[test]
    fn an_escaped_node_longer_than_any_address_is_malformed() {
        let element = format!(r#"for="\_{}""#, "a".repeat(LONGEST_ESCAPED_NODE));
        assert_eq!(address(element.as_bytes()), Err(Unattributed::Malformed));
    }
}
