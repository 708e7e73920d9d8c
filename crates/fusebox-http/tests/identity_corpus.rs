//! Replays the corpus of the fuzz target `client_identity`, with the target's own oracle.

#[path = "../../../fuzz/oracle/client_identity.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "an oracle reports by panicking"
)]
mod oracle;

use std::path::Path;

#[test]
fn every_input_of_the_corpus_passes_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/client_identity");
    let mut replayed = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        // Shown by the harness if the oracle panics: the input that did it.
        println!("{}", path.display());
        oracle::check(&std::fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 20, "the corpus is gone: {replayed} inputs");
}
