//! What is made once and used by one call after the other: a place where nobody waits.
//!
//! Each thread takes from a stack of its own, so what it gets is what it used last and still has in its processor's
//! caches; a queue that all share would hand out what was used longest ago. Where a thread finds its stack empty or in
//! use it looks at the next one.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Things that are given back.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    stacks: Box<[Mutex<Vec<T>>]>,
    most: usize,
}

/// Beyond this many threads two share a stack.
const MOST_STACKS: usize = 64;

impl<T> Pool<T> {
    /// One stack for each of so many threads, each of at most `most` things.
    pub(crate) fn new(threads: usize, most: usize) -> Self {
        let stacks = threads.clamp(1, MOST_STACKS).next_power_of_two();
        Self {
            stacks: (0..stacks).map(|_| Mutex::default()).collect(),
            most,
        }
    }

    /// What was given back last, by this thread if by any; `None` if everything is in use.
    pub(crate) fn take(&self) -> Option<T> {
        self.each(|stack, _| stack.pop())
    }

    /// Keeps it for the next [`take`](Self::take); dropped where there are enough.
    pub(crate) fn give_back(&self, thing: T) {
        let mut thing = Some(thing);
        self.each(|stack, most| {
            if stack.len() < most {
                stack.extend(thing.take());
                return Some(());
            }
            None
        });
    }

    /// Asks each stack that nobody uses at this moment, the thread's own first, until one has an answer.
    fn each<R>(&self, mut ask: impl FnMut(&mut Vec<T>, usize) -> Option<R>) -> Option<R> {
        let (before, after) = self
            .stacks
            .split_at_checked(number_of_this_thread() & (self.stacks.len() - 1))?;
        after
            .iter()
            .chain(before)
            // A stack is only ever pushed to and popped from, which leaves none half-way: poison means nothing here.
            .filter_map(|stack| stack.try_lock().ok())
            .find_map(|mut stack| ask(&mut stack, self.most))
    }
}

/// Threads are numbered as they come, so that as many as there are stacks have one each.
fn number_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_last_comes_first() {
        let pool = Pool::new(4, 8);
        pool.give_back(1);
        pool.give_back(2);
        assert_eq!(
            [pool.take(), pool.take(), pool.take()],
            [Some(2), Some(1), None]
        );
    }

    #[test]
    fn a_thread_finds_what_another_gave_back() {
        let pool = Pool::new(4, 8);
        std::thread::scope(|scope| {
            scope.spawn(|| pool.give_back(7));
        });
        assert_eq!(pool.take(), Some(7));
    }

    #[test]
    fn what_is_too_many_is_dropped() {
        let pool = Pool::new(2, 3);
        for thing in 0..100 {
            pool.give_back(thing);
        }
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), 2 * 3);
    }

    #[test]
    fn a_stack_in_use_is_passed_by_and_not_waited_for() {
        let pool = Pool::new(1, 8);
        pool.give_back(1);
        let held = pool.stacks[0].lock().unwrap();
        assert_eq!(pool.take(), None);
        pool.give_back(2);
        drop(held);
        assert_eq!(pool.take(), Some(1));
        assert_eq!(pool.take(), None);
    }
}
