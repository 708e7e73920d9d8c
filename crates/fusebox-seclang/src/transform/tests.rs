//! Vectors, triggers, and the laws that every transformation obeys.

use proptest::prelude::*;

use super::Transformation::{self, *};
use crate::ByteSet;

fn applied(transformation: Transformation, input: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let changed = transformation.apply(input, &mut out);
    assert!(out.starts_with(b"before"));
    let written = out.split_off(b"before".len());
    if changed {
        assert_ne!(written, input, "{transformation:?} says it changed");
        written
    } else {
        assert!(
            written.is_empty(),
            "{transformation:?} wrote and took it back"
        );
        input.to_vec()
    }
}

#[track_caller]
fn check(transformation: Transformation, vectors: &[(&[u8], &[u8])]) {
    for (input, expected) in vectors {
        let found = applied(transformation, input);
        assert_eq!(
            found,
            *expected,
            "{}(\"{}\") is \"{}\"",
            transformation.name(),
            input.escape_ascii(),
            found.escape_ascii()
        );
    }
}

#[test]
fn is_found_by_its_name_in_any_case_and_spelling() {
    for transformation in Transformation::ALL {
        let name = transformation.name();
        assert_eq!(Transformation::from_name(name), Some(*transformation));
        assert_eq!(
            Transformation::from_name(&name.to_uppercase()),
            Some(*transformation)
        );
    }
    assert_eq!(
        Transformation::from_name("normalisePathWin"),
        Some(NormalizePathWin)
    );
    assert_eq!(Transformation::from_name("none"), None);
    assert_eq!(Transformation::from_name("lower"), None);
}

#[test]
fn base64_stops_at_the_first_stranger() {
    check(
        Base64Decode,
        &[
            (b"", b""),
            (b"PHNjcmlwdD4=", b"<script>"),
            (b"PHNjcmlwdD4", b"<script>"),
            (b"PHNj\r\ncmlwdD4=", b"<script>"),
            (b"PHNjcmlwd", b"<scrip"),
            (b"PHNj cmlwdD4=", b"<sc"),
            (b"A", b""),
            (b"AA", b"\0"),
            (b"/+8=", b"\xff\xef"),
            (b"_-8=", b""),
        ],
    );
}

#[test]
fn forgiving_base64_skips_strangers() {
    check(
        Base64DecodeExt,
        &[
            (b"P.HNj cmlw\0dD4=", b"<script>"),
            (b"_-8=", b"\xff\xef"),
            (b"P=HNjcmlwdD4=", b""),
            (b"PH==NjcmlwdD4=", b"<script>"),
            (b"PHNj=cmlwdD4=", b"<script>"),
        ],
    );
}

#[test]
fn base64_is_padded_when_encoded() {
    check(
        Base64Encode,
        &[
            (b"", b""),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"\xff\xef\xff", b"/+//"),
        ],
    );
}

#[test]
fn a_command_line_loses_its_disguise() {
    check(
        CmdLine,
        &[
            (b"C^OMMAND /C DIR", b"command/c dir"),
            (b"\"command\" \\ ,; 'arg'", b"command arg"),
            (b"cat\t\r\n /etc/passwd", b"cat/etc/passwd"),
            (b"a ^ b", b"a b"),
            (b"ls  (x)", b"ls(x)"),
            (b"plain text", b"plain text"),
        ],
    );
}

