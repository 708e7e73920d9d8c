use super::tally::{Tally, newer};

/// How many buckets of time a window has.
///
/// The window moves by a sixteenth of its length at a time: it covers between fifteen and sixteen
/// sixteenths of what was asked for. A power of two makes the place of a bucket a mask.
pub(super) const BUCKETS: u32 = 16;

/// How many of something happened in the last [`BUCKETS`] buckets of time, this one included.
///
/// Each bucket carries its own number, so time passes without anybody moving anything. What is
/// summed up of the buckets before this one is kept until the next begins: a reader looks at two
/// words, whatever the length of the window and however many calls are in it.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    buckets: [Tally; BUCKETS as usize],
    /// The sum of the buckets before the one it is tagged with.
    before: Tally,
}

impl Wheel {
    /// Where the bucket `number` is counted.
    #[inline(always)]
    pub(super) fn of(&self, number: u32) -> &Tally {
        let [first, ..] = &self.buckets;
        // Always found: the mask is the length.
        let bucket = self.buckets.get((number % BUCKETS) as usize);
        bucket.unwrap_or(first)
    }

    /// One more in the bucket `number`.
    #[inline(always)]
    pub(super) fn add(&self, number: u32) {
        self.of(number).add(number);
    }

    /// How many in the window that ends with the bucket `number`.
    pub(super) fn sum(&self, number: u32) -> u32 {
        let now = self.of(number).get(number);
        let before = match self.before.peek(number) {
            // A new word says 0 before bucket 0, which is right unless the numbers have gone round and
            // nobody has ever asked.
            Some(before) => before,
            None => self.sum_before(number),
        };
        now.saturating_add(before)
    }

    /// Sums up the buckets before `number`, once per bucket.
    #[cold]
    fn sum_before(&self, number: u32) -> u32 {
        let oldest = number.wrapping_sub(BUCKETS - 1);
        let sum = self.buckets.iter().fold(0_u32, |sum, bucket| {
            let (of, count) = bucket.read();
            let within = of == oldest || (newer(of, oldest) && newer(number, of));
            sum.saturating_add(if within { count } else { 0 })
        });
        self.before.set(number, sum);
        sum
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_sixteen_buckets_and_forgets_the_seventeenth() {
        let wheel = Wheel::default();
        for number in 100..100 + BUCKETS {
            wheel.add(number);
            wheel.add(number);
            assert_eq!(wheel.sum(number), 2 * (number - 99));
        }
        for (passed, left) in (1..=BUCKETS).zip((0..BUCKETS).rev()) {
            assert_eq!(wheel.sum(99 + BUCKETS + passed), 2 * left);
        }
    }

    #[test]
    fn silence_forgets_everything() {
        let wheel = Wheel::default();
        wheel.add(3);
        assert_eq!(wheel.sum(3 + 10 * BUCKETS), 0);
        wheel.add(3 + 10 * BUCKETS);
        assert_eq!(wheel.sum(3 + 10 * BUCKETS), 1);
    }

    #[test]
    fn numbers_go_round() {
        let wheel = Wheel::default();
        wheel.add(u32::MAX - 1);
        assert_eq!(wheel.sum(u32::MAX - 1), 1);
        wheel.add(u32::MAX);
        wheel.add(0);
        assert_eq!(wheel.sum(0), 3);
        assert_eq!(wheel.sum(BUCKETS - 2), 2, "one has left");
    }
}
