use super::*;

/// A body of one field and one file, with CRLF for every newline.
const FORM: &str = "--B\nContent-Disposition: form-data; name=\"a\"\n\none\n\ntwo\n--B\n\
    Content-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\nContent-Type: text/plain\n\n1234\n\n--B--\n";

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn multipart(body: &str) -> Outcome {
    read_chunks(
        BodyKind::Multipart,
        "multipart/form-data; boundary=B",
        &[body.as_bytes()],
        Limits::default(),
    )
}

#[test]
fn a_multipart_body_is_fields_files_and_headers() {
    let (found, result, flags) = multipart(&crlf(FORM));
    assert_eq!(result, Ok(()));
    assert_eq!(
        found,
        [
            r#"header a=Content-Disposition: form-data; name=\"a\""#,
            r"arg a=one\r\n\r\ntwo",
            r#"header f=Content-Disposition: form-data; name=\"f\"; filename=\"x.txt\""#,
            "header f=Content-Type: text/plain",
            "file f=x.txt=6",
        ]
    );
    let flags = flags.unwrap();
    assert!(!flags.strict_error(), "{flags:?}");
    assert_eq!(flags.unmatched_boundary(), 0);
    assert!(!flags.mixed_lines());
}

#[test]
fn the_last_boundary_may_have_no_end_of_line() {
    let (found, result, flags) = multipart(crlf(FORM).trim_end());
    assert_eq!(result, Ok(()));
    assert_eq!(found.len(), 5);
    assert!(!flags.unwrap().strict_error());
}

#[test]
fn a_file_field_that_nobody_filled_in_is_a_field() {
    let body = "--B\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\n\n\n--B--\n";
    let (found, result, _flags) = multipart(&crlf(body));
    assert_eq!(result, Ok(()));
    assert_eq!(found[1..], ["arg f="]);
}

#[test]
fn what_is_odd_sets_its_flag() {
    let part = "--B\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
    let strict = |body: String, flag: fn(MultipartFlags) -> bool| {
        let (_found, result, flags) = multipart(&body);
        let flags = flags.unwrap();
        assert_eq!(result, Ok(()), "{body}");
        assert!(flag(flags) && flags.strict_error(), "{body} {flags:?}");
    };
    strict(crlf(&format!("x\n{part}--B--\n")), |flags| {
        flags.data_before
    });
    strict(crlf(&format!("{part}--B--\nx")), |flags| flags.data_after);
    strict(format!("{part}--B--\n"), |flags| {
        flags.lf_line && !flags.mixed_lines()
    });
    strict(
        format!("{}--B--\n", crlf(part)),
        MultipartFlags::mixed_lines,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace("; name", ";\n name"))),
        |flags| flags.header_folding && !flags.invalid_header_folding,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace("; name", ";\n\x0bname"))),
        |flags| flags.invalid_header_folding,
    );
    strict(
        crlf(&format!("{}--B--\n", part.replace('"', "'"))),
        |flags| flags.invalid_quoting,
    );
    strict(crlf(&format!("--B\n{part}--B--\n")), |flags| {
        flags.invalid_part
    });
}

#[test]
fn a_line_that_looks_like_a_boundary_is_noted_apart() {
    for (line, complete, expected) in [
        ("--C", true, 2),
        ("x--B", true, 2),
        ("--C", false, 1),
        ("-B", true, 0),
        ("-", true, 0),
    ] {
        let end = if complete { "--B--\n" } else { "" };
        let body = format!("--B\nContent-Disposition: form-data; name=\"a\"\n\n{line}\n{end}");
        let (_found, result, flags) = multipart(&crlf(&body));
        assert_eq!(flags.unwrap().unmatched_boundary(), expected, "{line}");
        assert_eq!(result.is_ok(), complete, "{line}");
        assert_eq!(flags.unwrap().strict_error(), !complete, "{line}");
    }
}

#[test]
fn what_is_ambiguous_is_an_error() {
    use MultipartProblem as P;
    let part = "--B\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
    for (body, problem) in [
        ("x\n".to_owned(), P::NoParts),
        (part.to_owned(), P::NoEnd),
        ("--Bx\n".to_owned(), P::BoundaryLine),
        ("--B--x\n".to_owned(), P::BoundaryLine),
        ("-- B\n".to_owned(), P::BlankBoundaryLine),
        (part.replace("form", "fo\0rm"), P::HeaderNul),
        (part.replace("name", &"n".repeat(5000)), P::HeaderTooLong),
        (part.replace("--B\n", "--B\n X: y\n"), P::HeaderFolding),
        (part.replace("--B\n", "--B\nX\n"), P::HeaderColon),
        (part.replace("--B\n", "--B\n: x\n"), P::HeaderName),
        (
            part.replace("--B\n", "--B\ncontent-disposition: x\n"),
            P::HeaderTwice,
        ),
        ("--B\nX: y\n\n".to_owned(), P::NoDisposition),
        (part.replace("form-data", "attachment"), P::Disposition),
        (part.replace("name=\"a\"", "name=\"\""), P::NoName),
        (
            format!(
                "--B\n{}",
                (0..100).map(|i| format!("x{i}: y\n")).collect::<String>()
            ),
            P::TooManyHeaders,
        ),
    ] {
        let (_found, result, flags) = multipart(&crlf(&body));
        assert_eq!(result, Err(BodyError::Multipart(problem)), "{body}");
        assert!(flags.unwrap().error && flags.unwrap().strict_error());
    }
    let quoted = "multipart/form-data; boundary=\"B\"";
    let (_, result, _) = read_chunks(
        BodyKind::Multipart,
        quoted,
        &[b"--\"B\"\r\n"],
        Limits::default(),
    );
    assert_eq!(result, Err(BodyError::Multipart(P::QuotedBoundaryLine)));
    let (_, result, flags) = read_chunks(
        BodyKind::Multipart,
        "multipart/form-data",
        &[b"x"],
        Limits::default(),
    );
    assert_eq!(result, Err(BodyError::Multipart(P::NoBoundary)));
    assert!(flags.unwrap().strict_error());
}

#[test]
fn long_lines_of_data_stay_whole() {
    for length in 4090..4100 {
        let data = "x".repeat(length);
        let body =
            format!("--B\nContent-Disposition: form-data; name=\"a\"\n\n{data}\n{data}\n--B--\n");
        let (found, result, flags) = multipart(&crlf(&body));
        assert_eq!(result, Ok(()));
        assert_eq!(found[1], format!("arg a={data}\\r\\n{data}"), "{length}");
        assert!(!flags.unwrap().strict_error());
    }
}
