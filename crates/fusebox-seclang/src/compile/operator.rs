//! Operators with their arguments: expressions compiled, lists read, numbers parsed.

use std::path::Path;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use ipnet::IpNet;

use super::lower::Lower;
use super::program::{Operator, Order};
use crate::ByteSet;
use crate::error::ErrorKind;
use crate::parse::{self, OperatorName, Template};

pub(super) const NO_GEO: &str = "there is no location database; give the builder a GeoDatabase";

impl Lower {
    pub(super) fn operator(
        &mut self,
        operator: &parse::Operator,
        folder: &Path,
    ) -> Result<Operator, ErrorKind> {
        let argument = operator.argument.as_str();
        let text = |lower: &mut Self| Ok::<_, ErrorKind>(lower.text(&Template::parse(argument)?));
        let compare = |lower: &mut Self, order| {
            Ok(Operator::Compare(
                order,
                lower.amount(&Template::parse(argument)?),
            ))
        };
        Ok(match operator.name {
            OperatorName::Rx => self.rx(argument)?,
            OperatorName::Pm => Operator::Phrases(self.phrases(words(argument)?)?),
            OperatorName::PmFromFile => {
                Operator::Phrases(self.phrases(lines_of_files(argument, folder)?)?)
            }
            OperatorName::Within => Operator::Within(text(self)?),
            OperatorName::Contains | OperatorName::StrMatch => Operator::Contains(text(self)?),
            OperatorName::ContainsWord => Operator::ContainsWord(text(self)?),
            OperatorName::StrEq => Operator::StrEq(text(self)?),
            OperatorName::BeginsWith => Operator::BeginsWith(text(self)?),
            OperatorName::EndsWith => Operator::EndsWith(text(self)?),
            OperatorName::Eq => compare(self, Order::Eq)?,
            OperatorName::Ge => compare(self, Order::Ge)?,
            OperatorName::Gt => compare(self, Order::Gt)?,
            OperatorName::Le => compare(self, Order::Le)?,
            OperatorName::Lt => compare(self, Order::Lt)?,
            OperatorName::IpMatch => Operator::IpMatch(networks(argument)?),
            OperatorName::IpMatchFromFile => {
                let mut all = Vec::new();
                for line in lines_of_files(argument, folder)? {
                    all.extend(networks(&String::from_utf8_lossy(&line))?);
                }
                Operator::IpMatch(all.into())
            }
            OperatorName::ValidateByteRange => Operator::ByteRange(byte_range(argument)?),
            OperatorName::ValidateUrlEncoding => Operator::UrlEncoding,
            OperatorName::ValidateUtf8Encoding => Operator::Utf8Encoding,
            OperatorName::DetectSqli => Operator::DetectSqli,
            OperatorName::DetectXss => Operator::DetectXss,
            OperatorName::GeoLookup if self.resolvers.geo.is_none() => {
                return Err(ErrorKind::Refused {
                    what: "@geoLookup".to_owned(),
                    why: NO_GEO,
                });
            }
            OperatorName::GeoLookup => Operator::GeoLookup,
            OperatorName::Rbl if self.resolvers.block_lists.is_none() => {
                return Err(ErrorKind::Refused {
                    what: "@rbl".to_owned(),
                    why: "nobody asks a name server in the middle of a request; give the builder BlockLists",
                });
            }
            OperatorName::Rbl if argument.is_empty() => {
                return Err(ErrorKind::Value {
                    what: "@rbl".to_owned(),
                    value: String::new(),
                    expected: "the name of a list",
                });
            }
            OperatorName::Rbl => Operator::Rbl(argument.into()),
            OperatorName::NoMatch => Operator::Never,
            OperatorName::UnconditionalMatch => Operator::Always,
        })
    }

    fn rx(&mut self, pattern: &str) -> Result<Operator, ErrorKind> {
        // `%{` may as well be a repeated percent sign: only what names a variable is a macro.
        let macros = Template::parse(pattern).is_ok_and(|template| template.constant().is_none());
        if macros {
            return Err(ErrorKind::Refused {
                what: "@rx".to_owned(),
                why: "an expression with a macro would be compiled for every request; use @within, @streq or @contains",
            });
        }
        Ok(Operator::Rx(self.regex(pattern, false)?))
    }

    fn phrases(&mut self, phrases: Vec<Vec<u8>>) -> Result<u32, ErrorKind> {
        if self.dry {
            return Ok(0);
        }
        let automaton = phrase_automaton(&phrases)?;
        Ok(self.add_phrases(&phrases, automaton))
    }
}

/// Finds any of the phrases, without case; the longest of those that start first, so that the log names it whole.
fn phrase_automaton(phrases: &[Vec<u8>]) -> Result<AhoCorasick, ErrorKind> {
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .build(phrases)
        .map_err(|_| ErrorKind::TooLarge {
            what: "phrases of @pm",
            limit: 1 << 20,
            found: phrases.len(),
        })
}

