//! Sentences on disk: written whole, read line by line.
//!
//! A new file is written beside the old one, synced, and renamed over it: either is there whole. What a disk that lies
//! or a hand with an editor makes of it is found by a checksum on each line; such a line is left out, and the rest
//! is read.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use fusebox_core::Timestamp;

use crate::engine::{Cause, Inmate, Key};

const HEADER: &str = "fusebox-blackhole 1";

/// Ties the jail's clock to the calendar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calendar {
    pub(crate) now: Timestamp,
    pub(crate) unix: Duration,
}

impl Calendar {
    pub(crate) fn new(now: Timestamp, today: SystemTime) -> Self {
        Self {
            now,
            unix: today
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Seconds since 1970.
    fn unix(self, at: Timestamp) -> u64 {
        let unix = (self.unix + at.since(self.now)).saturating_sub(self.now.since(at));
        unix.as_secs()
    }

    /// On the jail's clock; its origin for what was before that.
    fn clock(self, unix: u64) -> Timestamp {
        let unix = Duration::from_secs(unix);
        let ahead = self.now + unix.saturating_sub(self.unix);
        Timestamp::ZERO
            + ahead
                .since(Timestamp::ZERO)
                .saturating_sub(self.unix.saturating_sub(unix))
    }
}

pub(crate) fn write(path: &Path, inmates: &[Inmate], calendar: Calendar) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    // Addresses are personal data.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(encode(inmates, calendar).as_bytes())?;
    // Before the rename: otherwise a crash can leave the new name on an empty file.
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    // The rename itself. Not every system lets a folder be opened; there it has to do without.
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        })
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Who is in the file, and how many lines of it could not be read. Nobody, if there is no file.
pub(crate) fn read(path: &Path, calendar: Calendar) -> io::Result<(Vec<Inmate>, usize)> {
    match fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes, calendar)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(error) => Err(error),
    }
}

fn encode(inmates: &[Inmate], calendar: Calendar) -> String {
    let mut text = String::with_capacity(64 * (inmates.len() + 1));
    text.push_str(HEADER);
    text.push('\n');
    for inmate in inmates {
        let line = format!(
            "{} {} {} {} {}",
            inmate.key.to_text(),
            calendar.unix(inmate.since),
            calendar.unix(inmate.until),
            inmate.sentences,
            inmate.cause
        );
        text.push_str(&format!("{line} {:08x}\n", checksum(line.as_bytes())));
    }
    text
}

fn decode(bytes: &[u8], calendar: Calendar) -> (Vec<Inmate>, usize) {
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    if lines.next() != Some(HEADER.as_bytes()) {
        // Torn at its very beginning, or of another version: nothing in it can be relied on.
        return (Vec::new(), usize::from(!bytes.is_empty()) + lines.count());
    }
    let (mut inmates, mut broken) = (Vec::new(), 0);
    for line in lines {
        match decode_line(line, calendar) {
            Some(inmate) => inmates.push(inmate),
            None => broken += 1,
        }
    }
    (inmates, broken)
}

fn decode_line(line: &[u8], calendar: Calendar) -> Option<Inmate> {
    let (record, sum) = std::str::from_utf8(line).ok()?.rsplit_once(' ')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16) != Ok(checksum(record.as_bytes())) {
        return None;
    }
    let mut words = record.split(' ');
    let key = Key::from_text(words.next()?)?;
    let since = words.next()?.parse().ok()?;
    let until = words.next()?.parse().ok()?;
    let sentences = words.next()?.parse().ok()?;
    let cause = words.next()?;
    let cause = Cause::ALL
        .into_iter()
        .find(|known| known.as_str() == cause)?;
    words.next().is_none().then_some(Inmate {
        key,
        since: calendar.clock(since),
        until: calendar.clock(until),
        cause,
        sentences,
    })
}

/// FNV-1a (Fowler, Noll, Vo): finds what a torn write leaves, in five lines. Nobody has to be fooled who can write
/// the file.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(now: u64, unix: u64) -> Calendar {
        Calendar {
            now: Timestamp::ZERO + Duration::from_secs(now),
            unix: Duration::from_secs(unix),
        }
    }

    fn inmate(last: u8, since: u64, until: u64) -> Inmate {
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        Inmate {
            key: Key::of_address([192, 0, 2, last].into()).unwrap(),
            since: at(since),
            until: at(until),
            cause: Cause::Waf,
            sentences: 3,
        }
    }

    #[test]
    fn a_sentence_ends_on_the_same_day_by_another_clock() {
        let text = encode(&[inmate(1, 90, 700)], calendar(100, 1_000_000));
        // Restarted 50 seconds later; the new clock begins at 0.
        let (inmates, broken) = decode(text.as_bytes(), calendar(0, 1_000_050));
        assert_eq!(broken, 0);
        assert_eq!(inmates, [inmate(1, 0, 550)]);
    }

    #[test]
    fn a_torn_line_is_left_out_and_the_others_are_read() {
        let text = encode(
            &[inmate(1, 0, 9), inmate(2, 0, 9), inmate(3, 0, 9)],
            calendar(0, 100),
        );
        for cut in 0..text.len() {
            let torn = &text.as_bytes()[..cut];
            let (inmates, broken) = decode(torn, calendar(0, 100));
            let whole = torn.split(|byte| *byte == b'\n').count() - 1;
            assert!(
                inmates.len() <= 3 && inmates.len() + broken + 2 >= whole,
                "{cut}"
            );
            assert!(
                inmates
                    .iter()
                    .all(|inmate| inmate.until == Timestamp::ZERO + Duration::from_secs(9))
            );
        }
        let mut bent = text.clone().into_bytes();
        let at = text.find("192.0.2.2").unwrap();
        bent[at + 8] = b'9';
        let (inmates, broken) = decode(&bent, calendar(0, 100));
        assert_eq!((inmates.len(), broken), (2, 1));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_empty_one() {
        let folder = std::env::temp_dir().join(format!("fusebox-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("jail");
        assert_eq!(read(&path, calendar(0, 100)).unwrap(), (Vec::new(), 0));
        write(&path, &[inmate(1, 0, 9)], calendar(0, 100)).unwrap();
        write(&path, &[inmate(2, 0, 9)], calendar(0, 100)).unwrap();
        assert_eq!(
            read(&path, calendar(0, 100)).unwrap(),
            (vec![inmate(2, 0, 9)], 0)
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
        }
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    proptest! {
        #[test]
        fn never_panics_whatever_is_in_the_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = format!("{HEADER}\n").into_bytes();
            file.extend(bytes);
            prop_assert_eq!(decode(&file, calendar(5, 100)).0, []);
        }
    }
}
