//! Replays the corpus of the fuzz target `rest_asked`, and feeds its oracle with generated answers.
#![cfg(all(feature = "layer", not(fusebox_loom)))]

#[path = "../../../fuzz/oracle/rest_asked.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an oracle reports by panicking"
)]
mod oracle;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use proptest::prelude::*;

#[test]
fn every_input_of_the_corpus_passes_the_oracle() {
    replay::replay("rest_asked", 20, oracle::check);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn whatever_a_server_sends_passes_the_oracle(
        data in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            r#"("?[a;,rt=0-9 \\"]{0,20}\n?){0,5}"#.prop_map(String::into_bytes),
        ],
    ) {
        oracle::check(&data);
    }
}
