//! Which entries of a list may match which probe, in the order of the list.

use super::state::rest;

/// Lists of entries, one for each probe and place that has any; all in one allocation.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    hits: Vec<Hit>,
    /// By place and probe: the first and the last of its hits. Grows with the first hit, so a request that the filter leaves
    /// nothing of touches none of it.
    ends: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Hit {
    entry: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Hits {
    pub(crate) fn clear(&mut self) {
        self.hits.clear();
        self.ends.clear();
    }

    /// Gives back what is more than the next transaction is likely to need.
    pub(crate) fn rest(&mut self) {
        rest(&mut self.hits);
        rest(&mut self.ends);
    }

    /// Takes note that `entry` may match; entries come in order, each any number of times.
    pub(crate) fn push(&mut self, cell: usize, entry: usize) {
        let entry = u32::try_from(entry).unwrap_or(NONE);
        let at = u32::try_from(self.hits.len()).unwrap_or(NONE);
        if self.ends.len() <= cell {
            self.ends.resize(cell + 1, (NONE, NONE));
        }
        let Some(ends) = self.ends.get_mut(cell) else {
            return;
        };
        if let Some(last) = self.hits.get_mut(ends.1 as usize) {
            if last.entry == entry {
                return;
            }
            last.next = at;
        } else {
            ends.0 = at;
        }
        ends.1 = at;
        self.hits.push(Hit { entry, next: NONE });
    }

    /// Where the hits of a cell start, for [`get`](Self::get).
    pub(crate) fn first(&self, cell: usize) -> u32 {
        self.ends.get(cell).map_or(NONE, |ends| ends.0)
    }

    /// The entry of a hit, and the hit after it.
    pub(crate) fn get(&self, hit: u32) -> Option<(usize, u32)> {
        let hit = self.hits.get(hit as usize)?;
        Some((hit.entry as usize, hit.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_each_entry_once_and_in_order() {
        let mut hits = Hits::default();
        for (cell, entry) in [(3, 0), (1, 0), (3, 0), (3, 4), (1, 2), (3, 9)] {
            hits.push(cell, entry);
        }
        let of = |cell| {
            let mut found = Vec::new();
            let mut hit = hits.first(cell);
            while let Some((entry, next)) = hits.get(hit) {
                found.push(entry);
                hit = next;
            }
            found
        };
        assert_eq!(of(3), [0, 4, 9]);
        assert_eq!(of(1), [0, 2]);
        assert_eq!(of(0), [0_usize; 0]);
        assert_eq!(of(7), [0_usize; 0]);
    }
}
