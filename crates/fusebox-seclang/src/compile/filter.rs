//! One look at a text says which rules cannot match it.
//!
//! Each rule whose first condition is a plain expression or a list of phrases has a *probe*, a bit. [`Filter::look_at_bytes`] and [`Filter::scan`] leave the bits
//! of the probes that a text may pass: by its length, by the bytes in it, and by one pass of an Aho-Corasick automaton over all the
//! strings that the rules need (Aho and Corasick, "Efficient string matching", 1975). Then [`Lanes`] say which probes look at a
//! value at all, and after which transformations.
//!
//! Neither knows more than that a rule cannot match; whether it does is decided by its own operator.

use std::collections::HashMap;

use aho_corasick::automaton::Automaton;
use aho_corasick::automaton::StateID;
use aho_corasick::dfa::{Builder, DFA};
use aho_corasick::{Anchored, MatchKind, StartKind};

use super::bits::Bits;
use super::needs::{MAX_LITERAL, Needs, NeedsBy};
use super::program::{Node, Operator, Rule, Select};
use super::restrict::{PLAIN, alphabet_of};
use crate::ByteSet;
use crate::engine::{Field, LISTS, List, lists_of};
use crate::error::ErrorKind;
use crate::parse::Variable;

/// Texts at least this long are all of one length to the filter.
const LONG: usize = 32;

/// How many sets of a probe are looked up by byte; what they leave is so little that the others are compared one by one.
const PLANES: usize = 2;

/// Words of probes that are looked up at once: what fits into registers. CRS has 250 probes at the first level, 350 at the fourth.
const WIDE: usize = 4;

/// Texts of this length are scanned in pieces at the same time: each step of an automaton waits for the one before, mostly for
/// memory, and four that do not wait for each other take hardly longer than one.
const INTERLEAVED: usize = 512;
const PIECES: usize = 4;

/// For one byte: by plane, the probes whose set has it.
type Row = [[u64; WIDE]; PLANES];

/// Which probes a text may pass.
#[derive(Debug)]
pub(crate) struct Filter {
    /// How many words a set of probes has.
    words: usize,
    /// By length: probes whose matches may be that short.
    by_length: Vec<Bits>,
    /// The two rarest sets of each probe, by [`WIDE`] words of probes and by byte: the probes whose set has it, or that have no
    /// set.
    planes: Vec<Box<[Row; 256]>>,
    /// The other sets of each probe.
    other_sets: Vec<Box<[ByteSet]>>,
    /// Probes that need a string.
    need_literal: Bits,
    automaton: Option<DFA>,
    /// By pattern of the automaton: the probes that it is for.
    probes_of: Vec<Box<[u16]>>,
}

impl Filter {
    /// `None` for a probe that no text passes.
    fn build(needs: &[Option<&Needs>]) -> Result<Self, ErrorKind> {
        let empty = || Bits::new(needs.len());
        let mut by_length = vec![empty(); LONG + 1];
        let words = empty().words().len();
        let no_row = [[0; WIDE]; PLANES];
        let mut planes = vec![Box::new([no_row; 256]); words.div_ceil(WIDE)];
        let mut other_sets = Vec::new();
        let mut need_literal = empty();
        let mut patterns: HashMap<&[u8], Vec<u16>> = HashMap::new();
        for (probe, needs) in needs.iter().enumerate() {
            let Some(needs) = needs else {
                other_sets.push(Box::default());
                continue;
            };
            for bits in by_length.iter_mut().skip(needs.length.min(LONG)) {
                bits.insert(probe);
            }
            let mut sets = needs.sets.iter().copied();
            let rows = planes
                .get_mut(probe / (64 * WIDE))
                .ok_or_else(|| too_many(needs.literals.len()))?;
            for plane in 0..PLANES {
                let set = sets.next().unwrap_or(ByteSet::FULL);
                for byte in set.iter() {
                    let row = rows.get_mut(usize::from(byte));
                    let words = row.and_then(|row| row.get_mut(plane));
                    if let Some(word) = words.and_then(|words| words.get_mut(probe / 64 % WIDE)) {
                        *word |= 1 << (probe % 64);
                    }
                }
            }
            other_sets.push(sets.collect());
            if !needs.literals.is_empty() {
                need_literal.insert(probe);
            }
            for literal in &needs.literals {
                let probe = u16::try_from(probe).map_err(|_| too_many(needs.literals.len()))?;
                patterns.entry(literal).or_default().push(probe);
            }
        }
        let (texts, probes_of): (Vec<&[u8]>, Vec<Box<[u16]>>) = patterns
            .into_iter()
            .map(|(text, probes)| (text, probes.into()))
            .unzip();
        // The full form: it takes 8 MiB for CRS, of which a request touches little, and half the time of the contiguous one on
        // hostile text, where no failure has to be followed.
        let automaton = Builder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .build(&texts)
            .map_err(|_| too_many(texts.len()))?;
        Ok(Self {
            words,
            by_length,
            planes,
            other_sets,
            need_literal,
            automaton: (!texts.is_empty()).then_some(automaton),
            probes_of,
        })
    }

