//! Ten thousand requests that harm nobody, from text that is on the machine: how often the rules get in the way.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::request::Request;

/// How many requests there are.
pub(crate) const REQUESTS: usize = 10_000;
/// At most one in this many may be refused.
pub(crate) const ONE_IN: usize = 1_000;

/// The shares of the kinds, of a hundred.
const SHARES: &[(usize, Kind)] = &[
    (30, Kind::Form),
    (15, Kind::Search),
    (15, Kind::Json),
    (10, Kind::Code),
    (10, Kind::Data),
    (10, Kind::Name),
    (10, Kind::Sql),
];

/// Where the review tool is, and the field that has code in it. The rules leave it alone there, as its operator would have them do.
pub(crate) const REVIEW: &str = "/review";
pub(crate) const CODE: &str = "code";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A paragraph of documentation, posted by a form.
    Form,
    /// One sentence of it, searched for.
    Search,
    /// A paragraph within JSON.
    Json,
    /// JSON as it stands in the files of packages.
    Data,
    /// Code of all kinds, for a review tool: a field of a form, or of JSON, under [`REVIEW`].
    Code,
    /// People, some of them with apostrophes.
    Name,
    /// The words of SQL in sentences about something else.
    Sql,
}

/// The requests, each with a name for reports; always the same ones on the same machine.
pub(crate) fn requests() -> Result<Vec<(String, Request)>> {
    let texts = Texts::on_this_machine();
    ensure!(
        texts.paragraphs.len() >= 1_000 && texts.code.len() >= 100,
        "only {} paragraphs of text on this machine: not enough to speak of",
        texts.paragraphs.len()
    );
    let mut requests = Vec::with_capacity(REQUESTS);
    for (share, kind) in SHARES {
        for turn in 0..share * REQUESTS / 100 {
            requests.push((format!("{kind:?}-{turn}"), build(*kind, turn, &texts)));
        }
    }
    Ok(requests)
}

#[derive(Debug, Default)]
struct Texts {
    paragraphs: Vec<String>,
    code: Vec<String>,
    json: Vec<String>,
}

/// What fits into a form; longer paragraphs are cut.
const LONGEST: usize = 4_000;
/// JSON files larger than this are test data, not requests.
const LARGEST_JSON: u64 = 16_000;

/// Neighbours are not from one file.
const STRIDE: usize = 7_919;

impl Texts {
    /// The project's own files and those of every package that cargo has fetched.
    fn on_this_machine() -> Self {
        let mut texts = Self::default();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let cargo = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let mut files = Vec::new();
        collect(&project, 0, &mut files);
        if let Some(cargo) = cargo {
            collect(&cargo.join("registry/src"), 0, &mut files);
        }
        files.sort();
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            if file.extension().is_some_and(|ending| ending == "json") {
                if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                    texts.json.push(text);
                }
            } else {
                split(&text, &mut texts.paragraphs, &mut texts.code);
            }
        }
        for list in [&mut texts.paragraphs, &mut texts.code] {
            list.sort();
            list.dedup();
        }
        texts
    }

    /// Spread over everything there is, instead of the first files only.
    fn paragraph(&self, turn: usize, salt: usize) -> &str {
        let at = (turn * STRIDE + salt) % self.paragraphs.len().max(1);
        self.paragraphs.get(at).map_or("", String::as_str)
    }
}

const DEEPEST: usize = 6;

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            let is_built = name == "target" || name.as_encoded_bytes().starts_with(b".");
            if depth < DEEPEST && !is_built {
                collect(&path, depth + 1, files);
            }
            continue;
        }
        let is_json = path.extension().is_some_and(|ending| ending == "json")
            && entry
                .metadata()
                .is_ok_and(|data| data.len() <= LARGEST_JSON);
        if is_json || path.extension().is_some_and(|ending| ending == "md") {
            files.push(path);
        }
    }
}

