//! Bodies with a content coding.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use fusebox_core::RejectionKind;
use fusebox_testkit::{MockBody, MockFrame};
use fusebox_waf::{Compressed, OverLimit};

use crate::*;

#[tokio::test]
async fn a_compressed_body_is_refused_or_passed_by_choice() {
    let gzip = || {
        let mut request = form(MockBody::full("q=evil"));
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    let mock = mock();
    assert_eq!(send(settings(), &mock, gzip()).await.status(), 415);
    assert_eq!(mock.called(), 0);
    let passing = settings().compressed(Compressed::Pass);
    assert_eq!(send(passing, &mock, gzip()).await.status(), 200);
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap().into()
}

#[tokio::test]
async fn a_compressed_body_is_inspected_unpacked_and_replayed_packed() {
    let coded = |body: Bytes| {
        let (first, second) = body.split_at(body.len() / 2);
        let frames = [first, second].map(|part| MockFrame::Data(Bytes::copy_from_slice(part)));
        let mut request = form(MockBody::of(frames));
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    let decoding = || settings().compressed(Compressed::DECODE);
    let mock = mock();
    let answer = send(decoding(), &mock, coded(gzip(b"q=1&p=evil"))).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (406, 0));

    let body = gzip(b"q=1&p=good");
    let answer = send(decoding(), &mock, coded(body.clone())).await;
    assert_eq!(answer.status(), 200);
    let calls = mock.calls();
    assert_eq!(calls[0].body.bytes(), body, "as it was sent");
    assert_eq!(calls[0].headers["content-encoding"], "gzip");

    let cut = body.slice(..body.len() - 1);
    let answer = send(decoding(), &mock, coded(cut)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(kind(&answer), RejectionKind::Unsupported);

    // Two megabytes of one letter in two kilobytes; and half a megabyte, within the limit and beyond the ratio.
    for (letters, ratio) in [(2 << 20, 1_032), (1 << 19, 100)] {
        let bomb = gzip(&vec![b'a'; letters]);
        let decoding = settings().compressed(Compressed::Decode { ratio });
        let answer = send(decoding, &mock, coded(bomb)).await;
        assert_eq!(answer.status(), 413);
        assert_eq!(kind(&answer), RejectionKind::TooLarge);
    }
    assert_eq!(mock.called(), 1);
}

#[tokio::test]
async fn of_a_compressed_body_the_first_part_is_inspected_and_all_of_it_is_handed_on() {
    let letters = gzip(&vec![b'a'; 1 << 19]);
    let mut request = form(MockBody::of([MockFrame::Data(letters.clone())]));
    request
        .headers_mut()
        .insert("content-encoding", "x-gzip".parse().unwrap());
    let decoding = settings()
        .compressed(Compressed::Decode { ratio: 1_032 })
        .request_body(100_000, OverLimit::InspectFirstPart);
    let mock = mock();
    assert_eq!(send(decoding, &mock, request).await.status(), 200);
    assert_eq!(mock.calls()[0].body.bytes(), letters);
}