    pub(crate) const fn words(&self) -> usize {
        self.words
    }

    /// Leaves of `probes` those that a text of this length and these bytes may pass; whether one of them needs a string.
    pub(crate) fn look_at_bytes(
        &self,
        length: usize,
        present: ByteSet,
        probes: &mut [u64],
    ) -> bool {
        let is_empty = length == 0;
        let length = self.by_length.get(length.min(LONG));
        let mut left = 0;
        for (probe, length) in probes.iter_mut().zip(length.map_or(&[][..], Bits::words)) {
            *probe &= length;
            left |= *probe;
        }
        // An empty text has no byte to look up, and its length has left what can match it.
        if left == 0 || is_empty {
            return false;
        }
        for (rows, probes) in self.planes.iter().zip(probes.chunks_mut(WIDE)) {
            let [rarest, second] = sets_with(rows, present);
            for ((probe, rarest), second) in probes.iter_mut().zip(rarest).zip(second) {
                *probe &= rarest & second;
            }
        }
        let mut literal = 0;
        for (at, (word, needed)) in probes.iter_mut().zip(self.need_literal.words()).enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let sets = self.other_sets.get(at * 64 + bit).map(|sets| &**sets);
                let mut sets = sets.unwrap_or_default().iter();
                if sets.any(|set| !set.intersects(present)) {
                    *word &= !(1 << bit);
                }
            }
            literal |= *word & needed;
        }
        literal != 0
    }

    /// Takes out the probes that need a string which is not among those found.
    pub(crate) fn keep_found(&self, found: &[u64], probes: &mut [u64]) {
        for ((probe, found), needed) in probes.iter_mut().zip(found).zip(self.need_literal.words())
        {
            *probe &= found | !needed;
        }
    }

    /// Takes out the probes that need a string which is not there.
    pub(crate) fn scan(&self, text: &[u8], probes: &mut [u64]) {
        let Some(automaton) = &self.automaton else {
            return;
        };
        let Ok(start) = automaton.start_state(Anchored::No) else {
            return;
        };
        // Probes that still wait for a string. They are set aside and come back one by one.
        let mut waiting = [0_u64; MAX_WORDS];
        for ((wait, probe), needed) in waiting
            .iter_mut()
            .zip(probes.iter_mut())
            .zip(self.need_literal.words())
        {
            *wait = *probe & needed;
            *probe &= !needed;
        }
        if waiting.iter().all(|wait| *wait == 0) {
            return;
        }
        // The pieces overlap by as much as a string needs that begins at the end of one.
        let share = match text.len() {
            INTERLEAVED.. => text.len().div_ceil(PIECES),
            length => length,
        };
        let pieces: [&[u8]; PIECES] = std::array::from_fn(|piece| {
            let start = (piece * share).min(text.len());
            let end = (start + share + MAX_LITERAL - 1).min(text.len());
            text.get(start..end).unwrap_or_default()
        });
        let [a, b, c, d] = pieces;
        let mut states = [start; PIECES];
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            let mut is_special = false;
            for (state, byte) in states.iter_mut().zip([a, b, c, d]) {
                *state = automaton.next_state(Anchored::No, *state, *byte);
                is_special |= automaton.is_special(*state);
            }
            if is_special {
                for state in states {
                    if automaton.is_match(state) {
                        self.found(automaton, state, &mut waiting, probes);
                    }
                }
                if waiting.iter().all(|wait| *wait == 0) {
                    return;
                }
            }
        }
        for (piece, state) in pieces.into_iter().zip(states) {
            let mut state = state;
            // The last piece is the shortest, so all have come as far as it.
            for byte in piece.get(d.len()..).unwrap_or_default() {
                state = automaton.next_state(Anchored::No, state, *byte);
                if automaton.is_special(state) && automaton.is_match(state) {
                    self.found(automaton, state, &mut waiting, probes);
                    if waiting.iter().all(|wait| *wait == 0) {
                        return;
                    }
                }
            }
        }
    }

    fn found(
        &self,
        automaton: &DFA,
        state: StateID,
        waiting: &mut [u64; MAX_WORDS],
        probes: &mut [u64],
    ) {
        for at in 0..automaton.match_len(state) {
            let pattern = automaton.match_pattern(state, at);
            let Some(found) = self.probes_of.get(pattern.as_usize()) else {
                continue;
            };
            for probe in found {
                let (word, bit) = (usize::from(probe / 64), 1_u64 << (probe % 64));
                if let (Some(wait), Some(probe)) = (waiting.get_mut(word), probes.get_mut(word)) {
                    *probe |= *wait & bit;
                    *wait &= !bit;
                }
            }
        }
    }
}