#[test]
fn blanks_are_compressed_or_removed() {
    check(
        CompressWhitespace,
        &[
            (b"a \t\n\x0b\x0c\r\xa0 b", b"a b"),
            (b" a ", b" a "),
            (b"\t", b" "),
        ],
    );
    check(
        RemoveWhitespace,
        &[(b" a\t\xc2\xa0b\xa0 ", b"ab"), (b"\xc2\xa1", b"\xc2\xa1")],
    );
    // The end of another letter is no blank.
    for transformation in [CompressWhitespace, RemoveWhitespace] {
        check(
            transformation,
            &[
                ("àРа".as_bytes(), "àРа".as_bytes()),
                (b"\xe1\xa0\x80", b"\xe1\xa0\x80"),
            ],
        );
    }
    check(
        CompressWhitespace,
        &[("a\u{a0} \u{a0}b".as_bytes(), b"a b")],
    );
    check(Trim, &[(b"\x0b a b \n", b"a b"), (b"  ", b"")]);
    check(TrimLeft, &[(b" a ", b"a ")]);
    check(TrimRight, &[(b" a ", b" a"), (b" a\xa0", b" a\xa0")]);
    check(RemoveNulls, &[(b"\0a\0b\0", b"ab")]);
    check(ReplaceNulls, &[(b"\0a\0b", b" a b")]);
}

#[test]
fn css_escapes_say_their_last_two_digits() {
    check(
        CssDecode,
        &[
            (b"ja\\vascript", b"javascript"),
            (b"\\6a avascript", b"javascript"),
            (b"\\00006aavascript", b"javascript"),
            (b"\\a", b"\n"),
            (b"\\16a\tb", b"jb"),
            (b"\\ff1cscript", b"<script"),
            (b"\\0ff1c\\00ff1c\\1ff1c\\11ff1c", b"<<\x1c\x1c"),
            (b"\\FF5f", b"\x5f"),
            (b"a\\\nb", b"ab"),
            (b"a\\zb\\\\c", b"azb\\c"),
            (b"end\\", b"end"),
            (b"\\6a  x", b"j x"),
        ],
    );
}

#[test]
fn escapes_of_ansi_c_are_decoded() {
    check(
        EscapeSeqDecode,
        &[
            (
                b"\\a\\b\\f\\n\\r\\t\\v\\\\\\?\\'\\\"",
                b"\x07\x08\x0c\n\r\t\x0b\\?'\"",
            ),
            (b"\\x41\\X42\\103\\0\\08\\400", b"ABC\0\x008\0"),
            (b"\\xag\\x4\\8\\q", b"xagx48q"),
            (b"end\\", b"end\\"),
            (b"\\1015", b"A5"),
        ],
    );
}

#[test]
fn escapes_of_javascript_are_decoded() {
    check(
        JsDecode,
        &[
            (b"\\u003cscript\\x3E\\74\\uFF1c", b"<script><<"),
            (b"\\u00zz\\x3g\\8", b"u00zzx3g8"),
            (
                b"\\a\\b\\f\\n\\r\\t\\v\\?\\'\\\"\\\\",
                b"\x07\x08\x0c\n\r\t\x0b?'\"\\",
            ),
            (b"\\377\\400\\4008", b"\xff\x200\x2008"),
            (b"\\0\\1a", b"\0\x01a"),
            (b"\\X41", b"X41"),
            (b"end\\", b"end\\"),
        ],
    );
}

#[test]
fn hexadecimal_goes_both_ways() {
    check(
        HexDecode,
        &[
            (b"414243", b"ABC"),
            (b"4142 ", b"AB"),
            (b"4", b""),
            (b"zz", b"S"),
        ],
    );
    check(HexEncode, &[(b"\0\xffAz", b"00ff417a")]);
    check(
        SqlHexDecode,
        &[
            (b"select 0x414243, 0X6a", b"select ABC, j"),
            (b"0x4142434", b"ABC4"),
            (b"0x 0xg1 0x4 00x41", b"0x 0xg1 0x4 0A"),
            (b"0", b"0"),
            (b"0x410x42", b"AB"),
        ],
    );
}

#[test]
fn html_entities_are_decoded() {
    check(
        HtmlEntityDecode,
        &[
            (b"&quot;&AMP;&lt&gt;&nbsp;", b"\"&<>\xa0"),
            (b"&#60;&#x3c&#X3C;&#060;", b"<<<<"),
            (b"&#316;&#x13C;", b"<<"),
            (b"&#99999999999999999999999;", b"\xff"),
            (b"&lts;&ltx&foo;&;&", b"&lts;&ltx&foo;&;&"),
            (b"&#;&#x;&#xg&#", b"&#;&#x;&#xg&#"),
            (b"&#&lt;&#x&lt;&a&lt;", b"&#<&#x<&a<"),
            (b"&lt ;", b"< ;"),
        ],
    );
}

