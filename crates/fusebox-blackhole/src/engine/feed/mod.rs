//! Reads published lists, and refuses what cannot be one.
//!
//! A feed comes from somebody else's server every hour for years. One day it will be an error page, half a file, or
//! somebody's idea of a joke: a list with `0.0.0.0/0` in it bans the world. So a feed is taken as a whole or not at
//! all, and where it is not, the one before stays in force.

mod limits;

use std::fmt;

use serde_json::{Map, Value};

pub use limits::{FeedLimits, FeedLimitsError};

use super::{
    network::{Network, NetworkError},
    never::Never,
};

/// No address with its remarks is longer: the longest lines in published lists have some 120 bytes.
const LONGEST_LINE: usize = 4_096;

/// How a feed is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FeedFormat {
    /// Spamhaus DROP, in either of its forms; each line says which it is.
    ///
    /// - JSON: `{"cidr":"192.0.2.0/24","sblid":"SBL123456","rir":"arin"}` in each line, and in the last one what the
    ///   list is: `{"type":"metadata","timestamp":1750000000,"records":1}`. Without that line, or with another number of
    ///   records than it tells, the file is half a list.
    /// - Text, which Spamhaus gives up: `192.0.2.0/24 ; SBL123456`, with remarks behind `;`.
    SpamhausDrop,
    /// `FireHOL`'s `.netset` and `.ipset`: one address or block a line, with remarks behind `#`.
    FireHol,
    /// One address or block a line, with remarks behind `#` or `;`.
    #[default]
    Plain,
}

impl FeedFormat {
    const fn remarks(self) -> &'static [u8] {
        match self {
            Self::SpamhausDrop => b";",
            Self::FireHol => b"#",
            Self::Plain => b"#;",
        }
    }
}

/// Why a feed was refused. The one before it stays in force.
#[derive(Debug)]
#[non_exhaustive]
pub enum FeedError {
    /// The file could not be read.
    Io(std::io::Error),
    /// A line is not what a line must be.
    Line {
        /// Which, the first being 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// It has more bytes than are read.
    TooLarge {
        /// How many are read.
        most: u64,
    },
    /// It does not say, as it should in its last line, how many records it has.
    CutOff,
    /// It says that it has another number of records than it has.
    Incomplete {
        /// How many it says.
        told: u64,
        /// How many it has.
        records: usize,
    },
    /// It has fewer records than a list has.
    TooFew {
        /// How many it has.
        records: usize,
        /// How many it must have.
        least: usize,
    },
    /// It has more records than are taken. Reading stopped there.
    TooMany {
        /// How many are taken.
        most: usize,
    },
    /// Its blocks are more of IPv4, or of IPv6, than any list has.
    TooMuch {
        /// Which of the two.
        of: &'static str,
        /// How much they are in per cent of all IPv4 addresses, or of the IPv6 addresses that are given out, rounded down.
        percent: u64,
        /// How much is taken.
        most: u32,
    },
    /// It has lost too many of its records.
    Collapsed {
        /// How many there were.
        before: usize,
        /// How many there are.
        now: usize,
    },
    /// It has become too many records at once.
    Exploded {
        /// How many there were.
        before: usize,
        /// How many there are.
        now: usize,
    },
}

/// What is wrong with a line of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineProblem {
    /// It is no text.
    NotText,
    /// It is longer than any line of a list.
    TooLong,
    /// It is neither an address nor a block.
    NotANetwork(NetworkError),
    /// It begins as JSON does, and is no object.
    NotJson,
    /// It is a record without a text in `cidr`, or metadata without a number in `records`.
    NoCidr,
    /// It covers an address that must never be banned, or one that is not on the internet.
    Forbidden(Network),
    /// It is a larger block than a list may have.
    TooWide {
        /// What it is.
        network: Network,
        /// The shortest prefix that is taken.
        shortest: u8,
    },
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("not a text"),
            Self::TooLong => write!(f, "longer than {LONGEST_LINE} bytes"),
            Self::NotANetwork(error) => error.fmt(f),
            Self::NotJson => f.write_str("not a JSON object"),
            Self::NoCidr => {
                f.write_str("an object without \"cidr\", or metadata without \"records\"")
            }
            Self::Forbidden(network) => {
                write!(
                    f,
                    "{network} covers a private, reserved or never-banned address"
                )
            }
            Self::TooWide { network, shortest } => {
                write!(f, "{network} is larger than a /{shortest}")
            }
        }
    }
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the feed could not be read"),
            Self::Line { line, problem } => write!(f, "line {line}: {problem}"),
            Self::TooLarge { most } => write!(f, "more than {most} bytes"),
            Self::CutOff => f.write_str("no metadata in the last line: the file is cut off"),
            Self::Incomplete { told, records } => {
                write!(f, "{records} records, and it says that it has {told}")
            }
            Self::TooFew { records, least } => {
                write!(f, "{records} records, and it must have at least {least}")
            }
            Self::TooMuch { of, percent, most } => {
                write!(
                    f,
                    "{percent}% of all {of} addresses, and no more than {most}% are taken"
                )
            }
            Self::TooMany { most } => write!(f, "more than {most} records"),
            Self::Collapsed { before, now } => {
                write!(f, "collapsed from {before} records to {now}")
            }
            Self::Exploded { before, now } => write!(f, "exploded from {before} records to {now}"),
        }
    }
}

