//! How `cargo test` replays what fuzzing has found. Included by the tests of the crates that have targets, as the oracles
//! are.

use std::path::Path;

/// Gives every input in the corpus of a target to its oracle. `at_least` so many there have to be: a test of an empty
/// folder would find nothing.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
pub(crate) fn replay(target: &str, at_least: usize, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        // Shown by the harness if the oracle panics: the input that did it.
        println!("{}", path.display());
        check(&std::fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(
        replayed >= at_least,
        "the corpus of {target} is gone: {replayed} inputs"
    );
}
