//! Who used the processors.

use std::time::Duration;

/// The processor time this process has used, where the system tells.
#[must_use]
pub(super) fn own() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(Duration::new(
            u64::try_from(time.tv_sec).ok()?,
            u32::try_from(time.tv_nsec).ok()?,
        ))
    }
    #[cfg(not(unix))]
    None
}

/// The processor time that the process `id` has used, where the system tells: on Linux.
#[must_use]
pub(super) fn of(id: u32) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let ticks = ticks(&stat)?;
        Some(Duration::from_nanos(
            ticks.checked_mul(1_000_000_000)? / rustix::param::clock_ticks_per_second(),
        ))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = id;
        None
    }
}

/// The same to the nanosecond, where the system tells it for each thread: what threads used that have ended since is
/// not in it. On Linux.
#[must_use]
pub(super) fn exactly(id: u32) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let mut sum = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{id}/task")).ok()? {
            // One that ends while it is read is none.
            let Ok(line) = std::fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
                continue;
            };
            let used = line.split_ascii_whitespace().next()?.parse().ok()?;
            sum += Duration::from_nanos(used);
        }
        Some(sum)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = id;
        None
    }
}

/// User and system time in a line of `/proc/<id>/stat` (`proc_pid_stat(5)`, fields 14 and 15).
#[cfg(any(target_os = "linux", test))]
fn ticks(stat: &str) -> Option<u64> {
    // Field 2 is the program's name in parentheses, and may itself hold blanks and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        for name in ["shop", "my shop) 7 (x"] {
            let stat = format!("4711 ({name}) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 4 0");
            assert_eq!(ticks(&stat), Some(123), "{name}");
        }
        assert_eq!(ticks("4711 (shop) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn both_ways_to_ask_the_system_agree() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        while exactly(child.id()).unwrap() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        // In ticks of 10 ms, and not all at the same moment.
        let (exact, ticks) = (exactly(child.id()).unwrap(), of(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            exact.abs_diff(ticks) < Duration::from_millis(40),
            "{exact:?} {ticks:?}"
        );
        assert_eq!(exactly(u32::MAX), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn computing_shows_in_the_own_time_and_in_the_systems() {
        let (own_before, before) = (own().unwrap(), of(std::process::id()).unwrap());
        // More than a tick of 10 ms.
        while own().unwrap() - own_before < Duration::from_millis(30) {
            std::hint::black_box(own());
        }
        assert!(of(std::process::id()).unwrap() > before);
        assert_eq!(of(u32::MAX), None);
    }
}
