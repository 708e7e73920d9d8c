//! Whatever the body, and however it is cut.

use proptest::prelude::*;

use super::*;

const KINDS: [BodyKind; 4] = [
    BodyKind::UrlEncoded,
    BodyKind::Multipart,
    BodyKind::Json,
    BodyKind::Xml,
];

/// Bodies that are nearly what they should be.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "a=1",
        "&",
        "=",
        "%41",
        "%",
        "+",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"k\"",
        "\"",
        "\\",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud83d",
        "1.5e3",
        "true",
        "null",
        " ",
        "\r\n",
        "\n",
        "\r",
        "--B",
        "--B--",
        "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
        "; filename=\"f\"",
        "X: y\r\n",
        "<a>",
        "</a>",
        "<b c='d'/>",
        "&amp;",
        "&#65;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "\0",
        "\u{e9}",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        body in bodies(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        kind in prop::sample::select(KINDS.to_vec()),
    ) {
        let content_type = "multipart/form-data; boundary=B";
        let whole = read_chunks(kind, content_type, &[&body], Limits::default());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([body.len()]) {
            chunks.push(&body[start..cut]);
            start = cut;
        }
        prop_assert_eq!(&read_chunks(kind, content_type, &chunks, Limits::default()), &whole);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&read_chunks(kind, content_type, &bytes, Limits::default()), &whole);
    }

    #[test]
    fn json_that_serde_reads_is_read_and_the_other_way_round(body in bodies()) {
        if let Ok(text) = std::str::from_utf8(&body)
            && !text.is_empty()
            // Ours shows what cannot be a string of Rust's.
            && !text.contains("\\ud83d")
        {
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            prop_assert_eq!(read(BodyKind::Json, &body).1.is_ok(), theirs.is_ok(), "{} {:?}", text, theirs);
        }
    }
}