#[test]
fn what_is_said_of_a_value_is_said_of_an_empty_one_too() {
    check(
        Length,
        &[(b"", b"0"), (b"hello", b"5"), (b"0123456789", b"10")],
    );
    let hex = |transformation, input: &[u8]| applied(HexEncode, &applied(transformation, input));
    assert_eq!(hex(Md5, b""), b"d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(hex(Md5, b"abc"), b"900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(hex(Sha1, b""), b"da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_eq!(
        hex(Sha1, b"abc"),
        b"a9993e364706816aba3e25717850c26c9cd0d89d"
    );
}

#[test]
fn letters_change_their_case_in_ascii_alone() {
    check(Lowercase, &[("AbcZ[@É".as_bytes(), "abcz[@É".as_bytes())]);
    check(Uppercase, &[("AbcZ[`é".as_bytes(), "ABCZ[`é".as_bytes())]);
}

#[test]
fn a_path_is_normalised() {
    check(
        NormalizePath,
        &[
            (b"", b""),
            (b"/", b"/"),
            (b"///", b"/"),
            (b"/dir/foo//bar", b"/dir/foo/bar"),
            (b"dir/foo//bar/", b"dir/foo/bar/"),
            (b"dir/../foo", b"foo"),
            (b"dir/../../foo", b"../foo"),
            (b"dir/./.././../../foo/bar", b"../../foo/bar"),
            (b"dir/./.././../../foo/bar/.", b"../../foo/bar"),
            (b"dir/./.././../../foo/bar/./", b"../../foo/bar/"),
            (b"dir/./.././../../foo/bar/..", b"../../foo"),
            (b"dir/./.././../../foo/bar/../", b"../../foo/"),
            (b"/dir/./.././../../foo/bar", b"/foo/bar"),
            (
                b"/dir/./.././../../../../../../../\0/../etc/./passwd",
                b"/etc/passwd",
            ),
            (b"./foo", b"foo"),
            (b".", b""),
            (b"./", b""),
            (b"..", b".."),
            (b"../", b"../"),
            (b"/.", b""),
            (b"/./", b"/"),
            (b"/..", b""),
            (b"/../", b"/"),
            (b"/a/..", b""),
            (b"/a/../", b"/"),
            (b"a/..", b""),
            (b"a/../", b""),
            (b"/../../a", b"/a"),
            (b"a\\..\\b", b"a\\..\\b"),
            (b"a.b/c.", b"a.b/c."),
            // A segment that ends in two dots removes itself.
            (b"/foo/a../b", b"/foo/b"),
            (b"/foo/.../b", b"/foo/b"),
            (b"/a../b", b"/b"),
        ],
    );
    check(
        NormalizePathWin,
        &[
            (b"\\dir\\..\\foo/\\bar", b"/foo/bar"),
            (b"a\\\\\\b", b"a/b"),
            (b"..\\..\\windows\\", b"../../windows/"),
            (b"C:\\boot.ini", b"C:/boot.ini"),
        ],
    );
}

#[test]
fn parity_is_a_matter_of_the_high_bit() {
    check(
        ParityEven7bit,
        &[(b"\x00\x01\x03\x07", b"\x00\x81\x03\x87")],
    );
    check(ParityOdd7bit, &[(b"\x00\x01\x03\x07", b"\x80\x01\x83\x07")]);
    check(ParityZero7bit, &[(b"\x80\xc1a", b"\x00\x41a")]);
}

#[test]
fn comments_are_replaced_removed_or_opened() {
    check(
        ReplaceComments,
        &[
            (b"UNION/* x */SELECT", b"UNION SELECT"),
            (b"a/*b", b"a "),
            (b"a/*b*/*c*/", b"a *c*/"),
            (b"a*/b/", b"a*/b/"),
            (b"/*/*/x", b" x"),
            (b"/*/x", b" "),
        ],
    );
    check(
        RemoveComments,
        &[
            (b"UN/**/ION", b"UNION"),
            (b"a<!-- b -->c", b"ac"),
            (b"a-- b", b"a"),
            (b"a# b", b"a"),
            (b"a/*b", b"a "),
            (b"a/*b*/", b"a"),
            (b"/*a*//*b*/c", b"c"),
            (b"a-b", b"a-b"),
        ],
    );
    check(
        RemoveCommentsChar,
        &[
            (b"/*a*/<!--b-->c--d#e", b"abcde"),
            (b"---", b"-"),
            (b"/-**/", b"/-*"),
            (b"<!-", b"<!-"),
        ],
    );
}

#[test]
fn url_encoding_is_decoded_where_it_is_valid() {
    let both: &[(&[u8], &[u8])] = &[
        (b"a+b%20c%2B", b"a b c+"),
        (b"%3c%3C", b"<<"),
        (b"%", b"%"),
        (b"%4", b"%4"),
        (b"%g1%1g%%41", b"%g1%1g%A"),
        (b"100% cotton", b"100% cotton"),
        (b"%00", b"\0"),
    ];
    check(UrlDecode, both);
    check(UrlDecodeUni, both);
    check(UrlDecode, &[(b"%u003c", b"%u003c")]);
    check(
        UrlDecodeUni,
        &[
            (b"%u003c%U003C", b"<<"),
            (b"%uff1cscript%uFF1E", b"<script>"),
            (b"%u0107%u2018", b"c'"),
            (b"%u0430", b"\x30"),
            (b"%u003", b"%u003"),
            (b"%u00zz", b"%u00zz"),
            (b"%u%41", b"%uA"),
        ],
    );
    check(UrlEncode, &[(b"a b*~\xff", b"a+b*%7e%ff")]);
}

#[test]
fn utf8_becomes_escapes() {
    check(
        Utf8ToUnicode,
        &[
            ("aé‘😀".as_bytes(), b"a%u00e9%u2018%u1f600"),
            // Too long for what it says, and a surrogate.
            (b"\xc0\xaf\xe0\x80\xaf", b"%u002f\xc0%u002f\xe0"),
            (b"\xed\xa0\x80", b"%ud800\xed"),
            (b"\xf4\x8f\xbf\xbf\xf5\x80\x80\x80", b"%u10ffff\xf5%u140000"),
            (b"\x80\xc3\xe2\x80\xf0\x9f", b"\x80\xc3\xe2\x80\xf0\x9f"),
            (b"a\0b", b"a\0b"),
        ],
    );
}

#[test]
fn what_decodes_undoes_what_encodes() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for (encode, decode) in [
        (Base64Encode, Base64Decode),
        (HexEncode, HexDecode),
        (UrlEncode, UrlDecode),
    ] {
        assert_eq!(applied(decode, &applied(encode, &all)), all, "{encode:?}");
    }
}