impl std::error::Error for FeedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads a whole feed: each block once, in order, however often it stands there. `before` is how many blocks its last
/// reading had.
///
/// One pass over the bytes, one allocation that grows to the number of records, and one sort of it.
///
/// # Errors
/// [`FeedError`], and nothing of the feed, at the first line that is wrong; also when the number of records is out of
/// `limits`.
///
/// ```
/// use fusebox_blackhole::engine::{FeedFormat, FeedLimits, Never, parse};
///
/// let never = Never::new(["198.51.100.7".parse()?]);
/// let read = |feed: &[u8]| parse(feed, FeedFormat::SpamhausDrop, &FeedLimits::default(), &never, None);
/// assert_eq!(read(b"; a list\n192.0.2.0/24 ; SBL1\n")?.len(), 1);
/// assert_eq!(
///     read(b"192.0.2.0/24\n198.51.100.0/24\n").unwrap_err().to_string(),
///     "line 2: 198.51.100.0/24 covers a private, reserved or never-banned address"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse(
    feed: &[u8],
    format: FeedFormat,
    limits: &FeedLimits,
    never: &Never,
    before: Option<usize>,
) -> Result<Vec<Network>, FeedError> {
    let mut networks = Vec::new();
    // Of files in JSON, and of two that were put together: what each says it has.
    let (mut is_json, mut told) = (false, None);
    // A byte order mark is no part of the first line.
    let feed = feed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(feed);
    for (line, text) in (1..).zip(feed.split(|byte| *byte == b'\n')) {
        let content =
            parse_line(text, format).map_err(|problem| FeedError::Line { line, problem })?;
        let network = match content {
            Content::Nothing => continue,
            Content::Metadata(records) => {
                told = Some(told.unwrap_or(0_u64).saturating_add(records));
                continue;
            }
            Content::Json(network) => {
                is_json = true;
                network
            }
            Content::Text(network) => network,
        };
        if never.forbids_in_a_list(network) {
            let problem = LineProblem::Forbidden(network);
            return Err(FeedError::Line { line, problem });
        }
        limits
            .check_block(network)
            .map_err(|problem| FeedError::Line { line, problem })?;
        if networks.len() >= limits.most {
            return Err(FeedError::TooMany { most: limits.most });
        }
        networks.push(network);
    }
    match told {
        None if is_json => return Err(FeedError::CutOff),
        Some(told) if told != networks.len() as u64 => {
            let records = networks.len();
            return Err(FeedError::Incomplete { told, records });
        }
        _ => {}
    }
    // A list with the same block in a million lines is no better than with one, and would cost a million times as much.
    networks.sort_unstable();
    networks.dedup();
    limits.check_count(networks.len(), before)?;
    limits.check_extent(&networks)?;
    Ok(networks)
}

/// What a line has.
enum Content {
    Nothing,
    Text(Network),
    Json(Network),
    /// How many records there are, it says.
    Metadata(u64),
}

