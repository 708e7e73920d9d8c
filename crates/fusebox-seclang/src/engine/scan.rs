//! Looks once at each value of a request and says which rules can match at all.

use super::Engine;
use super::lists::{Field, List};
use super::texts::{LONG, TextId};
use crate::compile::{Bits, Lane, Lanes, MAX_WORDS, Place, Probe, Screen, bits_contain};

impl Engine<'_> {
    /// Looks at what has come since the last phase; whether it came to the end before the slice did. What was looked at is not
    /// looked at again, so calling again goes on.
    pub(super) fn screen(&mut self, phase: u8) -> bool {
        let at = match phase {
            1 | 2 => 0,
            3 | 4 => 1,
            _ => return true,
        };
        let program = self.program;
        let Some(screen) = program.screens.as_ref().and_then(|screens| screens.get(at)) else {
            return true;
        };
        for (place_at, lane) in screen.places.iter().enumerate() {
            match &lane.place {
                Place::List(list, field) => {
                    let end = self.state.lists.get(*list).len();
                    for entry_at in self.looked_at(at, place_at)..end {
                        // Long names under every transformation are work too; no rule runs once it is too much.
                        if self.is_exhausted() {
                            return true;
                        }
                        if self.slice_ends() {
                            return false;
                        }
                        let Some(entry) = self.state.lists.get(*list).get(entry_at).copied() else {
                            break;
                        };
                        let text = match field {
                            Field::Name => entry.name,
                            Field::Value => entry.value,
                        };
                        let cells = place_at * screen.probes;
                        if !self.look(screen, at, lane, Some((entry.name, entry_at, cells)), text) {
                            return false;
                        }
                        self.set_looked_at(at, place_at, entry_at + 1);
                    }
                }
                Place::Single(variable) => {
                    let text = self.state.single(*variable);
                    // Counted from one, so that the empty text of the beginning is looked at too.
                    let seen = text.index() + 1;
                    if self.looked_at(at, place_at) != seen {
                        if !self.look(screen, at, lane, None, text) {
                            return false;
                        }
                        self.set_looked_at(at, place_at, seen);
                    }
                }
            }
        }
        true
    }

    /// How much of a place was looked at.
    fn looked_at(&self, screen: usize, place: usize) -> usize {
        let places = self.state.looked_at.get(screen);
        places
            .and_then(|places| places.get(place))
            .map_or(0, |looked_at| *looked_at as usize)
    }

    fn set_looked_at(&mut self, screen: usize, place: usize, now: usize) {
        let places = self.state.looked_at.get_mut(screen);
        if let Some(cell) = places.and_then(|places| places.get_mut(place)) {
            *cell = u32::try_from(now).unwrap_or(u32::MAX);
        }
    }

    /// Whether the whole text was looked at before the slice ended.
    fn look(
        &mut self,
        screen: &Screen,
        at: usize,
        lane: &Lane,
        entry: Option<(TextId, usize, usize)>,
        text: TextId,
    ) -> bool {
        for lanes in &lane.lanes {
            if let (Some(wanted), Some((name, ..))) = (&lanes.name, entry)
                && !self.state.texts.get(name).eq_ignore_ascii_case(wanted)
            {
                continue;
            }
            let entry = entry.map(|(_, entry, cells)| (entry, cells));
            if !self.look_through(screen, at, lanes, &lane.of, entry, text) {
                return false;
            }
        }
        true
    }

    fn look_through(
        &mut self,
        screen: &Screen,
        at: usize,
        lanes: &Lanes,
        of: &Bits,
        entry: Option<(usize, usize)>,
        text: TextId,
    ) -> bool {
        let program = self.program;
        let state = &mut *self.state;
        let (Some(candidates), Some(hits)) = (state.candidates.get_mut(at), state.hits.get_mut(at))
        else {
            return true;
        };
        let until = state.until;
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
        let present = state.texts.present(text);
        if !lanes.always_changes && !present.intersects(lanes.triggers) {
            let all = lanes.all.words();
            note(state.texts.probes(screen, of, all, text), all);
            return true;
        }
        // Most chains leave most values as they are, and different chains make the same of a value: each text is looked at once,
        // for all chains that lead to it.
        let mut seen_by = std::mem::take(&mut state.seen_by);
        seen_by.clear();
        let mut is_cut = false;
        for chain in &lanes.chains {
            let seen = if chain.always_changes || present.intersects(chain.triggers) {
                let seen = state.texts.transformed(program, text, chain.node);
                // What is left is done by the next slice, which finds what was done in the arena.
                if state.work.saturating_add(state.texts.work) >= until
                    && state.texts.length(text) >= LONG
                {
                    is_cut = true;
                    break;
                }
                seen
            } else {
                text
            };
            let at = seen_by.iter().position(|(known, _)| *known == seen);
            let at = at.unwrap_or_else(|| {
                seen_by.push((seen, [0; MAX_WORDS]));
                seen_by.len() - 1
            });
            if let Some((_, probes)) = seen_by.get_mut(at) {
                for (all, word) in probes.iter_mut().zip(chain.probes.words()) {
                    *all |= word;
                }
            }
        }
        for (seen, probes) in &seen_by {
            if is_cut {
                break;
            }
            note(state.texts.probes(screen, of, probes, *seen), probes);
            is_cut = state.work.saturating_add(state.texts.work) >= until
                && state.texts.length(text) >= LONG;
        }
        state.seen_by = seen_by;
        !is_cut
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
