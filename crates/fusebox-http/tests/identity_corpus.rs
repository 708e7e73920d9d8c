//! Replays the corpus of the fuzz target `client_identity`, with the target's own oracle.

#[path = "../../../fuzz/oracle/client_identity.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "an oracle reports by panicking"
)]
mod oracle;
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[test]
fn every_input_of_the_corpus_passes_the_oracle() {
    replay::replay("client_identity", 20, oracle::check);
}