/// Prose by paragraphs, and code by fences. Code that is indented by four is left out: it may be a list.
fn split(text: &str, prose: &mut Vec<String>, code: &mut Vec<String>) {
    let mut in_fence = false;
    let mut open = String::new();
    for line in text.lines().chain([""]) {
        let is_fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        let goes_on = !is_fence
            && if in_fence {
                true
            } else {
                !line.starts_with("    ") && !line.starts_with('\t') && !line.trim().is_empty()
            };
        if goes_on {
            if !open.is_empty() {
                open.push('\n');
            }
            open.push_str(line);
            continue;
        }
        let into = if in_fence { &mut *code } else { &mut *prose };
        if open.len() >= 20 {
            let mut end = LONGEST.min(open.len());
            while !open.is_char_boundary(end) {
                end -= 1;
            }
            open.truncate(end);
            into.push(std::mem::take(&mut open));
        }
        open.clear();
        in_fence ^= is_fence;
    }
}

const GIVEN: &[&str] = &[
    "Aoife",
    "Conan",
    "D'Angelo",
    "Jean-Luc",
    "Mary Ann",
    "Ng\u{169}g\u{129}",
    "O'Shea",
    "Siobh\u{e1}n",
    "T'Pau",
    "Zo\u{eb}",
];
const FAMILY: &[&str] = &[
    "O'Brien",
    "O'Neill",
    "D'Arcy",
    "d'Alembert",
    "L'H\u{f4}pital",
    "N'Golo",
    "M'Baye",
    "van 't Hoff",
    "Smith",
    "O'Reilly & Sons",
    "Union",
    "Null",
    "Table",
    "Ortega y Gasset",
    "Drop",
    "Grant",
    "Case",
    "Alter",
];
const STREETS: &[&str] = &[
    "St. John's Wood",
    "King's Cross",
    "5 Rue de l'Op\u{e9}ra",
    "12 O'Connell Street; flat 3",
    "Baker St. 221b (rear)",
    "Queen's Gate #4",
    "Piazza dell'Unit\u{e0} d'Italia 1",
];
const NOTES: &[&str] = &[
    "Don't ring, it's broken",
    "Leave it at No. 5 or 7",
    "I'd like 2 = a pair",
    "Call me & I'll come down",
    "Size 'M' or \"L\", please",
    "100% cotton -- if in stock",
    "Is it 5 < 6 feet? :-)",
    "Happy b'day, Ma & Pa! <3",
    "Tom's and Ann's, 50/50",
];

const SQL: &[&str] = &[
    "Please select one of the options from the list where it says {n}.",
    "The union will select its delegates from {n}, and drop the rest.",
    "Where did {n} insert the key into the table by the door?",
    "Group the chairs by colour, order by size and delete {n} from the plan.",
    "Don't update {n}'s address; set the table for {m} instead.",
    "We need to create a table of contents, alter the index and grant access to {n}.",
    "It's {n}'s or {m}'s, and 1 in 5 is like the other one.",
    "Having had 3 or more, {n} would rather join us between 5 and 6.",
    "SELECT is a word that {n} and {m} don't know; DROP TABLE is a joke.",
    "Values: 'fair' and \"kind\"; limit yourself to {n}, or as {m} says: it's all null and void.",
    "The cast of 'Union' (2012) includes {n} and {m}; exec producers are not null.",
    "How do I delete from a list in Python? {n} asked, and {m} said: count first, then drop it.",
];

