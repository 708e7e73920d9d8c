//! `normalizePath`, `normalizePathWin`.

/// Removes what changes nothing from a path: repeated slashes, `.` segments, and `..` with the segment before it.
///
/// A path that starts with a slash never climbs above its root. A relative one keeps the `..` that it cannot resolve.
/// A slash at the end stays, and none is left there that was not there before.
pub(super) fn normalize(input: &[u8], out: &mut Vec<u8>) {
    walk(input, out, |byte| byte == b'/');
}

/// As [`normalize`], with backslashes for slashes.
pub(super) fn normalize_win(input: &[u8], out: &mut Vec<u8>) {
    walk(input, out, is_slash_win);
}

const fn is_slash_win(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn walk(input: &[u8], out: &mut Vec<u8>, is_slash: fn(u8) -> bool) {
    let (Some(first), Some(last)) = (input.first(), input.last()) else {
        return;
    };
    let start = out.len();
    let mut path = Path {
        out,
        start,
        relative: !is_slash(*first),
        at_root: false,
    };
    for segment in input.split(|byte| is_slash(*byte)) {
        if !segment.is_empty() {
            path.slash();
            path.segment(segment);
        }
    }
    if is_slash(*last) {
        path.slash();
    }
}

/// The path so far: `out` from `start` on, without a slash at its end between two steps.
struct Path<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    relative: bool,
    /// A relative path has been climbed to its beginning; a further `..` has nothing to remove.
    at_root: bool,
}

impl Path<'_> {
    /// The slash before a segment or at the end. A relative path never starts with one, whatever was removed.
    fn slash(&mut self) {
        if !self.relative || self.out.len() > self.start {
            self.out.push(b'/');
        }
    }

    /// ModSecurity looks at the last two bytes of a segment: whatever ends in two dots is a back-reference, and one
    /// that is longer than that (`a..`, `...`) removes itself.
    fn segment(&mut self, segment: &[u8]) {
        match segment {
            [b'.'] => self.back_to(self.out.len().saturating_sub(1)),
            [.., b'.', b'.'] => self.back_reference(segment),
            [.., b'.'] => self.out.extend_from_slice(segment),
            _ => {
                // A relative path of one byte leaves it where it is; the C code counts that as no segment yet.
                if self.out.len() + segment.len() > self.start + 1 {
                    self.at_root = false;
                }
                self.out.extend_from_slice(segment);
            }
        }
    }

    fn back_reference(&mut self, segment: &[u8]) {
        const NOTHING_BEFORE: usize = 2;
        let written = self.out.len() - self.start + segment.len() - 1;
        if self.relative && (self.at_root || written <= NOTHING_BEFORE) {
            self.at_root = true;
            self.out.extend_from_slice(segment);
            return;
        }
        // The slash that was just written goes in any case.
        let slash = self.out.len().saturating_sub(1);
        let end = if segment.len() > 2 {
            slash
        } else {
            let before = self.out.get(self.start..slash).unwrap_or_default();
            self.start + memchr::memrchr(b'/', before).unwrap_or(0)
        };
        self.back_to(end);
        if self.out.len() == self.start {
            self.at_root = true;
        }
    }

    fn back_to(&mut self, end: usize) {
        self.out.truncate(end.max(self.start));
    }
}
