//! The transformations of SecLang: what a value is turned into before an operator looks at it.
//!
//! Each is a function of bytes, linear in time, with the semantics of ModSecurity 3; where its code, its reference and
//! its predecessor disagree, the comment of the function says what was chosen. None can fail.

mod base64;
mod best_fit;
mod command;
mod comments;
mod digest;
mod hex;
mod html;
mod known;
mod parity;
mod path;
mod scan;
mod script;
mod space;
#[cfg(test)]
mod tests;
pub(crate) mod url;
mod utf8;

pub(crate) use scan::hex as hex_digit;

use crate::ByteSet;

macro_rules! transformations {
    ($($(#[$doc:meta])* $name:ident: $($text:literal)|+;)+) => {
        /// A transformation of SecLang, named as in `t:name`.
        ///
        /// `t:none` is not one of them: it empties the list of a rule, so it is the parser's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Transformation {
            $($(#[$doc])* $name,)+
        }

        impl Transformation {
            /// Every transformation there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The transformation of this name, in any case: rule writers mix `base64decode` and `base64Decode`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $($(if name.eq_ignore_ascii_case($text) {
                    return Some(Self::$name);
                })+)+
                None
            }

            /// Its name in the reference.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => first(&[$($text),+]),)+
                }
            }
        }
    };
}