/// Probes in one filter: 1,024. CRS has 300; rules beyond are looked at one by one, as if there were no filter.
pub(crate) const MAX_WORDS: usize = 16;

/// By plane, the probes whose set has one of these bytes.
fn sets_with(rows: &[Row; 256], present: ByteSet) -> Row {
    let mut hits = [[0; WIDE]; PLANES];
    for (high, word) in present.to_words().into_iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            let byte = high * 64 + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let Some(row) = rows.get(byte) else { break };
            for (hit, row) in hits.iter_mut().zip(row) {
                for (hit, row) in hit.iter_mut().zip(row) {
                    *hit |= row;
                }
            }
        }
    }
    hits
}

fn too_many(found: usize) -> ErrorKind {
    ErrorKind::TooLarge {
        what: "strings in all expressions",
        limit: 1 << 24,
        found,
    }
}

/// Which probes look at the values of one place, after which transformations.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Only entries of this name, in lower case.
    pub(crate) name: Option<Box<[u8]>>,
    /// All of them.
    pub(crate) all: Bits,
    /// A value without any of these is what it is after every transformation.
    pub(crate) triggers: ByteSet,
    pub(crate) always_changes: bool,
    pub(crate) chains: Vec<Chain>,
}

/// What a chain of transformations makes of a value, and the probes that look at it.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) node: u32,
    /// Without any of these it is the value as it was.
    pub(crate) triggers: ByteSet,
    pub(crate) always_changes: bool,
    pub(crate) probes: Bits,
}

/// Where values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    List(List, Field),
    Single(Variable),
}

/// A filter and what feeds it: one for requests and one for responses, which have no value in common.
#[derive(Debug)]
pub(crate) struct Screen {
    any: Filter,
    /// By alphabet: for plain texts, of which expressions ask more.
    plain: Vec<Filter>,
    pub(crate) places: Vec<Lane>,
    /// By list and field: which of the places it is.
    place_of: [Option<u8>; 2 * LISTS],
    /// How many probes there are.
    pub(crate) probes: usize,
}

impl Screen {
    /// How many words a set of probes has.
    pub(crate) const fn words(&self) -> usize {
        self.any.words()
    }