/// Every value of at most two bytes, and with the bytes that mean something every one of at most four.
#[test]
fn without_a_trigger_a_short_value_never_changes() {
    const MEANINGFUL: &[u8] = b"\0 \"#%&'()*+,-./0;<>ABx\\^abu!\xa0\xc2\xe0\x80";
    for transformation in Transformation::ALL {
        unchanged_without_trigger(*transformation, b"");
        for a in 0..=u8::MAX {
            unchanged_without_trigger(*transformation, &[a]);
            for b in 0..=u8::MAX {
                unchanged_without_trigger(*transformation, &[a, b]);
            }
        }
        for a in MEANINGFUL {
            for b in MEANINGFUL {
                for c in MEANINGFUL {
                    unchanged_without_trigger(*transformation, &[*a, *b, *c]);
                }
            }
        }
    }
}

fn unchanged_without_trigger(transformation: Transformation, input: &[u8]) {
    if !transformation.may_change(ByteSet::of(input)) {
        let mut out = Vec::new();
        assert!(
            !transformation.apply(input, &mut out),
            "{transformation:?} changed \"{}\"",
            input.escape_ascii()
        );
    }
}

/// A trigger that triggers nothing costs time: each byte of a mask changes some value.
#[test]
fn every_trigger_is_needed() {
    const PARTNERS: [&[u8]; 8] = [b"", b"41", b"x4141", b"lt;", b"*", b"!--", b"/./", b"  "];
    for transformation in Transformation::ALL {
        for byte in transformation.triggers().iter() {
            let changes = PARTNERS.iter().any(|partner| {
                [&[byte][..], &[byte, byte], &[byte, 0x80, 0x80, 0x80]]
                    .iter()
                    .any(|start| {
                        let input = [start, *partner].concat();
                        transformation.apply(&input, &mut Vec::new())
                    })
            });
            assert!(changes, "{transformation:?} 0x{byte:02x}");
        }
    }
}

