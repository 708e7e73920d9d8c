//! The bytes of one transaction: every value once, with the set of bytes that occur in it.

use std::ops::Range;

use super::state::rest;
use crate::compile::{Bits, Filter, Program, Screen};
use crate::{ByteSet, Transformation};

/// A text of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextId(u32);

impl TextId {
    /// The empty text, which every arena starts with.
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    end: u32,
    present: ByteSet,
    /// Where its row of transformed texts starts in `rows`; [`NO_ROW`] until one is needed.
    row: u32,
    /// Where its probes start in `probes`; [`NO_ROW`] until it was looked at.
    probes: u32,
    /// How many words that row has.
    words: u8,
    /// The next of the texts that transformations made of one value; [`NO_ROW`] after the last.
    sibling: u32,
    /// The first of what transformations made of a long text, in `made`; [`NO_ROW`] if none has.
    made: u32,
    /// The long text that differs from this one in case only, in lower case; [`NO_ROW`] if none was made.
    folded: u32,
    /// Where the strings found in a long text of lower case start in `literals`; [`NO_ROW`] until it was scanned.
    literals: u32,
    /// Answers of costly operators: for each [`Asked`] a bit that it was asked and one that it said yes.
    answers: u8,
}

const NO_ROW: u32 = u32::MAX;

impl Text {
    const fn new(start: u32, end: u32, present: ByteSet) -> Self {
        Self {
            start,
            end,
            present,
            row: NO_ROW,
            probes: NO_ROW,
            words: 0,
            sibling: NO_ROW,
            made: NO_ROW,
            folded: NO_ROW,
            literals: NO_ROW,
            answers: 0,
        }
    }
}

/// What a step made of a text.
#[derive(Clone, Copy, Debug)]
struct Made {
    step: Transformation,
    after: TextId,
    /// The next of the same text; [`NO_ROW`] after the last.
    next: u32,
}

/// From this length on it is worth remembering what came of looking at a text: different chains come to the same one.
pub(crate) const LONG: usize = 256;

/// What any step costs besides what it does for each byte, as so many bytes: a look at a text or a transformation of it. A body
/// of thousands of arguments of one byte costs nothing else.
const PER_STEP: u64 = 32;

/// An operator whose answer is remembered with the text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Sqli = 0b01,
    Xss = 0b100,
}

/// No result yet, in a row.
const UNKNOWN: u32 = u32::MAX;

/// An arena of texts that is emptied, not freed, between transactions.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    texts: Vec<Text>,
    /// Results of transformations: a row of one id per node for each text that some transformation might change.
    rows: Vec<u32>,
    /// Two rows for each text that the filter looked at: what it left, of what was asked.
    probes: Vec<u64>,
    /// The same of the strings in long texts: the probes that need one that is there, of those asked for.
    literals: Vec<u64>,
    /// What steps made of long texts.
    made: Vec<Made>,
    /// What transformations and the filter have done, as the budget counts.
    pub(crate) work: u64,
    buffer: Vec<u8>,
    /// Short values seen lately in one list, by a hash of their bytes; the newest wins.
    recent: Vec<TextId>,
}

/// How many; a power of two.
const RECENT: usize = 256;

/// Longer values seldom come twice.
const MAX_RECENT: usize = 32;