    /// The filter for texts of these bytes, in whatever case.
    pub(crate) fn filter(&self, present: ByteSet) -> &Filter {
        alphabet_of(present)
            .and_then(|alphabet| self.plain.get(alphabet))
            .unwrap_or(&self.any)
    }

    pub(crate) fn place_of(&self, list: List, field: Field) -> Option<usize> {
        let place = self.place_of.get(list as usize * 2 + field as usize)?;
        place.map(usize::from)
    }
}

/// A place, the probes that a text from there is looked at for, and what looks at it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) place: Place,
    pub(crate) of: Bits,
    pub(crate) lanes: Vec<Lanes>,
}

/// A rule's place in a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) screen: u8,
    pub(crate) bit: u16,
}

/// Gives probes to the rules that can have one, and builds both screens.
pub(super) fn build(
    rules: &mut [Rule],
    nodes: &[Node],
    needs_of: impl Fn(&Operator) -> Option<NeedsBy>,
) -> Result<[Screen; 2], ErrorKind> {
    let mut needs: [Vec<NeedsBy>; 2] = Default::default();
    let mut probed: [Vec<usize>; 2] = Default::default();
    for (at, rule) in rules.iter_mut().enumerate() {
        let Some(screen) = screen_of(rule) else {
            continue;
        };
        let Some(rule_needs) = needs_of(&rule.operator) else {
            continue;
        };
        let (Some(needs), Some(probed)) = (
            needs.get_mut(usize::from(screen)),
            probed.get_mut(usize::from(screen)),
        ) else {
            continue;
        };
        if needs.len() >= MAX_WORDS * 64 {
            continue;
        }
        rule.probe = u16::try_from(needs.len())
            .ok()
            .map(|bit| Probe { screen, bit });
        needs.push(rule_needs);
        probed.push(at);
    }
    let [request, response] = needs;
    let [request_rules, response_rules] = probed;
    Ok([
        screen(&request, &request_rules, rules, nodes)?,
        screen(&response, &response_rules, rules, nodes)?,
    ])
}

/// The screen that a rule can be probed in: it must look only at values that do not change while its phase runs.
fn screen_of(rule: &Rule) -> Option<u8> {
    let phase = rule.head.as_ref()?.phase;
    if rule.negated || rule.targets.is_empty() {
        return None;
    }
    let screen = match phase {
        1 | 2 => 0,
        3 | 4 => 1,
        _ => return None,
    };
    let fits = rule.targets.iter().all(|target| {
        !target.count
            && !places(target.variable).is_empty()
            && is_response(target.variable) == (screen == 1)
    });
    fits.then_some(screen)
}

const fn is_response(variable: Variable) -> bool {
    matches!(
        variable,
        Variable::ResponseBody
            | Variable::ResponseContentType
            | Variable::ResponseHeaders
            | Variable::ResponseHeadersNames
            | Variable::ResponseProtocol
            | Variable::ResponseStatus
    )
}

fn places(variable: Variable) -> Vec<Place> {
    match variable {
        // These change while rules run, or have no text before one asks.
        Variable::HighestSeverity
        | Variable::MatchedVar
        | Variable::MatchedVarName
        | Variable::ReqbodyProcessor
        | Variable::Time
        | Variable::TimeDay
        | Variable::TimeEpoch
        | Variable::TimeHour
        | Variable::TimeMin
        | Variable::TimeMon
        | Variable::TimeSec
        | Variable::TimeWday
        | Variable::TimeYear
        | Variable::UniqueId
        | Variable::WebAppId => Vec::new(),
        variable if variable.has_parts() => lists_of(variable)
            .iter()
            .map(|(list, field)| Place::List(*list, *field))
            .collect(),
        variable => vec![Place::Single(variable)],
    }
}

