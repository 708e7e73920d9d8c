//! What is known about the result of a transformation from the bytes that occur in its input, without doing it.

use super::{Transformation, space};
use crate::ByteSet;

/// Blanks that are none of ASCII's space.
const OTHER_BLANKS: ByteSet = ByteSet::of(b"\t\n\r\x0b\x0c").with(space::NO_BREAK_SPACE);

impl Transformation {
    /// Whether `input`, in which the bytes of `present` occur, certainly stays as it is; `false` says nothing.
    pub(crate) fn certainly_keeps(self, input: &[u8], present: ByteSet) -> bool {
        match self {
            Self::NormalizePath => is_one_segment(input, present, ByteSet::of(b"/")),
            Self::NormalizePathWin => is_one_segment(input, present, ByteSet::of(b"/\\")),
            Self::ReplaceComments => !present.contains(b'*'),
            Self::CompressWhitespace => {
                !present.intersects(OTHER_BLANKS) && memchr::memmem::find(input, b"  ").is_none()
            }
            _ => !self.may_change(present),
        }
    }

    /// The transformation that does the same to `input`, if there is one that more rules ask for.
    pub(crate) fn usual_form(self, input: &[u8], present: ByteSet) -> Self {
        const SHELL: ByteSet = ByteSet::of(b"\"'\\^,;\t\r\n/(");
        match self {
            Self::CmdLine
                if !present.intersects(SHELL) && memchr::memmem::find(input, b"  ").is_none() =>
            {
                Self::Lowercase
            }
            step => step,
        }
    }

    /// The bytes that occur in the result, if that is known.
    pub(crate) fn present_after(self, present: ByteSet) -> Option<ByteSet> {
        match self {
            Self::Lowercase => Some(
                present
                    .in_both_cases()
                    .intersection(ByteSet::UPPERCASE.complement()),
            ),
            Self::RemoveWhitespace if !present.contains(space::NO_BREAK_SPACE) => {
                Some(present.intersection(ByteSet::SPACE.complement()))
            }
            Self::UrlDecode | Self::UrlDecodeUni if !present.contains(b'%') => {
                let left = present.intersection(ByteSet::of(b"+").complement());
                Some(if present.contains(b'+') {
                    left.with(b' ')
                } else {
                    left
                })
            }
            _ => None,
        }
    }
}

/// A path without slashes is changed only by dots at its end.
fn is_one_segment(input: &[u8], present: ByteSet, slashes: ByteSet) -> bool {
    !present.intersects(slashes) && input.last() != Some(&b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_known_is_true(input in prop::collection::vec(
            prop::sample::select(&b"aB.. /\\*+%4\t\n,;^\"'(\xa0\xc2-"[..]), 0..12))
        {
            let present = ByteSet::of(&input);
            for step in Transformation::ALL {
                let mut out = Vec::new();
                let changed = step.apply(&input, &mut out);
                if step.certainly_keeps(&input, present) {
                    prop_assert!(!changed, "{step:?}");
                }
                let result = if changed { &out } else { &input };
                let mut same = Vec::new();
                let same_changed = step.usual_form(&input, present).apply(&input, &mut same);
                prop_assert_eq!((changed, &out), (same_changed, &same), "{:?}", step);
                if let Some(after) = step.present_after(present) {
                    prop_assert_eq!(after, ByteSet::of(result), "{:?}", step);
                }
            }
        }
    }
}
