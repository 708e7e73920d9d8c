//! `replaceComments`, `removeComments`, `removeCommentsChar`.

use memchr::memmem;

/// `/* ... */` becomes one space; so does one that is never closed. A lone `*/` stays.
pub(super) fn replace(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some((before, comment)) = split_at(rest, b"/*") {
        out.extend_from_slice(before);
        out.push(b' ');
        rest = split_at(comment, b"*/").map_or(&[], |(_inside, after)| after);
    }
    out.extend_from_slice(rest);
}

/// `/* ... */` and `<!-- ... -->` are removed, `--` and `#` with all that follows. A comment that is never closed
/// becomes a space. Either end closes either kind, as in ModSecurity.
pub(super) fn remove(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    loop {
        let inside = match rest {
            [b'/', b'*', inside @ ..] | [b'<', b'!', b'-', b'-', inside @ ..] => inside,
            [b'-', b'-', ..] | [b'#', ..] | [] => return,
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
                continue;
            }
        };
        let Some(after) = after_comment(inside) else {
            out.push(b' ');
            return;
        };
        rest = after;
    }
}

fn after_comment(inside: &[u8]) -> Option<&[u8]> {
    let mut rest = inside;
    loop {
        match rest {
            [b'*', b'/', after @ ..] | [b'-', b'-', b'>', after @ ..] => return Some(after),
            [_, tail @ ..] => rest = tail,
            [] => return None,
        }
    }
}

/// The marks of comments are removed and what is between them stays: `/*`, `*/`, `<!--`, `-->`, `--`, `#`.
pub(super) fn remove_marks(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let [byte, tail @ ..] = rest {
        rest = match rest {
            [b'<', b'!', b'-', b'-', after @ ..]
            | [b'-', b'-', b'>', after @ ..]
            | [b'/', b'*', after @ ..]
            | [b'*', b'/', after @ ..]
            | [b'-', b'-', after @ ..]
            | [b'#', after @ ..] => after,
            _ => {
                out.push(*byte);
                tail
            }
        };
    }
}

fn split_at<'a>(input: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let position = memmem::find(input, mark)?;
    let (before, from) = input.split_at(position);
    Some((before, from.get(mark.len()..).unwrap_or_default()))
}
