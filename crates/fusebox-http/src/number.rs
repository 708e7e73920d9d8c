use std::cell::RefCell;

use http::HeaderValue;

/// All numbers of up to three digits, one after the other.
const SMALL: usize = 1_000;
/// How many larger ones are kept in each thread.
const KEPT: usize = 8;
static BYTES: [u8; SMALL * 3] = digits();
static DIGITS: &str = match str::from_utf8(&BYTES) {
    Ok(digits) => digits,
    Err(_) => "",
};

/// A number as the value of a header field, in decimal.
///
/// The numbers below a thousand, which seconds and what is left of a quota mostly are, are there already. Of the others the
/// last ones are kept: whoever is refused again and again, or together with many, is told the same for a second. Any other
/// costs one allocation.
///
/// ```
/// assert_eq!(fusebox_http::number(0), "0");
/// assert_eq!(fusebox_http::number(86_400), "86400");
/// ```
#[must_use]
pub fn number(value: u64) -> HeaderValue {
    match small(value) {
        Some(digits) => HeaderValue::from_static(digits),
        None => recent(value),
    }
}

/// A copy of the value that was made for this number before, if it was one of the last in this thread.
fn recent(value: u64) -> HeaderValue {
    thread_local! {
        static RECENT: RefCell<[Option<(u64, HeaderValue)>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
    }
    let kept = RECENT.try_with(|recent| {
        let mut recent = recent.try_borrow_mut().ok()?;
        let place = recent.get_mut(usize::try_from(value).ok()? % KEPT)?;
        match place {
            Some((number, known)) if *number == value => Some(known.clone()),
            _ => Some(place.insert((value, value.into())).1.clone()),
        }
    });
    // While a thread is torn down its numbers are gone.
    kept.ok().flatten().unwrap_or_else(|| value.into())
}

fn small(value: u64) -> Option<&'static str> {
    let value = usize::try_from(value).ok().filter(|value| *value < SMALL)?;
    let zeroes = match value {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    DIGITS.get(value * 3 + zeroes..value * 3 + 3)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "worked out by the compiler, which would refuse an index or a digit that does not fit"
)]
const fn digits() -> [u8; SMALL * 3] {
    let mut digits = [b'0'; SMALL * 3];
    let mut value = 0;
    while value < SMALL {
        digits[value * 3] += (value / 100) as u8;
        digits[value * 3 + 1] += (value / 10 % 10) as u8;
        digits[value * 3 + 2] += (value % 10) as u8;
        value += 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_anyone_writes_them() {
        // Some twice, others with their place taken meanwhile.
        let large = [
            86_400,
            86_400,
            86_408,
            86_400,
            u64::MAX,
            u64::MAX - 8,
            u64::MAX,
        ];
        for value in (0..1_100).chain(large) {
            assert_eq!(number(value), value.to_string());
        }
    }
}