impl Texts {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.texts.clear();
        self.rows.clear();
        self.probes.clear();
        self.literals.clear();
        self.made.clear();
        self.buffer.clear();
        self.work = 0;
        self.recent.clear();
        self.push(&[]);
    }

    /// Gives back what is more than the next transaction is likely to need.
    pub(crate) fn rest(&mut self) {
        rest(&mut self.bytes);
        rest(&mut self.texts);
        rest(&mut self.rows);
        rest(&mut self.probes);
        rest(&mut self.literals);
        rest(&mut self.made);
        rest(&mut self.buffer);
    }

    /// Takes a copy.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> TextId {
        if bytes.is_empty() && !self.texts.is_empty() {
            return TextId::EMPTY;
        }
        let start = offset(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.add(start, present(bytes))
    }

    /// Takes what `write` appends.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> TextId {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let written = present(self.bytes.get(start..).unwrap_or_default());
        self.add(offset(start), written)
    }

    /// Takes a copy, or finds the same value among those taken lately: `true`, `USD` and `0` come in every record of a body.
    ///
    /// For the values of one list only: a text is looked at once, for the rules of one place.
    pub(crate) fn push_again(&mut self, bytes: &[u8]) -> TextId {
        if bytes.is_empty() || bytes.len() > MAX_RECENT {
            return self.push(bytes);
        }
        // Whoever makes values collide gets a copy of each, as without it.
        let hash = bytes.iter().fold(0_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        let at = (hash ^ hash >> 8) % RECENT;
        if self.recent.is_empty() {
            self.recent.resize(RECENT, TextId::EMPTY);
        }
        let known = self.recent.get(at).copied().unwrap_or(TextId::EMPTY);
        if self.get(known) == bytes {
            return known;
        }
        let new = self.push(bytes);
        if let Some(cell) = self.recent.get_mut(at) {
            *cell = new;
        }
        new
    }

    /// Starts another list for [`push_again`](Self::push_again).
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// A part of another text, without a copy.
    pub(crate) fn part(&mut self, of: TextId, start: usize, end: usize) -> TextId {
        let Some(text) = self.texts.get(of.index()).copied() else {
            return TextId::EMPTY;
        };
        let first = text.start.saturating_add(offset(start)).min(text.end);
        let last = text
            .start
            .saturating_add(offset(end))
            .clamp(first, text.end);
        let bytes = self.bytes.get(first as usize..last as usize);
        let present = present(bytes.unwrap_or_default());
        let id = offset(self.texts.len());
        self.texts.push(Text::new(first, last, present));
        TextId(id)
    }

    fn add(&mut self, start: u32, present: ByteSet) -> TextId {
        let id = offset(self.texts.len());
        let end = offset(self.bytes.len());
        self.texts.push(Text::new(start, end, present));
        TextId(id)
    }

    pub(crate) fn get(&self, id: TextId) -> &[u8] {
        self.texts
            .get(id.index())
            .and_then(|text| self.bytes.get(text.start as usize..text.end as usize))
            .unwrap_or_default()
    }

    pub(crate) fn present(&self, id: TextId) -> ByteSet {
        self.texts
            .get(id.index())
            .map_or(ByteSet::EMPTY, |text| text.present)
    }

    pub(crate) fn length(&self, id: TextId) -> usize {
        self.texts
            .get(id.index())
            .map_or(0, |text| (text.end - text.start) as usize)
    }

    /// What the transformations up to `node` make of the text; each step is done once per text.
    pub(crate) fn transformed(&mut self, program: &Program, id: TextId, node: u32) -> TextId {
        let Some(entry) = program.nodes.get(node as usize) else {
            return id;
        };
        let Some(step) = entry.step else {
            return id;
        };
        let Some(text) = self.texts.get(id.index()).copied() else {
            return id;
        };
        // The usual case: there is nothing to decode, so the text is what it was.
        if !entry.always_changes && !text.present.intersects(entry.triggers) {
            return id;
        }
        let row = self.row(program, id, text.row);
        let cell = row as usize + node as usize;
        if let Some(known) = self.rows.get(cell)
            && *known != UNKNOWN
        {
            return TextId(*known);
        }
        let before = self.transformed(program, id, entry.parent);
        let after = if step.may_change(self.present(before)) {
            self.apply(step, id, before)
        } else {
            before
        };
        if let Some(cell) = self.rows.get_mut(cell) {
            *cell = after.0;
        }
        after
    }

    /// The probes among `wanted` that the text may pass, and perhaps others; each is looked at once. `place` is where it came from.
    pub(crate) fn probes(
        &mut self,
        screen: &Screen,
        place: &Bits,
        wanted: &[u64],
        id: TextId,
    ) -> &[u64] {
        let Some(text) = self.texts.get(id.index()).copied() else {
            return &[];
        };
        let filter = screen.filter(text.present);
        let words = filter.words();
        let start = self.probes.len();
        self.probes
            .extend_from_slice(wanted.get(..words).unwrap_or_default());
        self.probes.extend_from_within(start..);
        // The empty text stands for any empty value: it has no probes of its own to keep.
        if text.probes != NO_ROW && id != TextId::EMPTY {
            let before = text.probes as usize;
            let mut is_known = true;
            for at in 0..words {
                let asked = self.probes.get(before + words + at).copied().unwrap_or(0);
                for wanted in [start + at, start + words + at] {
                    if let Some(wanted) = self.probes.get_mut(wanted) {
                        is_known &= *wanted & !asked == 0;
                        *wanted |= asked;
                    }
                }
            }
            if is_known {
                self.probes.truncate(start);
                return self.probes.get(before..before + words).unwrap_or_default();
            }
        }
        let row = start..start + words;
        let probes = self.probes.get_mut(row.clone()).unwrap_or_default();
        let length = (text.end - text.start) as usize;
        self.work += PER_STEP;
        if filter.look_at_bytes(length, text.present, probes) {
            self.work += length as u64;
            match self.literals_of_folded(filter, place, row.clone(), text.folded) {
                Some(at) => {
                    let found = self.literals.get(at..at + words).unwrap_or_default();
                    let probes = self.probes.get_mut(row.clone()).unwrap_or_default();
                    filter.keep_found(found, probes);
                }
                None => {
                    let bytes = self.bytes.get(text.start as usize..text.end as usize);
                    let probes = self.probes.get_mut(row.clone()).unwrap_or_default();
                    filter.scan(bytes.unwrap_or_default(), probes);
                }
            }
        }
        if let Some(text) = self.texts.get_mut(id.index())
            && id != TextId::EMPTY
        {
            text.probes = offset(start);
            // At most MAX_WORDS.
            text.words = u8::try_from(words).unwrap_or(0);
        }
        self.probes.get(row).unwrap_or_default()
    }

    /// Where the strings stand that were found in this text of lower case; scanned once for all texts that differ from it in case
    /// only, because the filter reads no case. So it is scanned for all that its place may ask for.
    fn literals_of_folded(
        &mut self,
        filter: &Filter,
        place: &Bits,
        wanted: Range<usize>,
        folded: u32,
    ) -> Option<usize> {
        let text = self.texts.get(folded as usize).copied()?;
        let wanted = self.probes.get(wanted)?;
        let words = wanted.len();
        let start = self.literals.len();
        self.literals.extend(
            wanted
                .iter()
                .zip(place.words())
                .map(|(wanted, place)| wanted | place),
        );
        if text.literals != NO_ROW {
            let before = text.literals as usize;
            let asked = self.literals.get(before + words..before + 2 * words)?;
            if wanted
                .iter()
                .zip(asked)
                .all(|(wanted, asked)| wanted & !asked == 0)
            {
                self.literals.truncate(start);
                return Some(before);
            }
        }
        self.literals.extend_from_within(start..);
        let bytes = self.bytes.get(text.start as usize..text.end as usize)?;
        let found = self.literals.get_mut(start..start + words)?;
        // What its own bytes rule out may be asked for by a text with letters of the other case.
        filter.look_at_bytes(bytes.len(), text.present.in_both_cases(), found);
        filter.scan(bytes, found);
        if let Some(text) = self.texts.get_mut(folded as usize) {
            text.literals = offset(start);
        }
        Some(start)
    }

    /// What `ask` says of the text; asked once.
    pub(crate) fn remembered(
        &mut self,
        id: TextId,
        what: Asked,
        ask: impl FnOnce(&[u8], ByteSet) -> bool,
    ) -> bool {
        let asked = what as u8;
        let yes = asked << 1;
        let answers = self.texts.get(id.index()).map_or(0, |text| text.answers);
        if answers & asked != 0 {
            return answers & yes != 0;
        }
        let answer = ask(self.get(id), self.present(id));
        if let Some(text) = self.texts.get_mut(id.index()) {
            text.answers |= asked | if answer { yes } else { 0 };
        }
        answer
    }

    /// Whether the filter has looked at the text for the probe and ruled it out.
    pub(crate) fn is_ruled_out(&self, id: TextId, bit: u16) -> bool {
        let Some(text) = self
            .texts
            .get(id.index())
            .filter(|text| text.probes != NO_ROW)
        else {
            return false;
        };
        let at = text.probes as usize + usize::from(bit / 64);
        let has = |at: usize| {
            let word = self.probes.get(at);
            word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
        };
        has(at + usize::from(text.words)) && !has(at)
    }

    fn row(&mut self, program: &Program, id: TextId, row: u32) -> u32 {
        if row != NO_ROW {
            return row;
        }
        let row = offset(self.rows.len());
        self.rows
            .resize(self.rows.len() + program.nodes.len(), UNKNOWN);
        if let Some(text) = self.texts.get_mut(id.index()) {
            text.row = row;
        }
        row
    }

    /// What one step makes of `id`, which was made of `root`. Different chains often end at the same bytes; those are one text, so
    /// that the filter looks at it once.
    fn apply(&mut self, step: Transformation, root: TextId, id: TextId) -> TextId {
        let is_long = self.length(id) >= LONG;
        let present = self.present(id);
        if step.certainly_keeps(self.get(id), present) {
            return id;
        }
        let step = step.usual_form(self.get(id), present);
        if is_long && let Some(known) = self.made_before(step, id) {
            return known;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.work += PER_STEP + self.length(id) as u64;
        let after = if step.apply(self.get(id), &mut buffer) {
            self.sibling(root, &buffer, step.present_after(present))
        } else {
            id
        };
        self.buffer = buffer;
        if is_long {
            self.remember(step, id, after);
        }
        after
    }

    fn made_before(&self, step: Transformation, id: TextId) -> Option<TextId> {
        let mut at = self.texts.get(id.index())?.made;
        // No longer than there are steps in the rules.
        while let Some(made) = self.made.get(at as usize) {
            if made.step == step {
                return Some(made.after);
            }
            at = made.next;
        }
        None
    }

    fn remember(&mut self, step: Transformation, id: TextId, after: TextId) {
        let at = offset(self.made.len());
        let Some(text) = self.texts.get_mut(id.index()) else {
            return;
        };
        let next = std::mem::replace(&mut text.made, at);
        self.made.push(Made { step, after, next });
        if step == Transformation::Lowercase && after != id {
            for text in [id, after] {
                if let Some(text) = self.texts.get_mut(text.index()) {
                    text.folded = after.0;
                }
            }
        }
    }

    /// The text of these bytes among those made of `root`. What occurs in them is looked up if it is not known.
    fn sibling(&mut self, root: TextId, bytes: &[u8], known: Option<ByteSet>) -> TextId {
        if bytes.is_empty() {
            return TextId::EMPTY;
        }
        let mut last = root;
        loop {
            if self.get(last) == bytes {
                return last;
            }
            match self.texts.get(last.index()).map(|text| text.sibling) {
                Some(next) if next != NO_ROW => last = TextId(next),
                _ => break,
            }
        }
        let start = offset(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        let new = self.add(start, known.unwrap_or_else(|| present(bytes)));
        if let Some(last) = self.texts.get_mut(last.index()) {
            last.sibling = new.0;
        }
        new
    }
}

/// The arena of one transaction stays below 4 GiB: bodies are limited, and the budget stops transformations long before.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Longer texts are marked in a table: to set a bit one has to read the word that it is in, and wait for the byte before.
const MARKED: usize = 128;

/// The bytes that occur in `bytes`.
fn present(bytes: &[u8]) -> ByteSet {
    if bytes.len() >= MARKED {
        return marked(bytes);
    }
    let mut words = [0_u64; 4];
    for byte in bytes {
        #[expect(
            clippy::indexing_slicing,
            reason = "a byte shifted by six is below four; written so that no branch is left in the loop"
        )]
        let word = &mut words[usize::from(byte >> 6)];
        *word |= 1 << (byte & 63);
    }
    ByteSet::from_words(words)
}