/// A plain second implementation of the path walk, byte by byte, that follows the description of the C code.
fn naive_path(input: &[u8]) -> Vec<u8> {
    let relative = input[0] != b'/';
    let trailing = input[input.len() - 1] == b'/';
    let mut out: Vec<u8> = Vec::new();
    let mut at_root = false;
    let mut position = 0;
    while position < input.len() {
        let end = position + 1 == input.len();
        let byte = input[position];
        if (end || input[position + 1] == b'/') && byte != b'/' {
            if byte == b'.' && out.last() == Some(&b'.') {
                if relative && (at_root || out.len() <= 2) {
                    at_root = true;
                    out.push(b'.');
                    position += 1;
                    continue;
                }
                let mut cut = out.len().saturating_sub(3);
                while cut > 0 && out[cut] != b'/' {
                    cut -= 1;
                }
                out.truncate(cut);
                at_root |= cut == 0;
                position += 1;
                continue;
            } else if byte == b'.' && matches!(out.last(), None | Some(b'/')) {
                out.pop();
                position += 1;
                continue;
            } else if byte != b'.' && !out.is_empty() {
                at_root = false;
            }
        }
        if byte == b'/' && (out.last() == Some(&b'/') || (relative && out.is_empty())) {
            position += 1;
            continue;
        }
        out.push(byte);
        position += 1;
    }
    if !trailing && out.last() == Some(&b'/') {
        out.pop();
    }
    out
}

proptest! {
    #[test]
    fn a_path_is_what_the_naive_walk_makes_of_it(input in "[./ab]{1,14}") {
        prop_assert_eq!(
            applied(NormalizePath, input.as_bytes()),
            naive_path(input.as_bytes()),
            "{}", input
        );
    }

    #[test]
    fn without_a_trigger_no_value_changes(
        input in prop::collection::vec(any::<u8>(), 0..64),
        index in 0..Transformation::ALL.len(),
    ) {
        let transformation = Transformation::ALL[index];
        let triggers = transformation.triggers();
        let kept: Vec<u8> = input.into_iter().filter(|byte| !triggers.contains(*byte)).collect();
        unchanged_without_trigger(transformation, &kept);
    }

    #[test]
    fn nothing_grows_out_of_proportion(
        input in prop::collection::vec(any::<u8>(), 0..256),
        index in 0..Transformation::ALL.len(),
    ) {
        let found = applied(Transformation::ALL[index], &input);
        // A lead byte and its continuation (2 bytes) become six or seven; a digest has twenty.
        prop_assert!(found.len() <= 4 * input.len() + 20);
    }

    #[test]
    fn bytes_that_are_alike_to_a_decoder_are_passed_through(input in "[a-z ]{0,40}") {
        for transformation in [CssDecode, JsDecode, EscapeSeqDecode, HtmlEntityDecode, UrlDecodeUni] {
            prop_assert_eq!(applied(transformation, input.as_bytes()), input.as_bytes());
        }
    }
}