/// The words of `@pm`; `|41 42|` is bytes in hexadecimal, as in Snort.
fn words(argument: &str) -> Result<Vec<Vec<u8>>, ErrorKind> {
    let mut bytes = Vec::with_capacity(argument.len());
    let mut rest = argument;
    while let Some((before, after)) = rest.split_once('|') {
        let hex = after.split_once('|').and_then(|(hex, after)| {
            let decoded: Option<Vec<u8>> = hex
                .split_ascii_whitespace()
                .map(|pair| {
                    u8::from_str_radix(pair, 16)
                        .ok()
                        .filter(|_| pair.len() == 2)
                })
                .collect();
            decoded
                .filter(|decoded| !decoded.is_empty())
                .map(|decoded| (decoded, after))
        });
        bytes.extend_from_slice(before.as_bytes());
        match hex {
            Some((decoded, after)) => {
                bytes.extend(decoded);
                rest = after;
            }
            None => {
                bytes.push(b'|');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    let words: Vec<Vec<u8>> = bytes
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if words.is_empty() {
        return Err(ErrorKind::Value {
            what: "@pm".to_owned(),
            value: argument.to_owned(),
            expected: "at least one phrase",
        });
    }
    Ok(words)
}

/// The lines of one or more files, without comments and empty ones.
fn lines_of_files(argument: &str, folder: &Path) -> Result<Vec<Vec<u8>>, ErrorKind> {
    let mut lines = Vec::new();
    for name in argument.split_ascii_whitespace() {
        if name.starts_with("https://") || name.starts_with("http://") {
            return Err(ErrorKind::Refused {
                what: name.to_owned(),
                why: "lists come from files, not from the network",
            });
        }
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| ErrorKind::Read {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        lines.extend(
            bytes
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::trim_ascii)
                .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
                .map(<[u8]>::to_vec),
        );
    }
    if lines.is_empty() {
        return Err(ErrorKind::Value {
            what: "a list from files".to_owned(),
            value: argument.to_owned(),
            expected: "a file with at least one line",
        });
    }
    Ok(lines)
}

fn networks(argument: &str) -> Result<Box<[IpNet]>, ErrorKind> {
    let networks = argument
        .split([',', ' ', '\t'])
        .filter(|text| !text.is_empty())
        .map(|text| {
            let network = text.parse::<IpNet>().ok();
            let host = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            let network = network.or_else(host);
            network
                .and_then(canonical)
                .ok_or_else(|| ErrorKind::Address {
                    text: text.to_owned(),
                })
        })
        .collect::<Result<Box<[IpNet]>, _>>()?;
    // It would never match, and its negation always.
    if networks.is_empty() {
        return Err(ErrorKind::Value {
            what: "@ipMatch".to_owned(),
            value: argument.to_owned(),
            expected: "at least one address or network",
        });
    }
    Ok(networks)
}

/// The network as addresses are compared: IPv4 written as IPv6 (`::ffff:192.0.2.0/120`) is IPv4. `None` for one that has a part of
/// that range and something beside it, which is a slip (`::ffff:0:0/64`).
fn canonical(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    let Some(v4) = v6.addr().to_ipv4_mapped() else {
        return Some(network);
    };
    let prefix = v6.prefix_len().checked_sub(96)?;
    ipnet::Ipv4Net::new(v4, prefix).ok().map(IpNet::V4)
}

/// `10,13,32-126`
fn byte_range(argument: &str) -> Result<ByteSet, ErrorKind> {
    let mut set = ByteSet::EMPTY;
    if argument.trim().is_empty() {
        return Err(ErrorKind::Value {
            what: "@validateByteRange".to_owned(),
            value: argument.to_owned(),
            expected: "at least one byte or range of bytes",
        });
    }
    for range in argument
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => set = set.union(ByteSet::range(first, last)),
            _ => {
                return Err(ErrorKind::Value {
                    what: "@validateByteRange".to_owned(),
                    value: range.to_owned(),
                    expected: "a byte or a range of bytes, 0 to 255",
                });
            }
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_phrases_and_bytes_in_hexadecimal() {
        assert_eq!(
            words("a |62 20 63| d|").unwrap(),
            [&b"a"[..], b"b", b"c", b"d|"]
        );
        assert_eq!(words("x||y").unwrap(), [b"x||y"]);
        assert!(words("  ").is_err());
    }

    #[test]
    fn reads_ranges_of_bytes() {
        let set = byte_range("9,10,13,32-126").unwrap();
        assert!(set.contains(b' ') && set.contains(b'~') && !set.contains(0));
        assert!(byte_range("1-256").is_err());
        assert!(byte_range("9-1").is_err());
        assert!(byte_range("").is_err());
    }

    #[test]
    fn reads_addresses_and_networks() {
        let all = networks("127.0.0.1, ::1,10.0.0.0/8").unwrap();
        assert_eq!(all.len(), 3);
        for slip in [
            "",
            " , ",
            "::ffff:0:0/64",
            "10.0.0.0/255.0.0.0",
            "10.0.0.1-10.0.0.9",
            "10.0.0",
            "fe80::1%eth0",
            "::1/129",
            "01.2.3.4",
        ] {
            assert!(networks(slip).is_err(), "{slip}");
        }
        assert_eq!(
            networks("10.0.0.0/33").unwrap_err().to_string(),
            "@ipMatch: \"10.0.0.0/33\" is no address and no network"
        );
    }
}
