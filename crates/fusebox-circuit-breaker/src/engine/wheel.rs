use fusebox_core::sync::{Ordering, fence};

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

    /// As [`add`](Self::add), for what must not be missing from the sum of those who are in a later bucket already. (A
    /// good call may be, until the next bucket begins.)
    #[cold]
    pub(super) fn add_surely(&self, number: u32) {
        self.add(number);
        // With the one in `sum_before`: whoever sums up sees this, or is seen here.
        fence(Ordering::SeqCst);
        let (later, _) = self.before.read();
        if newer(later, number) {
            self.sum_before(later);
        }
    }

    /// Whether anything is counted in that bucket.
    pub(super) fn counts_in(&self, number: u32) -> bool {
        self.of(number).get(number) != 0
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

    /// As [`sum`](Self::sum), without what is kept of it.
    #[cold]
    pub(super) fn sum_anew(&self, number: u32) -> u32 {
        let now = self.of(number).get(number);
        now.saturating_add(self.add_up(number))
    }

    /// Sums up the buckets before `number`, once per bucket.
    #[cold]
    fn sum_before(&self, number: u32) -> u32 {
        let mut sum = self.add_up(number);
        loop {
            self.before.set(number, sum);
            fence(Ordering::SeqCst);
            // Ends: somebody has added to a bucket that is over, and only who was on the way then does.
            let again = self.add_up(number);
            if again == sum {
                return sum;
            }
            sum = again;
        }
    }

    fn add_up(&self, number: u32) -> u32 {
        let oldest = number.wrapping_sub(BUCKETS - 1);
        self.buckets.iter().fold(0_u32, |sum, bucket| {
            let (of, count) = bucket.read();
            let within = of == oldest || (newer(of, oldest) && newer(number, of));
            sum.saturating_add(if within { count } else { 0 })
        })
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
    fn what_comes_late_for_its_bucket_is_in_the_sum_of_the_next() {
        let wheel = Wheel::default();
        wheel.add(7);
        assert_eq!(wheel.sum(8), 1);
        wheel.add_surely(7);
        assert_eq!(wheel.sum(8), 2);
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
