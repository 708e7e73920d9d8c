//! Replays the corpus of the fuzz target `content_coding`, with the target's own oracle, and feeds it with codings that are cut, joined
//! and broken.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "../src/decode.rs"]
mod decode;
#[path = "../../../fuzz/oracle/content_coding.rs"]
mod oracle;

use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, GzBuilder, write::ZlibEncoder};
use proptest::prelude::*;

#[test]
fn every_input_of_the_corpus_passes_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/content_coding");
    let mut replayed = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        oracle::check(&std::fs::read(file.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 20, "the corpus is gone: {replayed} inputs");
}

fn gzip(data: &[u8], named: bool) -> Vec<u8> {
    let mut builder = GzBuilder::new();
    if named {
        builder = builder.filename("a.txt").comment("b").extra([1; 9]);
    }
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn codings_that_are_cut_joined_and_broken_pass_the_oracle(
        how in any::<u8>(), cut in any::<u8>(), named in any::<bool>(),
        members in prop::collection::vec((prop::collection::vec(0_u8..3, 0..300), 1_usize..200), 1..4),
        broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut coded = Vec::new();
        for (data, times) in members {
            let data = data.repeat(times);
            if how & 1 == 0 {
                coded.extend(gzip(&data, named));
            } else {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(&data).unwrap();
                coded.extend(encoder.finish().unwrap());
            }
        }
        if let Some((at, byte)) = broken {
            let at = at.index(coded.len());
            if let Some(place) = coded.get_mut(at) {
                *place = byte;
            }
        }
        if let Some(end) = end {
            coded.truncate(end.index(coded.len()));
        }
        oracle::check(&[&[how, cut], coded.as_slice()].concat());
    }
}
