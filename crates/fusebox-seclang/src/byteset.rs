//! A set of bytes, 256 bits: what the filters of the engine are made of.

/// A set of bytes.
///
/// The engine keeps one per value (the bytes that occur in it) and compares it with the sets that rules and
/// transformations need: four `and`s say "this cannot match" without a look at the value.
///
/// ```
/// use fusebox_seclang::ByteSet;
///
/// let present = ByteSet::of(b"page=7");
/// assert!(present.contains(b'='));
/// assert!(!present.intersects(ByteSet::of(b"<>")));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte.
    pub const EMPTY: Self = Self([0; 4]);
    /// Every byte.
    pub const FULL: Self = Self([u64::MAX; 4]);
    /// `0` to `9`.
    pub const DIGITS: Self = Self::range(b'0', b'9');
    /// `A` to `Z`.
    pub const UPPERCASE: Self = Self::range(b'A', b'Z');
    /// `a` to `z`.
    pub const LOWERCASE: Self = Self::range(b'a', b'z');
    /// What C's `isspace` accepts in the C locale: space, `\t`, `\n`, `\v`, `\f`, `\r`.
    pub const SPACE: Self = Self::of(b" \t\n\x0b\x0c\r");
    /// Every byte from 0x80 on: no ASCII.
    pub const HIGH: Self = Self::range(0x80, 0xff);

    /// The bytes that occur in `bytes`.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        // Written out, because a `const fn` has no iterators; the optimiser keeps the four words in registers.
        let mut set = Self::EMPTY;
        let mut rest = bytes;
        while let [first, tail @ ..] = rest {
            set = set.with(*first);
            rest = tail;
        }
        set
    }

    /// The bytes from `first` to `last`, both included.
    #[must_use]
    pub const fn range(first: u8, last: u8) -> Self {
        let mut set = Self::EMPTY;
        let mut byte = first as u16;
        while byte <= last as u16 {
            #[expect(clippy::cast_possible_truncation, reason = "at most `last`, a byte")]
            let one = byte as u8;
            set = set.with(one);
            byte += 1;
        }
        set
    }

    /// This set and `byte`.
    #[must_use]
    pub const fn with(self, byte: u8) -> Self {
        let bit = 1 << (byte & 63);
        let [a, b, c, d] = self.0;
        match byte >> 6 {
            0 => Self([a | bit, b, c, d]),
            1 => Self([a, b | bit, c, d]),
            2 => Self([a, b, c | bit, d]),
            _ => Self([a, b, c, d | bit]),
        }
    }

    /// Whether `byte` is in the set.
    #[must_use]
    pub const fn contains(self, byte: u8) -> bool {
        let [a, b, c, d] = self.0;
        let word = match byte >> 6 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        };
        word >> (byte & 63) & 1 == 1
    }

    /// What is in this set, in `other`, or in both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a | e, b | f, c | g, d | h])
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & e, b & f, c & g, d & h])
    }

    /// Every byte that is not in this set.
    #[must_use]
    pub const fn complement(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([!a, !b, !c, !d])
    }

    /// This set, and the letters of it in their other case.
    #[must_use]
    pub(crate) const fn in_both_cases(self) -> Self {
        // All letters are in the second word, and their cases 32 bits apart.
        const UPPER: u64 = 0x07ff_fffe;
        let [a, b, c, d] = self.0;
        let letters = (b | b >> 32) & UPPER;
        Self([a, b | letters | letters << 32, c, d])
    }

    /// Whether the two sets have a byte in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Whether every byte of this set is in `other`.
    #[must_use]
    pub const fn is_subset(self, other: Self) -> bool {
        !self.intersects(other.complement())
    }

    /// Whether there is no byte in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// How many bytes there are in the set, 0 to 256.
    #[must_use]
    pub const fn len(self) -> u32 {
        let [a, b, c, d] = self.0;
        a.count_ones() + b.count_ones() + c.count_ones() + d.count_ones()
    }

    /// The set as 256 bits: byte `b` is bit `b % 64` of word `b / 64`.
    #[must_use]
    pub const fn to_words(self) -> [u64; 4] {
        self.0
    }

    /// The set whose bits are `words`, as [`to_words`](Self::to_words) gives them.
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// The bytes of the set, smallest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |byte| self.contains(*byte))
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u8> = self.iter().collect();
        write!(f, "{{{}}}", bytes.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_the_bytes_it_was_given() {
        for byte in 0..=u8::MAX {
            let set = ByteSet::of(&[byte]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [byte]);
            assert_eq!(set.len(), 1);
            assert!(!set.complement().contains(byte));
            assert_eq!(set.complement().len(), 255);
            assert_eq!(set.union(set.complement()), ByteSet::FULL);
        }
    }

    #[test]
    fn has_letters_in_both_cases_and_nothing_else() {
        for byte in 0..=u8::MAX {
            let both = ByteSet::of(&[byte.to_ascii_lowercase(), byte.to_ascii_uppercase(), byte]);
            assert_eq!(ByteSet::of(&[byte]).in_both_cases(), both);
        }
    }

    #[test]
    fn a_range_has_both_its_ends() {
        assert_eq!(ByteSet::range(0, 255), ByteSet::FULL);
        assert_eq!(ByteSet::range(7, 7), ByteSet::of(b"\x07"));
        assert_eq!(ByteSet::UPPERCASE.len(), 26);
        assert_eq!(ByteSet::HIGH.len(), 128);
    }

    #[test]
    fn tells_what_two_sets_have_in_common() {
        let word = ByteSet::of(b"word");
        assert!(word.intersects(ByteSet::of(b"xyzw")));
        assert!(!word.intersects(ByteSet::DIGITS));
        assert!(word.is_subset(ByteSet::LOWERCASE));
        assert!(!ByteSet::LOWERCASE.is_subset(word));
        assert!(ByteSet::EMPTY.is_subset(word));
        assert_eq!(ByteSet::from_words(word.to_words()), word);
    }
}
