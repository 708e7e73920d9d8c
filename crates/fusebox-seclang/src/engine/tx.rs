//! The TX collection: numbered slots for the names that rules mention, a table for names that are put together at run time.

use std::hash::{BuildHasher as _, RandomState};

use super::state::rest;
use super::texts::{TextId, Texts};
use crate::compile::Program;

/// What a variable of TX holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TxValue {
    #[default]
    Unset,
    /// What the program says, which is a text.
    Initial,
    Number(i64),
    Text(TextId),
}

/// Names put together from what a client sends; beyond this they are dropped. CRS counts arguments by name at paranoia level 3,
/// and allows 255 of them.
const MAX_DYNAMIC: usize = 4_096;

/// Lists that these names are found in, by a hash that no client can foresee.
const BUCKETS: usize = 1_024;

/// The variables of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Tx {
    slots: Vec<TxValue>,
    dynamic: Vec<Dynamic>,
    /// By hash: the first name of a list. Empty until there is one, and kept from then on.
    buckets: Vec<u32>,
    hasher: RandomState,
}

/// A variable whose name was put together.
#[derive(Clone, Copy, Debug)]
struct Dynamic {
    name: TextId,
    value: TxValue,
    /// The next of its list; [`NONE`] after the last.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// A variable of TX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxName {
    Slot(u16),
    Dynamic(usize),
}

impl Tx {
    pub(crate) fn begin(&mut self, initial: &[TxValue]) {
        self.slots.clear();
        self.slots.extend_from_slice(initial);
        self.forget_dynamic();
    }

    /// Gives back what is more than the next transaction is likely to need.
    pub(crate) fn rest(&mut self) {
        self.forget_dynamic();
        rest(&mut self.dynamic);
    }

    fn forget_dynamic(&mut self) {
        if !self.dynamic.is_empty() {
            self.dynamic.clear();
            self.buckets.fill(NONE);
        }
    }

    pub(crate) fn get(&self, name: TxName) -> TxValue {
        match name {
            TxName::Slot(slot) => self.slots.get(usize::from(slot)).copied(),
            TxName::Dynamic(at) => self.dynamic.get(at).map(|variable| variable.value),
        }
        .unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: TxName, value: TxValue) {
        match name {
            TxName::Slot(slot) => {
                if let Some(cell) = self.slots.get_mut(usize::from(slot)) {
                    *cell = value;
                }
            }
            TxName::Dynamic(at) => {
                if let Some(variable) = self.dynamic.get_mut(at) {
                    variable.value = value;
                }
            }
        }
    }

    /// The variable of this name, in lower case; made if there is none. `None`: there are too many.
    pub(crate) fn by_name(
        &mut self,
        program: &Program,
        name: &[u8],
        texts: &mut Texts,
    ) -> Option<TxName> {
        if let Some(slot) = program.tx.slots.get(name) {
            return Some(TxName::Slot(*slot));
        }
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, NONE);
        }
        let hash = self.hasher.hash_one(name);
        let bucket = usize::try_from(hash % BUCKETS as u64).ok()?;
        let bucket = self.buckets.get_mut(bucket)?;
        let mut at = *bucket;
        while let Some(variable) = self.dynamic.get(at as usize) {
            if texts.get(variable.name) == name {
                return Some(TxName::Dynamic(at as usize));
            }
            at = variable.next;
        }
        let at = self.dynamic.len();
        if at >= MAX_DYNAMIC {
            return None;
        }
        let next = std::mem::replace(bucket, u32::try_from(at).ok()?);
        self.dynamic.push(Dynamic {
            name: texts.push(name),
            value: TxValue::Unset,
            next,
        });
        Some(TxName::Dynamic(at))
    }

    pub(crate) fn dynamic_len(&self) -> usize {
        self.dynamic.len()
    }

    pub(crate) fn dynamic_name(&self, at: usize) -> TextId {
        self.dynamic
            .get(at)
            .map_or(TextId::EMPTY, |variable| variable.name)
    }

    pub(crate) fn slots_len(&self) -> usize {
        self.slots.len()
    }
}
