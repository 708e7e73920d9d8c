//! Requests in text, one after the other.

use super::super::visit::Letter;

/// What scanners and people try.
const ATTACKS: &str = include_str!("attacks.txt");
/// What this shop's own clients send.
const HONEST: &str = include_str!("honest.txt");

/// Begins a request, on a line of its own with the family.
const MARK: &str = "\n=== ";

/// A request, and what kind of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The family of attacks, or the sort of client.
    pub(super) family: &'static str,
    /// The request.
    pub(super) letter: Letter,
}

/// The attacks, family by family.
pub(super) fn attacks() -> Vec<Sample> {
    read(ATTACKS)
}

/// Requests that must pass.
pub(super) fn honest() -> Vec<Sample> {
    read(HONEST)
}

/// Every request in `text`: a line with the mark and the family, the method and the target, headers, an empty line and
/// the body. What is before the first mark is a comment.
fn read(text: &'static str) -> Vec<Sample> {
    let samples = text.split(MARK).skip(1);
    samples.filter_map(sample).collect()
}

fn sample(text: &'static str) -> Option<Sample> {
    let (family, request) = text.split_once('\n')?;
    let (head, body) = match request.split_once("\n\n") {
        Some((head, body)) => (head, body.trim_end()),
        None => (request.trim_end(), ""),
    };
    let mut lines = head.lines();
    let line = lines.next()?;
    let mut letter = Letter::new(line).body(body.replace('\n', "\r\n"));
    for header in lines {
        let (name, value) = header.split_once(": ")?;
        letter = letter.header(name, value);
    }
    Some(Sample { family, letter })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let text = "A comment.\n\n=== sql\nPOST /a\nx-b: c: d\n\nline\nline\n\n=== xss\nGET /e\n";
        let [first, second] = &read(text)[..] else {
            panic!("{:?}", read(text));
        };
        assert_eq!((first.family, second.family), ("sql", "xss"));
        let letter = Letter::new("POST /a").header("x-b", "c: d");
        assert_eq!(first.letter, letter.body("line\r\nline"));
        assert_eq!(second.letter, Letter::new("GET /e"));
    }

    #[test]
    fn every_marked_request_is_read_and_has_a_method_and_a_target() {
        for (text, samples) in [(ATTACKS, attacks()), (HONEST, honest())] {
            assert_eq!(text.matches(MARK).count(), samples.len());
            for sample in &samples {
                let line = sample.letter.line();
                let (method, target) = line.split_once(' ').unwrap();
                assert!(
                    method.bytes().all(|byte| byte.is_ascii_uppercase()),
                    "{line}"
                );
                assert!(target.starts_with('/') && !target.contains(' '), "{line}");
            }
        }
    }

    #[test]
    fn no_request_is_in_the_list_twice_and_every_family_has_several() {
        let samples = attacks();
        let distinct: BTreeSet<String> = samples
            .iter()
            .map(|sample| format!("{:?}", sample.letter))
            .collect();
        assert_eq!(distinct.len(), samples.len());
        let families: BTreeSet<_> = samples.iter().map(|sample| sample.family).collect();
        for family in families {
            let members = samples.iter().filter(|sample| sample.family == family);
            assert!(members.count() > 1, "{family}");
        }
    }
}
