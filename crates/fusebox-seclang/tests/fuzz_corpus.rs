//! Replays the corpora of the fuzz targets of this crate, with their own oracles.

use fusebox_seclang::body::BodyKind;
use replay::replay;

#[path = "../../../fuzz/oracle/body.rs"]
#[expect(clippy::indexing_slicing, reason = "an oracle reports by panicking")]
mod body;
#[path = "../../../fuzz/oracle/libinjection.rs"]
mod libinjection;
#[path = "../../../fuzz/replay.rs"]
mod replay;
#[path = "../../../fuzz/oracle/seclang.rs"]
#[expect(clippy::panic, reason = "an oracle reports by panicking")]
mod seclang;
#[path = "../../../fuzz/oracle/transaction.rs"]
#[expect(clippy::panic, reason = "an oracle reports by panicking")]
mod transaction;
#[path = "../../../fuzz/oracle/transformation.rs"]
#[expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an oracle reports by panicking"
)]
mod transformation;

#[test]
fn every_body_of_the_corpora_passes_the_oracle() {
    replay("body_form", 8, |data| {
        body::check(BodyKind::UrlEncoded, data);
    });
    replay("body_multipart", 12, |data| {
        body::check(BodyKind::Multipart, data);
    });
    replay("body_json", 12, |data| body::check(BodyKind::Json, data));
    replay("body_xml", 10, |data| body::check(BodyKind::Xml, data));
}

#[test]
fn every_value_of_the_corpus_passes_the_oracle() {
    replay("transformation", 35, transformation::check);
}

/// Every input of one target is one of the others too, cut short at every byte: more than the corpus, still fast.
#[test]
fn beginnings_of_everything_pass_every_oracle() {
    for target in [
        "body_form",
        "body_multipart",
        "body_json",
        "body_xml",
        "transformation",
    ] {
        replay(target, 1, |data| {
            let data = data.get(..300).unwrap_or(data);
            for end in 0..=data.len() {
                let beginning = data.get(..end).unwrap_or_default();
                for kind in [
                    BodyKind::UrlEncoded,
                    BodyKind::Multipart,
                    BodyKind::Json,
                    BodyKind::Xml,
                ] {
                    body::check(kind, beginning);
                }
                transformation::check(beginning);
            }
        });
    }
}

#[test]
fn every_value_of_the_injection_corpus_and_its_parts_pass_the_oracle() {
    replay("libinjection", 18, |data| {
        for end in 0..=data.len() {
            let (start, rest) = data.split_at(end);
            libinjection::check(start);
            libinjection::check(rest);
        }
    });
}

#[test]
fn every_rule_text_of_the_corpus_passes_the_oracle() {
    replay("seclang", 8, seclang::check);
}

#[test]
fn every_request_of_the_corpus_passes_the_oracle_also_when_it_is_cut_short() {
    replay("transaction", 6, |data| {
        for end in 0..=data.len() {
            transaction::check(data.get(..end).unwrap_or_default());
        }
    });
}