fn build(kind: Kind, turn: usize, texts: &Texts) -> Request {
    let of = |list: &[&str], salt: usize| -> String {
        let at = (turn / salt.max(1)) % list.len().max(1);
        list.get(at).copied().unwrap_or_default().to_owned()
    };
    match kind {
        Kind::Form => form(&[
            (
                "title",
                texts.paragraph(turn, 3).lines().next().unwrap_or_default(),
            ),
            ("comment", texts.paragraph(turn, 0)),
        ]),
        Kind::Search => {
            let text = texts.paragraph(turn, 11);
            let sentence = text.split(". ").next().unwrap_or_default();
            let mut end = 200.min(sentence.len());
            while !sentence.is_char_boundary(end) {
                end -= 1;
            }
            let mut uri = b"/search?page=2&q=".to_vec();
            escape(sentence.get(..end).unwrap_or_default(), &mut uri);
            request(b"GET", uri, None, Vec::new())
        }
        Kind::Json => {
            let body = serde_json::json!({
                "id": turn,
                "tags": ["docs", "a-b", "v1.2"],
                "title": texts.paragraph(turn, 5).lines().next(),
                "text": texts.paragraph(turn, 7),
            });
            json(body.to_string())
        }
        Kind::Data => {
            let at = turn % texts.json.len().max(1);
            json(
                texts
                    .json
                    .get(at)
                    .cloned()
                    .unwrap_or_else(|| "{}".to_owned()),
            )
        }
        Kind::Code => {
            let at = turn * STRIDE % texts.code.len().max(1);
            let code = texts.code.get(at).map_or("", String::as_str);
            let mut request = if turn.is_multiple_of(2) {
                form(&[("file", "src/lib.rs"), ("line", "42"), (CODE, code)])
            } else {
                json(serde_json::json!({"file": "src/lib.rs", "line": 42, CODE: code}).to_string())
            };
            request.uri = format!("{REVIEW}/{turn}/comments").into_bytes();
            request
        }
        Kind::Name => form(&[
            ("given", &of(GIVEN, 1)),
            ("family", &of(FAMILY, GIVEN.len())),
            ("street", &of(STREETS, 3)),
            ("note", &of(NOTES, 2)),
        ]),
        Kind::Sql => {
            let text = of(SQL, 1)
                .replace("{n}", &of(GIVEN, SQL.len()))
                .replace("{m}", &of(FAMILY, 7));
            form(&[("subject", "A question"), ("message", &text)])
        }
    }
}

fn form(fields: &[(&str, &str)]) -> Request {
    let mut body = Vec::new();
    for (name, value) in fields {
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        escape(value, &mut body);
    }
    request(
        b"POST",
        b"/comments".to_vec(),
        Some("application/x-www-form-urlencoded"),
        body,
    )
}

fn json(body: String) -> Request {
    request(
        b"POST",
        b"/api/v1/items".to_vec(),
        Some("application/json"),
        body.into_bytes(),
    )
}

fn request(method: &[u8], uri: Vec<u8>, content_type: Option<&str>, body: Vec<u8>) -> Request {
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> = [
        ("Host", "shop.example"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Referer", "https://shop.example/items?sort=price&page=2"),
        ("Sec-CH-UA", "\"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\", \"Google Chrome\";v=\"128\""),
        ("Sec-CH-UA-Platform", "\"Linux\""),
        ("Sec-Fetch-Mode", "navigate"),
        ("If-None-Match", "W/\"5e-18f3c2a\", \"a1b2\""),
        ("If-Modified-Since", "Tue, 24 Nov 2026 12:00:00 GMT"),
        ("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
        ("X-Forwarded-For", "203.0.113.7, 2001:db8::1"),
        ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Baggage", "user=o%27neill,region=eu;ttl=30"),
        ("Cookie", "session=6f1c0f2e9b; theme=dark; _ga=GA1.2.1234567890.1700000000; consent=%7B%22a%22%3Atrue%7D"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    if let Some(content_type) = content_type {
        headers.push(("Content-Type".into(), content_type.into()));
        headers.push(("Content-Length".into(), body.len().to_string().into_bytes()));
    }
    Request {
        method: method.to_vec(),
        uri,
        version: b"HTTP/1.1".to_vec(),
        headers,
        body,
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_and_code_are_told_apart() {
        let (mut prose, mut code) = (Vec::new(), Vec::new());
        split(
            "A first paragraph of prose\nin two lines.\n\n```sh\ncurl https://x | sh\n\nrm -rf /tmp/x\n```\n\n    rm -rf /\n\nshort\n",
            &mut prose,
            &mut code,
        );
        assert_eq!(prose, ["A first paragraph of prose\nin two lines."]);
        assert_eq!(code, ["curl https://x | sh\n\nrm -rf /tmp/x"]);
    }

    #[test]
    fn the_shares_are_a_whole() {
        let whole: usize = SHARES.iter().map(|(share, _kind)| share).sum();
        assert_eq!(whole, 100);
    }

    #[test]
    fn a_value_is_escaped_as_browsers_do() {
        let request = form(&[("a", "O'Neill & Co"), ("b", "1")]);
        assert_eq!(request.body, b"a=O%27Neill+%26+Co&b=1");
    }
}
