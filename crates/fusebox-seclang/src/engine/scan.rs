//! Looks once at each value of a request and says which rules can match at all.

use super::Engine;
use super::lists::{Field, List};
use super::texts::TextId;
use crate::compile::{Bits, Lanes, MAX_WORDS, Place, Probe, Screen, bits_contain};

impl Engine<'_> {
    /// Looks at what has come since the last phase.
    pub(super) fn screen(&mut self, phase: u8) {
        let at = match phase {
            1 | 2 => 0,
            3 | 4 => 1,
            _ => return,
        };
        let program = self.program;
        let Some(screen) = program.screens.as_ref().and_then(|screens| screens.get(at)) else {
            return;
        };
        for (place_at, lane) in screen.places.iter().enumerate() {
            match &lane.place {
                Place::List(list, field) => {
                    let end = self.state.lists.get(*list).len();
                    for entry_at in self.looked_at(at, place_at, end)..end {
                        // Long names under every transformation are work too; no rule runs once it is too much.
                        if self.is_exhausted() {
                            return;
                        }
                        let Some(entry) = self.state.lists.get(*list).get(entry_at).copied() else {
                            break;
                        };
                        let text = match field {
                            Field::Name => entry.name,
                            Field::Value => entry.value,
                        };
                        let cells = place_at * screen.probes;
                        self.look(
                            screen,
                            at,
                            place_at,
                            Some((entry.name, entry_at, cells)),
                            text,
                        );
                    }
                }
                Place::Single(variable) => {
                    let text = self.state.single(*variable);
                    // Counted from one, so that the empty text of the beginning is looked at too.
                    let seen = text.index() + 1;
                    if self.looked_at(at, place_at, seen) != seen {
                        self.look(screen, at, place_at, None, text);
                    }
                }
            }
        }
    }

    /// How much of a place was looked at, which is then `now`.
    fn looked_at(&mut self, screen: usize, place: usize, now: usize) -> usize {
        let cell = self
            .state
            .looked_at
            .get_mut(screen)
            .and_then(|places| places.get_mut(place));
        cell.map_or(now, |cell| {
            std::mem::replace(cell, u32::try_from(now).unwrap_or(u32::MAX)) as usize
        })
    }

    fn look(
        &mut self,
        screen: &Screen,
        at: usize,
        place: usize,
        entry: Option<(TextId, usize, usize)>,
        text: TextId,
    ) {
        for lanes in screen.places.get(place).map_or(&[][..], |lane| &lane.lanes) {
            if let (Some(wanted), Some((name, ..))) = (&lanes.name, entry)
                && !self.state.texts.get(name).eq_ignore_ascii_case(wanted)
            {
                continue;
            }
            let entry = entry.map(|(_, entry, cells)| (entry, cells));
            self.look_through(screen, at, lanes, place, entry, text);
        }
    }

    fn look_through(
        &mut self,
        screen: &Screen,
        at: usize,
        lanes: &Lanes,
        place: usize,
        entry: Option<(usize, usize)>,
        text: TextId,
    ) {
        let program = self.program;
        let state = &mut *self.state;
        let (Some(candidates), Some(hits)) = (state.candidates.get_mut(at), state.hits.get_mut(at))
        else {
            return;
        };
        let mut note = |probes: &[u64], lane: &[u64]| {
            for (word_at, ((candidate, probe), lane)) in
                candidates.iter_mut().zip(probes).zip(lane).enumerate()
            {
                let mut left = probe & lane;
                *candidate |= left;
                if let Some((entry, cells)) = entry {
                    while left != 0 {
                        let bit = word_at * 64 + left.trailing_zeros() as usize;
                        left &= left - 1;
                        hits.push(cells + bit, entry);
                    }
                }
            }
        };
        let length = state.texts.length(text) as u64;
        state.work += length;
        let present = state.texts.present(text);
        if !lanes.always_changes && !present.intersects(lanes.triggers) {
            note(state.texts.probes(screen, place, text), lanes.all.words());
            return;
        }
        // Most chains leave most values as they are; what looks at the value itself is put together and looks once.
        let mut itself = [0; MAX_WORDS];
        let mut join = |probes: &Bits| {
            for (all, word) in itself.iter_mut().zip(probes.words()) {
                *all |= word;
            }
        };
        for chain in &lanes.chains {
            if !chain.always_changes && !present.intersects(chain.triggers) {
                join(&chain.probes);
                continue;
            }
            let seen = state.texts.transformed(program, text, chain.node);
            if seen == text {
                join(&chain.probes);
            } else {
                note(
                    state.texts.probes(screen, place, seen),
                    chain.probes.words(),
                );
            }
        }
        note(state.texts.probes(screen, place, text), &itself);
    }

    /// The first entry of a list that may match, for [`hit_at`](Self::hit_at).
    pub(super) fn first_hit(&self, probe: Probe, list: List, field: Field) -> u32 {
        let at = usize::from(probe.screen);
        let screen = self
            .program
            .screens
            .as_ref()
            .and_then(|screens| screens.get(at));
        let cell = screen.and_then(|screen| {
            Some(screen.place_of(list, field)? * screen.probes + usize::from(probe.bit))
        });
        let hits = self.state.hits.get(at);
        match (cell, hits) {
            (Some(cell), Some(hits)) => hits.first(cell),
            _ => u32::MAX,
        }
    }

    /// The entry of a hit, and the hit after it.
    pub(super) fn hit_at(&self, probe: Probe, hit: u32) -> Option<(usize, u32)> {
        self.state.hits.get(usize::from(probe.screen))?.get(hit)
    }

    pub(super) fn is_candidate(&self, probe: Probe) -> bool {
        let candidates = self.state.candidates.get(usize::from(probe.screen));
        candidates.is_some_and(|candidates| bits_contain(candidates, usize::from(probe.bit)))
    }
}
