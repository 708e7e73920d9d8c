/// Tells `found` each cookie of a `Cookie` header: its name and its value, neither decoded.
///
/// As ModSecurity reads it: cookies are parted by `;`, a name has no blanks before it, a value begins after the first
/// `=` and may be missing, a cookie without a name is none.
///
/// ```
/// let mut found = Vec::new();
/// fusebox_seclang::body::cookies(b"a=1; b; =x;;c=d=e ", |name, value| found.push((name, value)));
/// assert_eq!(found, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"d=e")]);
/// ```
pub fn cookies<'a>(header: &'a [u8], mut found: impl FnMut(&'a [u8], &'a [u8])) {
    // RFC 6265 section 5.4: blanks at the end belong to the header, not to the last cookie.
    for cookie in header.trim_ascii_end().split(|byte| *byte == b';') {
        let mut halves = cookie.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii_start();
        if !name.is_empty() {
            found(name, halves.next().unwrap_or_default());
        }
    }
}
