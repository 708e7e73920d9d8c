//! Cross-site scripting: a value is read as HTML at each place where a page could put it, and what could run a script is an
//! attack.

mod events;
mod html;

use events::EVENTS;
use html::{Context, Token, Tokens};
use memchr::memchr;

/// Whether the value could run a script.
pub(super) fn detect(value: &[u8]) -> bool {
    let has = |byte| memchr(byte, value).is_some();
    (has(b'<') && is_attack_in(value, Context::Text))
        || is_attack_in(value, Context::Attributes)
        // Without the quote all of it is a value.
        || [b'\'', b'"', b'`']
            .into_iter()
            .any(|quote| has(quote) && is_attack_in(value, Context::Quoted(quote)))
}

/// What the value of an attribute is to a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Text,
    /// A script, or a style, which may have one.
    Script,
    Url,
    /// The name of an attribute.
    Name,
}

fn is_attack_in(value: &[u8], context: Context) -> bool {
    let mut meaning = Meaning::Text;
    Tokens::new(value, context).any(|token| {
        let of_value = std::mem::replace(&mut meaning, Meaning::Text);
        match token {
            Token::Other => false,
            Token::Doctype => true,
            Token::TagOpen(name) => is_bad_tag(name),
            Token::Comment(text) => is_bad_comment(text),
            Token::AttributeName(name) => {
                meaning = meaning_of(name);
                false
            }
            Token::AttributeValue(value) => match of_value {
                Meaning::Text => false,
                Meaning::Script => true,
                Meaning::Url => is_bad_url(value),
                Meaning::Name => meaning_of(value) != Meaning::Text,
            },
        }
    })
}

/// Tags that run scripts, load them, or change what others load.
const TAGS: &[&[u8]] = &[
    b"APPLET",
    b"BASE",
    b"COMMENT",
    b"EMBED",
    b"FRAME",
    b"FRAMESET",
    b"HANDLER",
    b"IFRAME",
    b"IMPORT",
    b"ISINDEX",
    b"LINK",
    b"LISTENER",
    b"META",
    b"NOSCRIPT",
    b"OBJECT",
    b"SCRIPT",
    b"STYLE",
    b"VMLFRAME",
    b"XML",
    b"XSS",
];

fn is_bad_tag(name: &[u8]) -> bool {
    let starts_with = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(start))
    };
    starts_with(b"SVG") || starts_with(b"XSL") || TAGS.iter().any(|tag| is(name, tag))
}

/// Whether the name is this word, in any case and with any NULs in it, which old browsers pass over.
fn is(name: &[u8], word: &[u8]) -> bool {
    shown(name).eq(word.iter().copied())
}

fn starts_with(name: &[u8], start: &[u8]) -> bool {
    let mut name = shown(name);
    start.iter().all(|byte| name.next() == Some(*byte))
}

/// The bytes that count, in capitals.
fn shown(name: &[u8]) -> impl Iterator<Item = u8> {
    let bytes = name.iter().filter(|byte| **byte != 0);
    bytes.map(u8::to_ascii_uppercase)
}

/// Attributes whose value is more than text.
const ATTRIBUTES: &[(&[u8], Meaning)] = &[
    (b"ACTION", Meaning::Url),
    (b"ATTRIBUTENAME", Meaning::Name),
    (b"BACKGROUND", Meaning::Url),
    (b"BY", Meaning::Url),
    (b"DATAFORMATAS", Meaning::Script),
    (b"DATASRC", Meaning::Script),
    (b"DYNSRC", Meaning::Url),
    (b"FILTER", Meaning::Script),
    (b"FOLDER", Meaning::Url),
    (b"FORMACTION", Meaning::Url),
    (b"FROM", Meaning::Url),
    (b"HANDLER", Meaning::Url),
    (b"HREF", Meaning::Url),
    (b"LOWSRC", Meaning::Url),
    (b"POSTER", Meaning::Url),
    (b"SRC", Meaning::Url),
    (b"STYLE", Meaning::Script),
    (b"TO", Meaning::Url),
    (b"VALUES", Meaning::Url),
    (b"XLINK:HREF", Meaning::Url),
];

