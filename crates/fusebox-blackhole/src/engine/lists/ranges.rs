//! Nested blocks as flat ranges, each with the answer of its longest prefix.

/// A block or range: first address, last address, what to say of it.
pub(super) type Block<K> = (K, K, u16);

/// Disjoint ranges in order, each with a tag.
///
/// Firsts, lasts and tags apart: a search looks at firsts alone.
#[derive(Debug)]
pub(super) struct Ranges<K> {
    firsts: Box<[K]>,
    lasts: Box<[K]>,
    tags: Box<[u16]>,
}

/// An address as a number.
pub(super) trait Address: Copy + Ord {
    /// The one before; of the first one itself.
    fn before(self) -> Self;
    /// The one after; none of the last one.
    fn after(self) -> Option<Self>;
}

macro_rules! address {
    ($($number:ty),+) => {$(
        impl Address for $number {
            fn before(self) -> Self {
                self.saturating_sub(1)
            }
            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )+};
}

address!(u32, u128);

impl<K> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            firsts: Box::default(),
            lasts: Box::default(),
            tags: Box::default(),
        }
    }
}

impl<K: Address> Ranges<K> {
    /// Flattens blocks of which any two are apart or one inside the other, as CIDR blocks are. The smaller one has
    /// the say over its part; of two that are equal, the one with the smaller tag. Ranges that touch and agree become
    /// one.
    pub(super) fn flatten(mut blocks: Vec<Block<K>>) -> Self {
        // The larger of two that begin alike first: whoever comes later lies inside.
        blocks
            .sort_unstable_by(|one, other| (one.0, other.1, one.2).cmp(&(other.0, one.1, other.2)));
        blocks.dedup_by_key(|(first, last, _)| (*first, *last));
        let mut flat = Flat {
            ranges: Vec::with_capacity(blocks.len()),
        };
        // The blocks around the one in hand, innermost last, and the first address that is not said yet.
        let mut open: Vec<Block<K>> = Vec::new();
        let mut next = None;
        for block in blocks {
            while let Some(inner) = open.pop_if(|inner| inner.1 < block.0) {
                next = flat.close(next, inner);
            }
            if let (Some(around), Some(from)) = (open.last(), next)
                && from < block.0
            {
                flat.push((from, block.0.before(), around.2));
            }
            next = Some(block.0);
            open.push(block);
        }
        while let Some(inner) = open.pop() {
            next = flat.close(next, inner);
        }
        flat.done()
    }

    /// The tag of the range that has the address.
    #[inline]
    pub(super) fn find(&self, address: K) -> Option<u16> {
        let behind = self.firsts.partition_point(|first| *first <= address);
        let at = behind.checked_sub(1)?;
        if address <= *self.lasts.get(at)? {
            self.tags.get(at).copied()
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Block<K>> {
        let ends = self.firsts.iter().zip(&self.lasts);
        ends.zip(&self.tags)
            .map(|((first, last), tag)| (*first, *last, *tag))
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.firsts) + size_of_val(&*self.lasts) + size_of_val(&*self.tags)
    }
}

/// Ranges in the making.
struct Flat<K> {
    ranges: Vec<Block<K>>,
}

impl<K: Address> Flat<K> {
    /// Says the rest of a block that nothing more lies in, and where its outer block goes on.
    fn close(&mut self, next: Option<K>, block: Block<K>) -> Option<K> {
        let from = next?;
        if from <= block.1 {
            self.push((from, block.1, block.2));
            return block.1.after();
        }
        next
    }

    /// Joins it to the one before where they touch and agree.
    fn push(&mut self, range: Block<K>) {
        match self.ranges.last_mut() {
            Some(open) if open.2 == range.2 && open.1.after() == Some(range.0) => {
                open.1 = range.1;
            }
            _ => self.ranges.push(range),
        }
    }

    fn done(self) -> Ranges<K> {
        Ranges {
            firsts: self.ranges.iter().map(|range| range.0).collect(),
            lasts: self.ranges.iter().map(|range| range.1).collect(),
            tags: self.ranges.iter().map(|range| range.2).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(blocks: &[Block<u32>]) -> Vec<Block<u32>> {
        Ranges::flatten(blocks.to_vec()).iter().collect()
    }

    #[test]
    fn the_smaller_block_has_the_say_over_its_part() {
        assert_eq!(
            flat(&[(0, 99, 1), (10, 19, 2)]),
            [(0, 9, 1), (10, 19, 2), (20, 99, 1)]
        );
        assert_eq!(flat(&[(0, 99, 1), (0, 9, 2)]), [(0, 9, 2), (10, 99, 1)]);
        assert_eq!(flat(&[(0, 99, 1), (90, 99, 2)]), [(0, 89, 1), (90, 99, 2)]);
        assert_eq!(flat(&[(0, 99, 2), (0, 99, 1)]), [(0, 99, 1)]);
        let deep = [(0, 99, 1), (10, 49, 2), (20, 29, 3), (29, 29, 4)];
        let expected = [
            (0, 9, 1),
            (10, 19, 2),
            (20, 28, 3),
            (29, 29, 4),
            (30, 49, 2),
            (50, 99, 1),
        ];
        assert_eq!(flat(&deep), expected);
    }

    #[test]
    fn what_touches_and_agrees_becomes_one() {
        assert_eq!(
            flat(&[(0, 9, 1), (10, 19, 1), (20, 29, 2)]),
            [(0, 19, 1), (20, 29, 2)]
        );
        assert_eq!(flat(&[(0, 99, 1), (10, 19, 1)]), [(0, 99, 1)]);
    }

    #[test]
    fn the_last_address_of_all_is_no_special_case() {
        let last = u32::MAX;
        assert_eq!(
            flat(&[(0, last, 1), (last, last, 2)]),
            [(0, last - 1, 1), (last, last, 2)]
        );
        assert_eq!(
            flat(&[(0, last, 1), (8, last, 2), (last, last, 3)]),
            [(0, 7, 1), (8, last - 1, 2), (last, last, 3)]
        );
    }
}