const fn first(names: &[&'static str]) -> &'static str {
    match names {
        [first, ..] => first,
        [] => "",
    }
}

transformations! {
    /// Decodes Base64 (RFC 4648) up to the first byte that does not belong there.
    Base64Decode: "base64Decode";
    /// Decodes Base64 and skips what does not belong there.
    Base64DecodeExt: "base64DecodeExt";
    /// Encodes as Base64.
    Base64Encode: "base64Encode";
    /// Normalises a command line: no quotes, single spaces, lower case.
    CmdLine: "cmdLine";
    /// Turns every run of blanks into one space.
    CompressWhitespace: "compressWhitespace";
    /// Decodes the escapes of CSS 2.
    CssDecode: "cssDecode";
    /// Decodes the escapes of ANSI C.
    EscapeSeqDecode: "escapeSeqDecode";
    /// Decodes pairs of hexadecimal digits.
    HexDecode: "hexDecode";
    /// Writes every byte as two hexadecimal digits.
    HexEncode: "hexEncode";
    /// Decodes the entities of HTML.
    HtmlEntityDecode: "htmlEntityDecode";
    /// Decodes the escapes of JavaScript.
    JsDecode: "jsDecode";
    /// The number of bytes, in decimal.
    Length: "length";
    /// Turns ASCII letters to lower case.
    Lowercase: "lowercase";
    /// The MD5 digest, raw.
    Md5: "md5";
    /// Removes empty, self and back references from a path.
    NormalizePath: "normalizePath" | "normalisePath";
    /// The same with backslashes for slashes.
    NormalizePathWin: "normalizePathWin" | "normalisePathWin";
    /// Gives seven-bit bytes even parity.
    ParityEven7bit: "parityEven7bit";
    /// Gives seven-bit bytes odd parity.
    ParityOdd7bit: "parityOdd7bit";
    /// Clears the high bit of every byte.
    ParityZero7bit: "parityZero7bit";
    /// Removes comments.
    RemoveComments: "removeComments";
    /// Removes the marks of comments and leaves what is between them.
    RemoveCommentsChar: "removeCommentsChar";
    /// Removes NUL bytes.
    RemoveNulls: "removeNulls";
    /// Removes blanks.
    RemoveWhitespace: "removeWhitespace";
    /// Turns every `/* ... */` into a space.
    ReplaceComments: "replaceComments";
    /// Turns NUL bytes into spaces.
    ReplaceNulls: "replaceNulls";
    /// The SHA-1 digest, raw.
    Sha1: "sha1";
    /// Decodes SQL's hexadecimal literals.
    SqlHexDecode: "sqlHexDecode";
    /// Removes blanks from both ends.
    Trim: "trim";
    /// Removes blanks from the beginning.
    TrimLeft: "trimLeft";
    /// Removes blanks from the end.
    TrimRight: "trimRight";
    /// Turns ASCII letters to upper case.
    Uppercase: "uppercase";
    /// Decodes URL encoding.
    UrlDecode: "urlDecode";
    /// Decodes URL encoding and Microsoft's `%uHHHH`.
    UrlDecodeUni: "urlDecodeUni";
    /// Encodes for a URL.
    UrlEncode: "urlEncode";
    /// Turns UTF-8 into `%uHHHH`.
    Utf8ToUnicode: "utf8toUnicode";
}

impl Transformation {
    /// Appends what `input` becomes to `out` and returns `true`, or, if it stays as it is, appends nothing and returns
    /// `false`.
    ///
    /// ```
    /// use fusebox_seclang::Transformation;
    ///
    /// let mut out = Vec::new();
    /// assert!(Transformation::UrlDecodeUni.apply(b"%3Cscript%u003e", &mut out));
    /// assert_eq!(out, b"<script>");
    /// assert!(!Transformation::UrlDecodeUni.apply(b"100% cotton", &mut out));
    /// assert_eq!(out, b"<script>");
    /// ```
    pub fn apply(self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.write(input, out);
        // Whatever the function did, this is the truth: multiMatch and the cache of the engine rely on it.
        let changed = out.get(start..) != Some(input);
        if !changed {
            out.truncate(start);
        }
        changed
    }

    fn write(self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Base64Decode => base64::decode(input, out),
            Self::Base64DecodeExt => base64::decode_forgiving(input, out),
            Self::Base64Encode => base64::encode(input, out),
            Self::CmdLine => command::normalize(input, out),
            Self::CompressWhitespace => space::compress(input, out),
            Self::CssDecode => script::css(input, out),
            Self::EscapeSeqDecode => script::ansi_c(input, out),
            Self::HexDecode => hex::decode(input, out),
            Self::HexEncode => hex::encode(input, out),
            Self::HtmlEntityDecode => html::decode(input, out),
            Self::JsDecode => script::js(input, out),
            Self::Length => digest::length(input, out),
            Self::Lowercase => each(input, out, |byte| byte.to_ascii_lowercase()),
            Self::Md5 => digest::md5(input, out),
            Self::NormalizePath => path::normalize(input, out),
            Self::NormalizePathWin => path::normalize_win(input, out),
            Self::ParityEven7bit => each(input, out, parity::even),
            Self::ParityOdd7bit => each(input, out, parity::odd),
            Self::ParityZero7bit => each(input, out, parity::zero),
            Self::RemoveComments => comments::remove(input, out),
            Self::RemoveCommentsChar => comments::remove_marks(input, out),
            Self::RemoveNulls => space::remove_nulls(input, out),
            Self::RemoveWhitespace => space::remove(input, out),
            Self::ReplaceComments => comments::replace(input, out),
            Self::ReplaceNulls => each(input, out, space::replace_null),
            Self::Sha1 => digest::sha1(input, out),
            Self::SqlHexDecode => hex::sql(input, out),
            Self::Trim => space::trim(input, out),
            Self::TrimLeft => space::trim_left(input, out),
            Self::TrimRight => space::trim_right(input, out),
            Self::Uppercase => each(input, out, |byte| byte.to_ascii_uppercase()),
            Self::UrlDecode => url::decode(input, out),
            Self::UrlDecodeUni => url::decode_uni(input, out),
            Self::UrlEncode => url::encode(input, out),
            Self::Utf8ToUnicode => utf8::to_unicode(input, out),
        }
    }

    /// The bytes without any of which a value stays as it is: no work for a value that has none of them.
    ///
    /// For [`Length`](Self::Length), [`Md5`](Self::Md5) and [`Sha1`](Self::Sha1) that is every byte, and still an
    /// empty value, which has none, changes: ask [`may_change`](Self::may_change).
    #[must_use]
    pub const fn triggers(self) -> ByteSet {
        const BLANK: ByteSet = ByteSet::SPACE.with(space::NO_BREAK_SPACE);
        match self {
            Self::Base64Decode
            | Self::Base64DecodeExt
            | Self::Base64Encode
            | Self::HexDecode
            | Self::HexEncode
            | Self::Length
            | Self::Md5
            | Self::Sha1 => ByteSet::FULL,
            Self::CmdLine => ByteSet::UPPERCASE.union(ByteSet::of(b"\"'\\^ ,;\t\r\n")),
            Self::CompressWhitespace | Self::RemoveWhitespace => BLANK,
            Self::CssDecode | Self::EscapeSeqDecode | Self::JsDecode => ByteSet::of(b"\\"),
            Self::HtmlEntityDecode => ByteSet::of(b"&"),
            Self::Lowercase => ByteSet::UPPERCASE,
            Self::NormalizePath => ByteSet::of(b"/."),
            Self::NormalizePathWin => ByteSet::of(b"/\\."),
            Self::ParityEven7bit => EVEN_PARITY,
            Self::ParityOdd7bit => ODD_PARITY,
            Self::ParityZero7bit => ByteSet::HIGH,
            Self::RemoveComments => ByteSet::of(b"/<-#"),
            Self::RemoveCommentsChar => ByteSet::of(b"/*<-#"),
            Self::RemoveNulls | Self::ReplaceNulls => ByteSet::of(b"\0"),
            Self::ReplaceComments => ByteSet::of(b"/"),
            Self::SqlHexDecode => ByteSet::of(b"0"),
            Self::Trim | Self::TrimLeft | Self::TrimRight => ByteSet::SPACE,
            Self::Uppercase => ByteSet::LOWERCASE,
            Self::UrlDecode | Self::UrlDecodeUni => ByteSet::of(b"%+"),
            Self::UrlEncode => ENCODED,
            // The bytes that begin a sequence.
            Self::Utf8ToUnicode => ByteSet::range(0xc0, 0xf7),
        }
    }

    /// Whether a value with these bytes in it might change.
    #[must_use]
    pub const fn may_change(self, present: ByteSet) -> bool {
        match self {
            Self::Length | Self::Md5 | Self::Sha1 => true,
            _ => present.intersects(self.triggers()),
        }
    }
}

fn each(input: &[u8], out: &mut Vec<u8>, change: impl Fn(u8) -> u8) {
    out.extend(input.iter().map(|byte| change(*byte)));
}

/// The bytes for which a condition holds, found by asking for each.
macro_rules! bytes_where {
    ($byte:ident => $condition:expr) => {{
        let mut set = ByteSet::EMPTY;
        let mut $byte = 0_u8;
        loop {
            if $condition {
                set = set.with($byte);
            }
            if $byte == u8::MAX {
                break set;
            }
            $byte += 1;
        }
    }};
}

const EVEN_PARITY: ByteSet = bytes_where!(byte => parity::even(byte) != byte);
const ODD_PARITY: ByteSet = bytes_where!(byte => parity::odd(byte) != byte);
const ENCODED: ByteSet = bytes_where!(byte => !url::is_kept(byte));