fn parse_line(line: &[u8], format: FeedFormat) -> Result<Content, LineProblem> {
    if line.len() > LONGEST_LINE {
        return Err(LineProblem::TooLong);
    }
    if format == FeedFormat::SpamhausDrop && line.trim_ascii_start().starts_with(b"{") {
        return parse_json(line);
    }
    let end = line.iter().position(|byte| format.remarks().contains(byte));
    let record = line
        .get(..end.unwrap_or(line.len()))
        .unwrap_or_default()
        .trim_ascii();
    if record.is_empty() {
        return Ok(Content::Nothing);
    }
    let record = std::str::from_utf8(record).map_err(|_| LineProblem::NotText)?;
    record
        .parse()
        .map(Content::Text)
        .map_err(LineProblem::NotANetwork)
}

fn parse_json(line: &[u8]) -> Result<Content, LineProblem> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| LineProblem::NotJson)?;
    if object.get("type").and_then(Value::as_str) == Some("metadata") {
        let records = object.get("records").and_then(Value::as_u64);
        return Ok(Content::Metadata(records.ok_or(LineProblem::NoCidr)?));
    }
    let cidr = object.get("cidr").and_then(Value::as_str);
    cidr.ok_or(LineProblem::NoCidr)?
        .parse()
        .map(Content::Json)
        .map_err(LineProblem::NotANetwork)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(
        feed: &[u8],
        format: FeedFormat,
        before: Option<usize>,
    ) -> Result<Vec<Network>, FeedError> {
        parse(
            feed,
            format,
            &FeedLimits::default(),
            &Never::default(),
            before,
        )
    }

    fn refused(feed: &[u8], format: FeedFormat) -> String {
        read(feed, format, None).unwrap_err().to_string()
    }

    fn many(records: u32) -> Vec<u8> {
        (0..records)
            .map(|i| format!("8.{}.{}.0/24\n", i / 256, i % 256))
            .collect::<String>()
            .into()
    }

    #[test]
    fn reads_each_format_with_its_remarks() {
        let drop = b"; Spamhaus DROP List\r\n; Expires\r\n1.10.16.0/20 ; SBL256894\r\n2a06:e480::/29;SBL301771\r\n";
        let firehol = b"# firehol\n#\n\n1.10.16.0/20\n8.8.8.8 # one\n";
        let plain = b"\xef\xbb\xbf1.10.16.0/20\n\n  8.8.8.8  ; x\n# y";
        for (feed, format) in [
            (&drop[..], FeedFormat::SpamhausDrop),
            (firehol, FeedFormat::FireHol),
            (plain, FeedFormat::Plain),
        ] {
            let networks = read(feed, format, None).unwrap();
            assert_eq!(networks.len(), 2, "{format:?}");
            assert_eq!(networks[0].to_string(), "1.10.16.0/20");
        }
    }

    #[test]
    fn reads_spamhaus_json_and_notices_half_a_file() {
        let drop = FeedFormat::SpamhausDrop;
        let v4 = "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\r\n\
                  {\"cidr\":\"1.19.0.0\\/16\",\"sblid\":\"SBL434604\",\"rir\":\"apnic\"}\n\
                  {\"type\":\"metadata\",\"timestamp\":1750000000,\"size\":9,\"records\":2,\"copyright\":\"(c)\"}\n";
        let v6 = "{\"cidr\":\"2a06:e480::/29\",\"sblid\":\"SBL301771\",\"rir\":\"ripencc\"}\n\
                  {\"type\":\"metadata\",\"records\":1}\n";
        let networks = read(v4.as_bytes(), drop, None).unwrap();
        assert_eq!(networks[1].to_string(), "1.19.0.0/16");
        let both = [v4, v6].concat();
        assert_eq!(read(both.as_bytes(), drop, None).unwrap().len(), 3);
        let lines: Vec<_> = v4.split_inclusive('\n').collect();
        for (feed, message) in [
            (
                lines[..2].concat(),
                "no metadata in the last line: the file is cut off",
            ),
            (
                [lines[0], lines[2]].concat(),
                "1 records, and it says that it has 2",
            ),
            (v4[..v4.len() - 9].to_owned(), "line 3: not a JSON object"),
            (
                "{\"asn\":64496,\"rir\":\"arin\"}".to_owned(),
                "line 1: an object without \"cidr\", or metadata without \"records\"",
            ),
            (
                "{\"cidr\":\"10.0.0.0/8\"}".to_owned(),
                "line 1: 10.0.0.0/8 covers a private, reserved or never-banned address",
            ),
            (
                "{\"cidr\":\"8.8.8.1/24\"}".to_owned(),
                "line 1: bits are set beyond the prefix",
            ),
        ] {
            assert_eq!(refused(feed.as_bytes(), drop), message);
        }
        assert_eq!(
            refused(v4.as_bytes(), FeedFormat::Plain),
            "line 1: not an IP address or CIDR block"
        );
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        for (feed, message) in [
            (
                &b"8.8.8.0/24\n<html>\n"[..],
                "line 2: not an IP address or CIDR block",
            ),
            (b"8.8.8.1/24", "line 1: bits are set beyond the prefix"),
            (
                b"\n\n8.8.8.0/240\n",
                "line 3: the prefix length is not a number the address has room for",
            ),
            (b"\xff\xfe8.8.8.8", "line 1: not a text"),
            (
                b"8.8.8.8 ; wrong remark",
                "line 1: not an IP address or CIDR block",
            ),
        ] {
            assert_eq!(refused(feed, FeedFormat::FireHol), message);
        }
        let long = [b'1'; LONGEST_LINE + 1];
        assert_eq!(
            refused(&long, FeedFormat::Plain),
            "line 1: longer than 4096 bytes"
        );
    }

    #[test]
    fn a_feed_that_covers_private_or_reserved_addresses_is_refused_whole() {
        for block in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.168.1.1",
            "127.0.0.1",
            "224.0.0.0/4",
            "fe80::/10",
            "::/0",
        ] {
            let feed = format!("8.8.8.0/24\n{block}\n");
            let message = refused(feed.as_bytes(), FeedFormat::Plain);
            assert!(
                message.starts_with("line 2: ") && message.contains("covers"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_block_that_nobody_has_is_refused_with_its_line() {
        let read = |feed: &str, limits| {
            let read = parse(
                feed.as_bytes(),
                FeedFormat::Plain,
                &limits,
                &Never::default(),
                None,
            );
            read.map_err(|error| error.to_string())
        };
        let limits = FeedLimits::default();
        for (block, shortest) in [
            ("32.0.0.0/7", Some(8)),
            ("128.0.0.0/5", Some(8)),
            ("44.0.0.0/8", None),
            ("2000::/3", Some(16)),
            ("2400::/15", Some(16)),
            ("2630::/16", None),
        ] {
            let message =
                shortest.map(|shortest| format!("line 2: {block} is larger than a /{shortest}"));
            assert_eq!(
                read(&format!("8.8.8.0/24\n{block}\n"), limits).err(),
                message
            );
        }
        let strict = FeedLimits {
            shortest_ipv4: 16,
            shortest_ipv6: 32,
            ..limits
        };
        assert!(read("44.0.0.0/16\n2001:db8::/32\n", strict).is_ok());
        for block in ["44.0.0.0/15", "2a00::/31", "::ffff:44.0.0.0/111"] {
            assert!(
                read(block, strict)
                    .unwrap_err()
                    .contains("is larger than a /"),
                "{block}"
            );
        }
    }

    #[test]
    fn a_feed_of_most_of_the_internet_is_refused_whatever_its_blocks() {
        let feed = |blocks: u32| {
            (11..11 + blocks)
                .map(|n| format!("{n}.0.0.0/8\n"))
                .collect::<String>()
        };
        let plain = FeedFormat::Plain;
        // A quarter, and what is less than a per cent more.
        assert!(read(feed(63).as_bytes(), plain, None).is_ok());
        let others = "192.0.0.0/9\n193.0.0.0/8\n194.0.0.0/8\n195.0.0.0/8\n196.0.0.0/8\n";
        assert_eq!(
            refused(&[feed(63).as_bytes(), others.as_bytes()].concat(), plain),
            "26% of all IPv4 addresses, and no more than 25% are taken"
        );

        // All that the registries give out, in the largest blocks that are taken, and in those that they give.
        let ipv6 = ["24", "26", "28", "2a", "2c"];
        let wide: String = ipv6
            .iter()
            .flat_map(|block| (0..16).map(move |n| format!("{block}{n:02x}::/16\n")))
            .collect();
        assert_eq!(
            refused(wide.as_bytes(), plain),
            "1000% of all IPv6 addresses, and no more than 25% are taken"
        );
        let given = |blocks: u32| {
            (0..blocks)
                .map(|n| format!("2a{:02x}:{:x}::/29\n", n >> 13, (n & 0x1fff) << 3))
                .collect::<String>()
        };
        assert!(read(given(16_384).as_bytes(), plain, None).is_ok());
        assert_eq!(
            refused(given(17_100).as_bytes(), plain),
            "26% of all IPv6 addresses, and no more than 25% are taken"
        );
        // Single addresses are nothing, however many.
        let hosts: String = (0..50_000).map(|n| format!("2a00:1::{n:x}\n")).collect();
        assert!(read(hosts.as_bytes(), plain, None).is_ok());
    }

    #[test]
    fn a_block_in_many_lines_is_one_block() {
        let plain = FeedFormat::Plain;
        let feed = "44.0.0.0/8\n2a00::/16\n8.8.8.8\n".repeat(100);
        let networks = read(feed.as_bytes(), plain, None).unwrap();
        let shown: Vec<_> = networks.iter().map(Network::to_string).collect();
        assert_eq!(shown, ["8.8.8.8/32", "44.0.0.0/8", "2a00::/16"]);
        // A list says how many lines it has, and is compared with how many blocks it had.
        let json = "{\"cidr\":\"8.8.8.8\"}\n{\"cidr\":\"8.8.8.8\"}\n{\"type\":\"metadata\",\"records\":2}\n";
        assert_eq!(
            read(json.as_bytes(), FeedFormat::SpamhausDrop, None)
                .unwrap()
                .len(),
            1
        );
        let twice = [many(100), many(100), many(100), many(100)].concat();
        assert!(read(&twice, plain, Some(100)).is_ok());
    }

    #[test]
    fn a_feed_that_collapses_or_explodes_is_refused() {
        let plain = FeedFormat::Plain;
        assert!(read(&many(500), plain, Some(1_000)).is_ok());
        assert!(matches!(
            read(&many(499), plain, Some(1_000)),
            Err(FeedError::Collapsed {
                before: 1_000,
                now: 499
            })
        ));
        assert!(read(&many(3_000), plain, Some(1_000)).is_ok());
        assert!(matches!(
            read(&many(3_001), plain, Some(1_000)),
            Err(FeedError::Exploded {
                before: 1_000,
                now: 3_001
            })
        ));
        assert!(
            read(&many(500), plain, Some(3)).is_ok(),
            "a short list may grow"
        );
    }

    #[test]
    fn an_empty_feed_is_an_accident() {
        for feed in [&b""[..], b"# nothing\n"] {
            assert_eq!(
                refused(feed, FeedFormat::Plain),
                "0 records, and it must have at least 1"
            );
        }
        let limits = FeedLimits {
            most: 10,
            ..FeedLimits::default()
        };
        let error = parse(
            &many(11),
            FeedFormat::Plain,
            &limits,
            &Never::default(),
            None,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "more than 10 records");
    }

    proptest! {
        #[test]
        fn never_panics_whatever_is_in_the_file(feed in proptest::collection::vec(any::<u8>(), 0..600)) {
            for format in [FeedFormat::SpamhausDrop, FeedFormat::FireHol, FeedFormat::Plain] {
                let _ = read(&feed, format, Some(100));
            }
        }

        #[test]
        fn what_was_written_is_read(addresses in proptest::collection::vec(0x0100_0000..0x0a00_0000_u32, 1..50)) {
            let mut networks: Vec<Network> = addresses
                .iter()
                .map(|bits| Network::host(std::net::Ipv4Addr::from_bits(*bits).into()))
                .collect();
            let feed: String = networks.iter().map(|network| format!("{network} # x\n")).collect();
            networks.sort_unstable();
            networks.dedup();
            prop_assert_eq!(read(feed.as_bytes(), FeedFormat::Plain, None).unwrap(), networks);
        }
    }
}