fn marked(bytes: &[u8]) -> ByteSet {
    let mut marks = [0_u8; 256];
    for byte in bytes {
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
        let mark = &mut marks[usize::from(*byte)];
        *mark = 1;
    }
    let mut words = [0_u64; 4];
    for (word, marks) in words.iter_mut().zip(marks.as_chunks::<64>().0) {
        for (bit, mark) in marks.iter().enumerate() {
            *word |= u64::from(*mark) << bit;
        }
    }
    ByteSet::from_words(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_has_the_bytes_that_its_pieces_have() {
        for length in [1, MARKED - 1, MARKED, MARKED + 1, 4 * MARKED] {
            let text: Vec<u8> = (0..=250).cycle().step_by(37).take(length).collect();
            assert_eq!(present(&text), ByteSet::of(&text));
        }
    }

    #[test]
    fn knows_the_bytes_of_each_text() {
        let mut texts = Texts::default();
        texts.clear();
        let id = texts.push(b"a=%41");
        assert_eq!(texts.get(id), b"a=%41");
        assert_eq!(texts.present(id), ByteSet::of(b"a=%41"));
        let part = texts.part(id, 2, 99);
        assert_eq!(texts.get(part), b"%41");
        assert_eq!(texts.present(part), ByteSet::of(b"%41"));
        assert_eq!(texts.push(b""), TextId::EMPTY);
    }
}
