use std::sync::Arc;

use fusebox_core::{LayerKind, Mode, Observer};
use fusebox_testkit::{Fixture, Situation, Subject};

use super::{Flaw, Gate, KIND, Place, ToyBody, ToyLayer};

/// The toy, as the kit sees it.
pub(crate) struct Toy(pub(crate) Flaw);

impl Subject for Toy {
    const KIND: LayerKind = KIND;
    type Layer = ToyLayer;
    type Body = ToyBody;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<ToyLayer>> {
        Some(fixture(situation, observer, self.0, ToyLayer::new))
    }
}

/// A layer around a gate in that situation; any toy is made so.
pub(super) fn fixture<L>(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    flaw: Flaw,
    layer: impl FnOnce(Gate) -> L,
) -> Fixture<L> {
    let (queue, mode, full) = match situation {
        Situation::Admits => (0, Mode::Enforce, false),
        Situation::Refuses => (0, Mode::Enforce, true),
        Situation::Shadow => (0, Mode::Shadow, true),
        Situation::Waits => (1, Mode::Enforce, true),
    };
    let gate = Gate::new(queue, mode, observer, flaw);
    let taken = match gate.enter() {
        Place::Slot(slot) if full => Some(slot),
        _ => None,
    };
    let (holding, counting) = (gate.clone(), gate.clone());
    Fixture::new(layer(gate))
        .holding(move || holding.held())
        .counting(move || counting.counted())
        .keeping(taken)
}