fn screen(
    needs: &[NeedsBy],
    probed: &[usize],
    rules: &[Rule],
    nodes: &[Node],
) -> Result<Screen, ErrorKind> {
    let mut all: Vec<Lane> = Vec::new();
    for (probe, at) in probed.iter().enumerate() {
        let Some(rule) = rules.get(*at) else { continue };
        let last = [rule.node];
        let steps = if rule.multi_match.is_empty() {
            &last[..]
        } else {
            &rule.multi_match
        };
        for target in &rule.targets {
            let name = match &target.select {
                Select::Name(name) if target.variable != Variable::Xml => Some(name),
                _ => None,
            };
            for place in places(target.variable) {
                let lane = entry(
                    &mut all,
                    |lane| lane.place == place,
                    || Lane {
                        place,
                        of: Bits::new(needs.len()),
                        lanes: Vec::new(),
                    },
                );
                let Some(lane) = lane else { continue };
                lane.of.insert(probe);
                let lanes = entry(
                    &mut lane.lanes,
                    |lanes| lanes.name.as_ref() == name,
                    || Lanes {
                        name: name.cloned(),
                        all: Bits::new(needs.len()),
                        triggers: ByteSet::EMPTY,
                        always_changes: false,
                        chains: Vec::new(),
                    },
                );
                if let Some(lanes) = lanes {
                    lanes.add(probe, steps, nodes, needs.len());
                }
            }
        }
    }
    let mut place_of = [None; 2 * LISTS];
    for (at, lane) in (0..).zip(&all) {
        if let Place::List(list, field) = lane.place
            && let Some(cell) = place_of.get_mut(list as usize * 2 + field as usize)
        {
            *cell = Some(at);
        }
    }
    let any: Vec<_> = needs.iter().map(|needs| needs.any.as_ref()).collect();
    let mut plain = Vec::new();
    for alphabet in 0..PLAIN {
        let of = |needs| NeedsBy::plain(needs, alphabet);
        plain.push(Filter::build(&needs.iter().map(of).collect::<Vec<_>>())?);
    }
    Ok(Screen {
        any: Filter::build(&any)?,
        plain,
        places: all,
        place_of,
        probes: needs.len(),
    })
}

/// The entry that is meant, made if there is none.
fn entry<T>(
    entries: &mut Vec<T>,
    is_it: impl FnMut(&T) -> bool,
    make: impl FnOnce() -> T,
) -> Option<&mut T> {
    match entries.iter().position(is_it) {
        Some(at) => entries.get_mut(at),
        None => {
            entries.push(make());
            entries.last_mut()
        }
    }
}

impl Lanes {
    fn add(&mut self, probe: usize, steps: &[u32], nodes: &[Node], size: usize) {
        self.all.insert(probe);
        for step in steps {
            if let Some(node) = nodes.get(*step as usize) {
                self.triggers = self.triggers.union(node.triggers);
                self.always_changes |= node.always_changes;
            }
            let node = nodes.get(*step as usize);
            let chain = entry(
                &mut self.chains,
                |chain| chain.node == *step,
                || Chain {
                    node: *step,
                    triggers: node.map_or(ByteSet::EMPTY, |node| node.triggers),
                    always_changes: node.is_some_and(|node| node.always_changes),
                    probes: Bits::new(size),
                },
            );
            if let Some(chain) = chain {
                chain.probes.insert(probe);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_found_wherever_it_is_in_a_text_scanned_in_pieces() {
        let needs = Needs::of_phrases(&[b"straddle".to_vec(), b"no".to_vec()]);
        let filter = Filter::build(&[Some(&needs)]).unwrap();
        let look = |text: &[u8], probes: &mut [u64]| {
            if filter.look_at_bytes(text.len(), ByteSet::of(text), probes) {
                filter.scan(text, probes);
            }
        };
        for length in [
            INTERLEAVED - 1,
            INTERLEAVED,
            INTERLEAVED + 1,
            INTERLEAVED + 3,
            700,
        ] {
            for at in 0..=length - 8 {
                let mut text = vec![b'.'; length];
                text[at..at + 8].copy_from_slice(b"StRaDdLe");
                let mut probes = [1];
                look(&text, &mut probes);
                assert_eq!(probes, [1], "{at} of {length}");
                text[at + 7] = b'.';
                look(&text, &mut probes);
                assert_eq!(probes, [0], "{at} of {length}");
            }
        }
    }
}
