//! The TX collection: numbered slots for the names that rules mention, a table for names that are put together at run time.

use std::collections::HashMap;

use super::texts::TextId;
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

/// The variables of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Tx {
    slots: Vec<TxValue>,
    dynamic: Vec<(TextId, TxValue)>,
    index: HashMap<Box<[u8]>, usize>,
}

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
        self.dynamic.clear();
        if !self.index.is_empty() {
            self.index.clear();
            self.index.shrink_to(MAX_DYNAMIC / 16);
        }
    }

    pub(crate) fn get(&self, name: TxName) -> TxValue {
        match name {
            TxName::Slot(slot) => self.slots.get(usize::from(slot)).copied(),
            TxName::Dynamic(at) => self.dynamic.get(at).map(|(_, value)| *value),
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
                if let Some((_, cell)) = self.dynamic.get_mut(at) {
                    *cell = value;
                }
            }
        }
    }

    /// The variable of this name, in lower case; made if there is none. `None`: there are too many.
    pub(crate) fn by_name(
        &mut self,
        program: &Program,
        name: &[u8],
        keep: impl FnOnce(&[u8]) -> TextId,
    ) -> Option<TxName> {
        if let Some(slot) = program.tx.slots.get(name) {
            return Some(TxName::Slot(*slot));
        }
        if let Some(at) = self.index.get(name) {
            return Some(TxName::Dynamic(*at));
        }
        if self.dynamic.len() >= MAX_DYNAMIC {
            return None;
        }
        let at = self.dynamic.len();
        self.dynamic.push((keep(name), TxValue::Unset));
        self.index.insert(name.into(), at);
        Some(TxName::Dynamic(at))
    }

    pub(crate) fn dynamic_len(&self) -> usize {
        self.dynamic.len()
    }

    pub(crate) fn dynamic_name(&self, at: usize) -> TextId {
        self.dynamic
            .get(at)
            .map_or(TextId::EMPTY, |(name, _)| *name)
    }

    pub(crate) fn slots_len(&self) -> usize {
        self.slots.len()
    }
}
