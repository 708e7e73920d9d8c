use fusebox_core::Outcome;

use crate::call::Call;

/// A place in a compartment, for whoever does without tower. Given back when it is dropped.
///
/// Say how the work ended with [`finish`](Self::finish); a slot that is merely dropped counts as
/// cancelled, since a drop looks the same whether the work is done or was given up.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub struct Slot(Call);

impl Slot {
    pub(crate) const fn new(call: Call) -> Self {
        Self(call)
    }

    /// Gives the slot back and tells how the work ended.
    pub fn finish(mut self, outcome: Outcome) {
        self.0.finish(outcome);
    }
}
