//! What `nft` is told.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use super::{MirrorError, Ports};
use crate::engine::{Key, Width};

/// The sets: their name, the type of their elements, and the part of an address that is looked for.
///
/// Sets of masked addresses rather than one of intervals: a /64 inside a /48 that is in as well would be an overlap,
/// which the kernel refuses, and hashes are quicker than trees.
const SETS: [(&str, &str, &str, &str); 4] = [
    ("v4", "ipv4_addr", "ip", ""),
    ("v6_64", "ipv6_addr", "ip6", "ffff:ffff:ffff:ffff::"),
    ("v6_56", "ipv6_addr", "ip6", "ffff:ffff:ffff:ff00::"),
    ("v6_48", "ipv6_addr", "ip6", "ffff:ffff:ffff::"),
];

const fn set_of(key: Key) -> &'static str {
    match (key.is_ipv6(), key.width()) {
        (false, _) => "v4",
        (true, Width::Client) => "v6_64",
        (true, Width::Net56) => "v6_56",
        (true, Width::Net48) => "v6_48",
    }
}

/// Commands for one transaction: all of them or none. Nothing in them is a client's to choose but an address, which was
/// read as a number and is written as one.
#[derive(Default)]
pub(super) struct Script {
    commands: String,
    pub(super) elements: usize,
}

impl Script {
    fn command(&mut self, verb: &str, object: &str) {
        let comma = if self.commands.is_empty() { "" } else { "," };
        // A `String` takes whatever is written.
        let _ = write!(self.commands, r#"{comma}{{"{verb}":{{{object}}}}}"#);
    }

    pub(super) fn table(&mut self, verb: &str, table: &str) {
        self.command(
            verb,
            &format!(r#""table":{{"family":"inet","name":"{table}"}}"#),
        );
    }

    /// The table anew, whatever was in it.
    pub(super) fn make_table(&mut self, table: &str, ports: &Ports) {
        // One that is not there cannot be deleted, so it is added first.
        self.table("add", table);
        self.table("delete", table);
        self.table("add", table);
        let common = format!(r#""family":"inet","table":"{table}""#);
        // Before connection tracking (its priority is -200): who is dropped here costs no entry in there.
        self.command(
            "add",
            &format!(
                r#""chain":{{{common},"name":"drop","type":"filter","hook":"prerouting","prio":-300,"policy":"accept"}}"#
            ),
        );
        self.pass(&common, ports);
        for (set, kind, protocol, mask) in SETS {
            self.command(
                "add",
                &format!(
                    r#""set":{{{common},"name":"{set}","type":"{kind}","flags":["timeout"]}}"#
                ),
            );
            let source = format!(r#"{{"payload":{{"protocol":"{protocol}","field":"saddr"}}}}"#);
            let source = match mask {
                "" => source,
                mask => format!(r#"{{"&":[{source},"{mask}"]}}"#),
            };
            self.command(
                "add",
                &format!(
                    r#""rule":{{{common},"chain":"drop","expr":[{{"match":{{"op":"==","left":{source},"right":"@{set}"}}}},{{"drop":null}}]}}"#
                ),
            );
        }
    }

    /// Lets pass what is for other ports, whoever it is from. Other tables still have their say.
    fn pass(&mut self, common: &str, ports: &Ports) {
        let (operator, ports) = match ports {
            Ports::Only(ports) => ("!=", ports),
            Ports::AllBut(ports) => ("==", ports),
        };
        let is_transport = |operator: &str| {
            format!(
                r#"{{"match":{{"op":"{operator}","left":{{"meta":{{"key":"l4proto"}}}},"right":{{"set":["tcp","udp"]}}}}}}"#
            )
        };
        if operator == "!=" {
            let no_transport = is_transport("!=");
            self.rule(common, &no_transport);
        }
        if ports.is_empty() {
            return;
        }
        let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let ports = format!(
            r#"{{"match":{{"op":"{operator}","left":{{"payload":{{"protocol":"th","field":"dport"}}}},"right":{{"set":[{}]}}}}}}"#,
            list.join(",")
        );
        let transport = is_transport("==");
        self.rule(common, &format!("{transport},{ports}"));
    }

    fn rule(&mut self, common: &str, matches: &str) {
        self.command(
            "add",
            &format!(r#""rule":{{{common},"chain":"drop","expr":[{matches},{{"accept":null}}]}}"#),
        );
    }

    /// Puts an element in, for so long, whether or not it is there with another time.
    pub(super) fn set(&mut self, table: &str, key: Key, time: Duration) {
        self.remove(table, key, time);
        self.element("add", table, key, time);
    }

    /// Takes an element out, whether or not it is there: it may have timed out this very moment, and what cannot be
    /// deleted fails the transaction.
    pub(super) fn remove(&mut self, table: &str, key: Key, time: Duration) {
        self.element("add", table, key, time);
        self.element("delete", table, key, time);
        self.elements += 1;
    }

    fn element(&mut self, verb: &str, table: &str, key: Key, time: Duration) {
        let Some(network) = key.network() else { return };
        let address = network.address();
        // At least a second: none at all means for ever.
        let seconds = time.as_secs().max(1);
        let set = set_of(key);
        let element = match verb {
            "add" => format!(r#"{{"elem":{{"val":"{address}","timeout":{seconds}}}}}"#),
            _ => format!(r#""{address}""#),
        };
        self.command(
            verb,
            &format!(r#""element":{{"family":"inet","table":"{table}","name":"{set}","elem":[{element}]}}"#),
        );
    }

    pub(super) fn run(self, program: &[OsString]) -> Result<(), MirrorError> {
        let [program, words @ ..] = program else {
            return Err(MirrorError::NoProgram);
        };
        if self.commands.is_empty() {
            return Ok(());
        }
        let mut nft = Command::new(program)
            .args(words)
            .args(["-j", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(MirrorError::Program)?;
        if let Some(mut stdin) = nft.stdin.take() {
            let script = format!(r#"{{"nftables":[{}]}}"#, self.commands);
            // One that does not read to the end says why below.
            let _ = stdin.write_all(script.as_bytes());
        }
        let output = nft.wait_with_output().map_err(MirrorError::Program)?;
        if output.status.success() {
            return Ok(());
        }
        // The first lines tell; what follows is the script.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(MirrorError::Refused {
            said: said.chars().take(500).collect(),
        })
    }
}