fn meaning_of(name: &[u8]) -> Meaning {
    if name.len() >= 5
        && (starts_with(name, b"XMLNS") || starts_with(name, b"XLINK") || is_event(name))
    {
        return Meaning::Script;
    }
    ATTRIBUTES
        .iter()
        .find(|(word, _)| is(name, word))
        .map_or(Meaning::Text, |(_, meaning)| *meaning)
}

/// `on` and something that begins with an event.
fn is_event(name: &[u8]) -> bool {
    if !starts_with(name, b"ON") {
        return false;
    }
    let after = || shown(name).skip(2);
    // The last one that is not beyond the name is the only one that it can begin with (events.rs).
    let beyond = EVENTS.partition_point(|event| event.bytes().le(after()));
    beyond
        .checked_sub(1)
        .and_then(|last| EVENTS.get(last))
        .is_some_and(|event| {
            let mut after = after();
            event.bytes().all(|byte| after.next() == Some(byte))
        })
}

/// Schemes that run what follows, or show it as a page.
const SCHEMES: &[&[u8]] = &[b"DATA", b"VIEW-SOURCE", b"JAVA", b"VBSCRIPT"];

fn is_bad_url(value: &[u8]) -> bool {
    // Blanks, controls, and bytes that are no ASCII: some browsers skip blanks of Unicode.
    let start = value
        .iter()
        .take_while(|byte| !matches!(byte, b'!'..=b'~'))
        .count();
    let value = value.get(start..).unwrap_or_default();
    SCHEMES.iter().any(|scheme| url_starts_with(value, scheme))
}

/// Whether the value begins with the scheme once its character references are read. NULs and line feeds anywhere, and blanks at
/// the start, are passed over.
fn url_starts_with(value: &[u8], scheme: &[u8]) -> bool {
    let mut wanted = scheme.iter();
    let Some(mut next) = wanted.next() else {
        return true;
    };
    let mut rest = value;
    let mut is_first = true;
    while !rest.is_empty() {
        let (character, length) = character(rest);
        rest = rest.get(length..).unwrap_or_default();
        if (is_first && character <= 32) || matches!(character, 0 | 10) {
            continue;
        }
        is_first = false;
        // The C library compares the last eight bits.
        let [.., low] = character.to_be_bytes();
        if low.to_ascii_uppercase() != *next {
            return false;
        }
        match wanted.next() {
            Some(byte) => next = byte,
            None => return true,
        }
    }
    false
}

/// The largest character that a reference is read as, as the C library has it.
const LARGEST: u32 = 0x10_00ff;

/// The first character, and how many bytes it takes: a byte, or a numeric reference such as `&#x6a;`, with or without its
/// semicolon.
fn character(text: &[u8]) -> (u32, usize) {
    let ([first, ..], [b'&', b'#', after @ ..]) = (text, text) else {
        return (text.first().map_or(0, |byte| u32::from(*byte)), 1);
    };
    let ampersand = (u32::from(*first), 1);
    let (radix, digits) = match after {
        [b'x' | b'X', digits @ ..] => (16, digits),
        digits => (10, digits),
    };
    let start = text.len() - digits.len();
    let mut value = None;
    let mut length = start;
    for byte in digits {
        let Some(digit) = char::from(*byte).to_digit(radix) else {
            length += usize::from(*byte == b';' && value.is_some());
            break;
        };
        let read = value.unwrap_or(0) * radix + digit;
        if read > LARGEST {
            return ampersand;
        }
        value = Some(read);
        length += 1;
    }
    value.map_or(ampersand, |value| (value, length))
}

fn is_bad_comment(text: &[u8]) -> bool {
    let starts_with = |start: &[u8]| {
        text.get(..start.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(start))
    };
    // Internet Explorer ended tags with a backtick, and ran what was in conditional comments.
    memchr(b'`', text).is_some()
        || (text.len() > 3 && (starts_with(b"[IF") || starts_with(b"XML")))
        || starts_with(b"IMPORT")
        || starts_with(b"ENTITY")
}
