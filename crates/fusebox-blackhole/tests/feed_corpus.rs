//! Replays the corpus of the fuzz target `feed`, with the target's own oracle, and feeds it with lists that are made up.

#[path = "../../../fuzz/oracle/feed.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "an oracle reports by panicking"
)]
mod oracle;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use proptest::{collection::vec, prelude::*, sample::select};

#[test]
fn every_input_of_the_corpus_passes_the_oracle() {
    replay::replay("feed", 15, oracle::check);
}

/// Pieces from which lists are made, sound ones and others.
const PIECES: [&str; 24] = [
    "\n",
    "\r\n",
    " ; SBL1\n",
    " # x\n",
    "8.8.8.0/24",
    "8.8.8.8",
    "8.8.0.0/16",
    "1.10.16.0/20\n",
    "2a06:e480::/29\n",
    "2a06:e480:1::/48\n",
    "2a06:e480:1:2::/64\n",
    "2a06:e480:1:2::3\n",
    "::ffff:8.8.8.0/120\n",
    "10.0.0.0/8\n",
    "198.51.100.0/24\n",
    "0.0.0.0/0\n",
    "/33\n",
    "{\"cidr\":\"9.9.9.0/24\"}\n",
    "{\"cidr\":\"9.9.8.0\\/24\",\"sblid\":\"SBL1\"}\n",
    "{\"type\":\"metadata\",\"records\":2}\n",
    "{\"type\":\"metadata\",\"records\":1}\n",
    "{\"type\":\"metadata\"}\n",
    "{\"cidr\":",
    "\u{feff}",
];

proptest! {
    #[test]
    fn made_up_lists_pass_the_oracle(format in 0..3_u8, pieces in vec(select(&PIECES[..]), 0..90)) {
        oracle::check(&[&[format], pieces.concat().as_bytes()].concat());
    }
}
