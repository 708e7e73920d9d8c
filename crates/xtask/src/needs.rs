//! What a machine must have beside a Rust toolchain, as a table.

use anyhow::{Result, bail};

use crate::command::{Line, is_on_path};

/// One Debian package, the program that proves it is there, and what fails without it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) package: &'static str,
    pub(crate) proof: &'static str,
    pub(crate) needed_by: &'static str,
}

/// What `cargo xtask test` needs.
pub(crate) const TESTS: &[Need] = &[
    Need {
        package: "build-essential",
        proof: "cc",
        needed_by: "linking, and the SQLite that examples/storefront embeds",
    },
    Need {
        package: "iproute2",
        proof: "ip",
        needed_by: "network namespaces, in which crates/fusebox-blackhole tests its firewall",
    },
    Need {
        package: "nftables",
        proof: "nft",
        needed_by: "the kernel's part of crates/fusebox-blackhole",
    },
];

/// Sees that all of `needs` are there: installs what is missing when this is root on Debian, otherwise fails and
/// names it.
pub(crate) fn satisfy(needs: &[Need]) -> Result<String> {
    let missing = missing(needs, is_on_path);
    if missing.is_empty() {
        return Ok(format!("{} of {} there", needs.len(), needs.len()));
    }
    if !(is_root() && is_on_path("apt-get")) {
        bail!("{}", complaint(&missing));
    }
    install(&missing)?;
    let still_missing = self::missing(needs, is_on_path);
    if !still_missing.is_empty() {
        bail!("installed, yet {}", complaint(&still_missing));
    }
    Ok(format!("installed {}", packages(&missing).join(" ")))
}

fn missing(needs: &[Need], is_there: impl Fn(&str) -> bool) -> Vec<Need> {
    needs
        .iter()
        .copied()
        .filter(|need| !is_there(need.proof))
        .collect()
}

fn packages(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.package).collect()
}

fn complaint(missing: &[Need]) -> String {
    let mut complaint = String::from("this machine lacks");
    for need in missing {
        complaint.push_str(&format!(
            "\n  `{}` (Debian package {}), for {}",
            need.proof, need.package, need.needed_by
        ));
    }
    complaint.push_str(&format!(
        "\ninstall with: sudo apt-get install {}",
        packages(missing).join(" ")
    ));
    complaint
}

fn install(missing: &[Need]) -> Result<()> {
    let apt = || Line::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    // A fresh machine has no package lists at all.
    apt().args(["update", "--quiet"]).run()?;
    apt()
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages(missing))
        .run()
}

fn is_root() -> bool {
    // `id` rather than a system call: a crate for one number is not worth its compile time.
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Need] = &[
        Need {
            package: "build-essential",
            proof: "cc",
            needed_by: "linking",
        },
        Need {
            package: "valkey-server",
            proof: "valkey-server",
            needed_by: "shared quotas",
        },
    ];

    #[test]
    fn a_need_is_met_by_the_program_that_proves_it() {
        let missing = missing(TWO, |program| program == "cc");
        assert_eq!(packages(&missing), ["valkey-server"]);
    }

    #[test]
    fn a_complaint_names_the_program_the_package_and_the_reason() {
        let complaint = complaint(TWO);
        for word in [
            "`cc`",
            "build-essential",
            "shared quotas",
            "sudo apt-get install build-essential valkey-server",
        ] {
            assert!(complaint.contains(word), "{complaint}");
        }
    }
}
