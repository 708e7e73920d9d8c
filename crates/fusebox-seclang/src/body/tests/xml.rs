use super::*;

#[test]
fn xml_is_text_and_attributes() {
    finds(
        BodyKind::Xml,
        r#"<?xml version="1.0"?><r a="1" b='&lt;x&#39;&#x3e;'><c d="2"/> t&amp;u<![CDATA[<v>]]> <!-- no --><e>w</e></r>"#,
        &[
            "attribute 1",
            r"attribute <x\'>",
            "attribute 2",
            "text no",
            "text t&u<v>",
            "text w",
            "text t&u<v> w",
        ],
    );
    finds(
        BodyKind::Xml,
        r#"<s:Envelope xmlns:s="http://x" xmlns="http://y" s:z="1"></s:Envelope>"#,
        &["attribute 1"],
    );
    finds(BodyKind::Xml, "", &[]);
}

#[test]
fn xml_expands_nothing_but_shows_what_is_declared() {
    let (found, result) = read(
        BodyKind::Xml,
        br#"<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r a="&lt;&x;&y">&x;</r>"#,
    );
    assert_eq!(result, Err(BodyError::XmlEntity));
    assert_eq!(
        found,
        [
            r#"text r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]"#,
            "attribute <&x;&y",
            "text &x;",
        ]
    );
    finds(BodyKind::Xml, "<!DOCTYPE html><r>x</r>", &["text x"]);
}

#[test]
fn nothing_but_a_tag_parts_a_text_in_xml() {
    finds(
        BodyKind::Xml,
        "<r>un<!-- a -->i<?b c?>o<![CDATA[n]]>&#32;<![CDATA[]]>select</r>",
        &["text a", "text b c", "text union select"],
    );
}

#[test]
fn what_is_beside_the_tree_of_xml_is_a_text_of_its_own() {
    finds(
        BodyKind::Xml,
        r#"<!DOCTYPE r SYSTEM "http://x/y.dtd"><!-- a --><?b c?><r/><!----><!-- d -->"#,
        &[
            r#"text r SYSTEM \"http://x/y.dtd\""#,
            "text a",
            "text b c",
            "text d",
        ],
    );
}

#[test]
fn text_with_tags_in_it_is_also_shown_as_a_whole() {
    finds(
        BodyKind::Xml,
        "<r><p>un<b>i<i/>on</b> sel<i>ect</i></p><q>x<b>y</b></q><z>z</z> <z>z</z></r>",
        &[
            "text un",
            "text i",
            "text on",
            "text sel",
            "text ect",
            "text x",
            "text y",
            "text z",
            "text z",
            "text union select",
            "text xy",
        ],
    );
    // Only the outermost, or a deep document would be shown as often as it is deep.
    finds(
        BodyKind::Xml,
        "<r>a<s>b<t>c</t></s></r>",
        &["text a", "text b", "text c", "text abc"],
    );
}

#[test]
fn a_text_that_empty_elements_part_is_also_a_whole() {
    finds(
        BodyKind::Xml,
        "<r><q>un<i/>ion sel<i></i>ect</q> <i/> <z><i/>z<i/> </z></r>",
        &[
            "text un",
            "text ion sel",
            "text ect",
            "text z",
            "text union select",
        ],
    );
}

#[test]
fn xml_in_utf_16_is_read_and_in_an_unknown_encoding_is_an_error() {
    let wide: Vec<u8> = "<r a='1'>union select</r>"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let (found, result) = read(BodyKind::Xml, &wide);
    assert_eq!(result, Ok(()));
    assert_eq!(found, ["attribute 1", "text union select"]);
    let utf_7 = b"<?xml version='1.0' encoding='UTF-7'?>+ADw-r+AD4-";
    let (found, result) = read(BodyKind::Xml, utf_7);
    assert_eq!(
        result,
        Err(BodyError::XmlEncoding {
            name: "UTF-7".into()
        })
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn xml_in_another_encoding_keeps_its_bytes() {
    let (found, result) = read(BodyKind::Xml, b"<r a='\xe9&#8216;'>\xff</r>");
    assert_eq!(result, Ok(()));
    assert_eq!(found, [r"attribute \xe9\xe2\x80\x98", r"text \xff"]);
}

#[test]
fn what_is_no_xml_is_an_error() {
    for body in [
        "<a>",
        "<a></b>",
        "x",
        "<a b></a",
        "<a><![CDATA[x</a>",
        "</a>",
        "<a b=1/>",
        "<a",
    ] {
        assert!(
            matches!(
                read(BodyKind::Xml, body.as_bytes()).1,
                Err(BodyError::Xml { .. })
            ),
            "{body}"
        );
    }
    let deep = "<a>".repeat(300);
    assert_eq!(
        read(BodyKind::Xml, deep.as_bytes()).1,
        Err(BodyError::XmlTooDeep { limit: 256 })
    );
}
