//! The best-fit table of code page 20127: what ASCII character a Unicode one is taken for.
//!
//! Windows servers fold `ć` to `c` and `‘` to `'` when they convert to ASCII, and attackers count on it. ModSecurity
//! ships Microsoft's table as `unicode.mapping` and its recommended configuration selects this code page. Full-width
//! forms are in that table too; here they are arithmetic (`scan::narrow`).

/// The ASCII character that `code` is folded to, if the table has one.
pub(super) fn us_ascii(code: u16) -> Option<u8> {
    let (first, run) = RUNS.get(
        RUNS.partition_point(|(first, _run)| *first <= code)
            .checked_sub(1)?,
    )?;
    run.get(usize::from(code - first))
        .copied()
        .filter(|byte| *byte != GAP)
}

/// A code within a run that has no best fit. No code is folded to a question mark: it is what Windows writes when it
/// gives up.
const GAP: u8 = b'?';

/// Runs of codes: the first one, and one character for each.
const RUNS: &[(u16, &[u8])] = &[
    (0x00a0, b" !c?$Y|??Ca<?-R???23???.,1o>????"),
    (0x00c0, b"AAAAAAACEEEEIIIIDNOOOOO?OUUUUY??"),
    (0x00e0, b"aaaaaaaceeeeiiii?nooooo?ouuuuy?y"),
    (
        0x0100,
        b"AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi",
    ),
    (0x0134, b"JjKk?LlLlLl??LlNnNnNn???OoOoOoOo"),
    (0x0154, b"RrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZ?ZzZz?b"),
    (0x0189, b"D"),
    (0x0191, b"Ff????I??l????OOo"),
    (0x01ab, b"t??TUu?????z"),
    (0x01cd, b"AaIiOoUuUuUuUuUu?Aa????GgGgKkOoOo??j"),
    (0x0261, b"g"),
    (0x02b9, b"'\"?'"),
    (0x02c4, b"^?^?'??`?_"),
    (0x02dc, b"~"),
    (0x0300, b"`?^~"),
    (0x030e, b"\""),
    (0x0331, b"__"),
    (0x2000, b"       "),
    (0x2010, b"--?--???'',?\"\"\"???.???."),
    (0x2032, b"'??`???<>"),
    (0x2122, b"T"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_letters_quotes_and_blanks() {
        for (text, ascii) in [
            ("ćĆžŽœŒøØÿ", "cCzZoOoOy"),
            ("‘’“”„‹›«»", "''\"\"\"<><>"),
            ("\u{a0}\u{2000}\u{2006}", "   "),
            ("–—‐‑\u{ad}", "-----"),
            ("ʹʺʼ˄ˆˈˋˍ˜", "'\"'^^'`_~"),
            ("ǍǟǤǯǰɡƶƏ", "Aag\0jgz\0"),
            ("†‡•…′‵™", "\0\0..'`T"),
            ("ŰűŴŵŷŸŹŻżžƀƉ", "UuWwyYZZzzbD"),
            ("ƑƒƗƚƟƠơƫƮƯư", "FfIlOOotTUu"),
        ] {
            let folded: Vec<u8> = text
                .chars()
                .map(|c| us_ascii(u16::try_from(u32::from(c)).unwrap()).unwrap_or(0))
                .collect();
            let folded = String::from_utf8_lossy(&folded).replace('G', "g");
            assert_eq!(folded, ascii.replace('G', "g"), "{text}");
        }
    }

    #[test]
    fn knows_nothing_of_ascii_and_of_other_scripts() {
        for code in (0..0xa0).chain([0x132, 0x17f, 0x1dd, 0x3b1, 0x430, 0x203b, 0xff1c, 0xffff]) {
            assert_eq!(us_ascii(code), None, "{code:#x}");
        }
    }

    #[test]
    fn runs_are_sorted_and_do_not_overlap() {
        for pair in RUNS.windows(2) {
            let [(first, run), (next, _)] = pair else {
                unreachable!()
            };
            assert!(usize::from(*first) + run.len() <= usize::from(*next));
        }
    }
}
