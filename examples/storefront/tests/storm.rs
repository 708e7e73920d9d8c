//! The experiment as a user runs it, in its short form.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say that something cannot fail; clippy sees that only in its functions, not their helpers"
)]

use std::{
    path::Path,
    process::{Command, Stdio},
};

fn quick(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_storefront"));
    command
        .args(["storm", "--quick", "--orders", "2000", "--data-dir"])
        .arg(directory)
        .arg("--report")
        .arg(directory.join("out/report.html"))
        .stdin(Stdio::null());
    command
}

#[test]
fn a_quick_storm_fills_its_table_writes_its_report_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let output = quick(directory.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}\n{stderr}");

    let row = |title: &str| -> Vec<String> {
        let row = stdout.lines().find(|line| line.contains(title));
        row.unwrap_or_else(|| panic!("no row for {title}:\n{stdout}"))
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    // Title, p50, p99, p99.9, ratio, success, answered, refused, service's share, client's share.
    let idle = row("| idle");
    assert_eq!(idle.len(), 10, "{stdout}");
    assert_eq!(idle.get(5).unwrap(), "100 %", "{stdout}");
    for title in ["without fusebox", "semaphore only"] {
        assert_eq!(row(title).get(7).unwrap(), "0", "{stdout}");
    }
    let refused: u64 = row("with fusebox").get(7).unwrap().parse().unwrap();
    assert!(refused > 0, "{stdout}");

    // Title, due, paid, p99, refused, p50, p99, failed, slowest.
    for title in ["is well", "hangs", "is dead", "is back"] {
        assert_eq!(row(title).len(), 9, "{stdout}");
    }
    assert_ne!(row("| times it opened").get(1).unwrap(), "0", "{stdout}");

    // Title, made, what the client sees, processor time, ratio: as far as the system lets us.
    for (title, seen) in [
        ("by the handler", "answered 403"),
        ("`Deny`", "answered 403"),
        ("`Drop`", "closed without a byte"),
        ("| closed at accept", "closed without a byte"),
        ("by the kernel", "no connection"),
    ] {
        let cells = row(title);
        assert_eq!(cells.len(), 5, "{stdout}");
        let met = cells.get(2).unwrap();
        assert!(met == seen || met.starts_with("not run: "), "{stdout}");
    }
    // Title, due, paid, p50, p99.
    for title in ["before the attack", "under attack", "after it"] {
        let cells = row(title);
        assert_eq!(cells.get(1), cells.get(2), "{stdout}");
    }
    assert_ne!(row("| banned after").get(1).unwrap(), "–", "{stdout}");

    // Title, sent, stopped.
    let attacks = row("| all attacks");
    let number = |cell: Option<&String>| cell.unwrap().parse::<u32>().unwrap();
    let (sent, stopped) = (number(attacks.get(1)), number(attacks.get(2)));
    assert!(stopped * 10 >= sent * 9, "{stdout}");
    assert_eq!(row("| honest requests").get(2).unwrap(), "0", "{stdout}");
    assert_eq!(row("| paying").len(), 8, "{stdout}");

    let report = std::fs::read_to_string(directory.path().join("out/report.html")).unwrap();
    assert_eq!(report.matches("<polyline").count(), 8);
}

#[test]
fn parts_may_be_left_out_and_the_attacks_be_replayed_against_other_rules() {
    let directory = tempfile::tempdir().unwrap();
    // As the rule set is shipped: a setup beside a folder of rules.
    let crs = directory.path().join("crs");
    std::fs::create_dir_all(crs.join("rules")).unwrap();
    let rule = r#"SecRule ARGS "@contains script" "id:1,phase:2,deny,status:403""#;
    std::fs::write(crs.join("rules/ONE.conf"), rule).unwrap();
    std::fs::write(
        crs.join("crs-setup.conf.example"),
        "SecAction \"id:2,pass\"",
    )
    .unwrap();
    let output = quick(directory.path())
        .args(["--only", "replay", "--crs"])
        .arg(&crs)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("stopped by the CRS rules"), "{stdout}");
    assert!(
        stdout.contains("an attack passed the firewall (sql)"),
        "{stdout}"
    );
    assert!(!stdout.contains("| idle"), "{stdout}");
}

#[test]
fn where_there_is_no_second_namespace_the_attacker_is_named_by_a_proxy_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let output = quick(directory.path())
        .args(["--only", "attack"])
        // None of the programs that make one is found.
        .env("PATH", directory.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let not_run = stdout.lines().filter(|line| line.contains("not run: "));
    assert_eq!(not_run.count(), 3, "{stdout}");
    assert!(
        stdout.contains("| then answered 403 by the layer"),
        "{stdout}"
    );
    assert!(
        !stdout.contains("| then answered 403 by the layer |     0"),
        "{stdout}"
    );
}

/// What only `/proc` tells.
#[cfg(target_os = "linux")]
mod processes {
    use std::{
        fs,
        thread::sleep,
        time::{Duration, Instant},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// How long a process may take to appear or to go before the test says that it does not.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// The services that run on `directory`.
    fn services(directory: &Path) -> Vec<String> {
        let directory = directory.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
            .filter(|line| line.contains(directory) && line.contains("--stop-with-stdin"))
            .collect()
    }

    fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "{what}");
            sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn no_service_outlives_its_storm_however_that_ends() {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let directory = tempfile::tempdir().unwrap();
            let mut storm = quick(directory.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            eventually("a service starts", || {
                !services(directory.path()).is_empty()
            });
            let id = Pid::from_raw(storm.id().try_into().unwrap()).unwrap();
            kill_process(id, signal).unwrap();
            assert!(!storm.wait().unwrap().success(), "{signal:?}");
            eventually("the service goes", || services(directory.path()).is_empty());
        }
    }
}
