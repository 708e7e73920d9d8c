//! A logical line to words.

use crate::error::ErrorKind;

/// Splits at blanks; a word in `"` or `'` may hold blanks, and its own quote after a `\`.
///
/// Only the escaped quote is unescaped: every other `\` belongs to a regular expression and stays, as in libmodsecurity and
/// Coraza. (Apache takes one of two `\` away, which is why CRS writes `\x5c`.)
pub(super) fn split(line: &str) -> Result<Vec<String>, ErrorKind> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => quoted(rest, first)?,
            _ => {
                let end = rest.find([' ', '\t']).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                (word.to_owned(), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The text within the quotes at the start of `rest`, and what follows them.
fn quoted(rest: &str, quote: char) -> Result<(String, &str), ErrorKind> {
    let mut word = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((word, rest.get(at + 1..).unwrap_or_default()));
        }
        if c != '\\' {
            word.push(c);
            continue;
        }
        match chars.next() {
            Some((_, escaped)) if escaped == quote => word.push(quote),
            Some((_, escaped)) => word.extend(['\\', escaped]),
            None => word.push('\\'),
        }
    }
    Err(ErrorKind::Unclosed { quote })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_blanks_outside_of_quotes() {
        assert_eq!(
            split(r#"SecRule ARGS|!ARGS:x "@rx a b" "id:1,msg:'it is'""#).unwrap(),
            ["SecRule", "ARGS|!ARGS:x", "@rx a b", "id:1,msg:'it is'"]
        );
    }

    #[test]
    fn unescapes_its_own_quote_and_nothing_else() {
        assert_eq!(
            split(r#"SecRule ARGS "@rx \"\\\x5c\d""#).unwrap(),
            ["SecRule", "ARGS", r#"@rx "\\\x5c\d"#]
        );
        // Two backslashes are a pair: the quote after them closes.
        assert_eq!(split(r#"X "a\\" b"#).unwrap(), ["X", r"a\\", "b"]);
    }

    #[test]
    fn a_quote_that_never_closes_is_an_error() {
        assert_eq!(
            split(r#"SecMarker "END"#).unwrap_err(),
            ErrorKind::Unclosed { quote: '"' }
        );
    }
}
