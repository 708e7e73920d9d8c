//! The oracle of the transformations: the laws that each of them obeys.
//!
//! An input is one byte that selects a transformation, and the value.

use fusebox_seclang::{ByteSet, Transformation};

/// Those after which the same again changes nothing. The parities are not among them: the eighth bit counts as well.
const SETTLES: [Transformation; 11] = [
    Transformation::CompressWhitespace,
    Transformation::Lowercase,
    Transformation::ParityZero7bit,
    Transformation::RemoveNulls,
    Transformation::RemoveWhitespace,
    Transformation::ReplaceNulls,
    Transformation::Trim,
    Transformation::TrimLeft,
    Transformation::TrimRight,
    Transformation::Uppercase,
    Transformation::CmdLine,
];

/// Those that another one undoes.
const UNDONE_BY: [(Transformation, Transformation); 3] = [
    (Transformation::Base64Encode, Transformation::Base64Decode),
    (Transformation::HexEncode, Transformation::HexDecode),
    (Transformation::UrlEncode, Transformation::UrlDecode),
];

/// Panics where a transformation breaks a law.
pub(crate) fn check(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else {
        return;
    };
    let transformation = Transformation::ALL[usize::from(*choice) % Transformation::ALL.len()];
    let mut out = b"before".to_vec();
    let changed = transformation.apply(value, &mut out);
    let written = out
        .strip_prefix(b"before")
        .unwrap_or_else(|| panic!("{transformation:?} touched what was there"));
    if changed {
        assert_ne!(written, value, "{transformation:?}");
        assert!(
            transformation.may_change(ByteSet::of(value)),
            "{transformation:?} has no trigger for this"
        );
    } else {
        assert!(written.is_empty(), "{transformation:?}");
    }
    let result = if changed { written } else { value };
    // Two bytes of UTF-8 become six, or seven with the trace of an overlong form; a digest has twenty bytes.
    assert!(result.len() <= 4 * value.len() + 20, "{transformation:?}");
    settles(transformation, value, result);
}

fn settles(transformation: Transformation, value: &[u8], result: &[u8]) {
    let mut again = Vec::new();
    if let Some((_, undo)) = UNDONE_BY
        .iter()
        .find(|(encode, _)| *encode == transformation)
    {
        let undone = undo.apply(result, &mut again);
        let undone = if undone { again.as_slice() } else { result };
        assert_eq!(undone, value, "{transformation:?}");
    } else if SETTLES.contains(&transformation) {
        assert!(
            !transformation.apply(result, &mut again),
            "{transformation:?} is not done with \"{}\"",
            value.escape_ascii()
        );
    }
}
