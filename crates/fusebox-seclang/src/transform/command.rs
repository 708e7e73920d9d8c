//! `cmdLine`.

/// What a shell reads, without what attackers hide it in: quotes, carets and backslashes are removed; commas,
/// semicolons and blanks become one space, none before a slash or a parenthesis; letters become lower case.
pub(super) fn normalize(input: &[u8], out: &mut Vec<u8>) {
    let mut after_space = false;
    for byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => continue,
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !after_space {
                    out.push(b' ');
                }
                after_space = true;
                continue;
            }
            b'/' | b'(' => {
                if after_space {
                    out.pop();
                }
                out.push(*byte);
            }
            byte => out.push(byte.to_ascii_lowercase()),
        }
        after_space = false;
    }
}
