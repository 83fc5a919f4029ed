//! Comparing needles with the text from one position on, in every reading the text allows.

use super::escapes::{TextUnit, introduces};
use super::haystack::Haystack;
use super::needle::{HitForm, Needle, NeedleClass};
use super::needle_index::{HEX_GAPS, NeedleIndex};
use super::trie::TrieNode;

/// One reading of the text so far, and the needles that agree with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PartialMatch {
    pos: usize,
    node: TrieNode,
    class: NeedleClass,
    /// Notations used, see [`super::escapes`].
    kinds: u8,
    /// A `+` stood for a space.
    plus: bool,
    gap: Gap,
}

/// What stands between needle characters.
///
/// Nothing is skipped here that the filter does not know of: a hit would then be found or not
/// depending on how the stream was cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Nothing at this place, and nothing settled.
    None,
    /// A carriage return: only a line feed may follow.
    Cr,
    /// A line break: only the next character may follow. A second line break would keep whole
    /// paragraphs waiting for the next one.
    Break,
    /// This separator, as between all bytes of this hex dump; only the next character may follow.
    After(u8),
    /// The separator is due after every second character, but this is not its place.
    Within(u8),
    /// No separators in this hex text.
    Dense,
}

/// The longest hit from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Position after the hit.
    pub end: usize,
    pub form: HitForm,
    /// Index of the name in the set.
    pub name: u32,
}

/// All readings from one position: which are still open, and the longest hit of those that ended.
pub(super) struct Matcher {
    /// Where the hit would begin.
    pub start: usize,
    /// The longest hit so far. A longer one may come of what is open.
    pub best: Option<Match>,
    open: Vec<PartialMatch>,
    /// Each letter of the text may be a capital or not.
    any_case: bool,
}

impl Matcher {
    /// A walk over `index` from `start`, before anything is read.
    pub fn begin(index: &NeedleIndex, start: usize, spare: Vec<PartialMatch>) -> Self {
        let mut open = spare;
        open.clear();
        for class in NeedleClass::ALL {
            if let Some(node) = index.trie(class).root() {
                let gap = Gap::None;
                open.push(PartialMatch {
                    pos: start,
                    node,
                    class,
                    kinds: 0,
                    plus: false,
                    gap,
                });
            }
        }
        Self {
            start,
            best: None,
            open,
            any_case: false,
        }
    }

    /// A walk over a text in which letters stand for themselves in either case.
    pub fn in_any_case(index: &NeedleIndex, start: usize) -> Self {
        Self {
            any_case: true,
            ..Self::begin(index, start, Vec::new())
        }
    }

    /// Reads as far as the text goes. Returns whether bytes to come may still matter.
    pub fn advance(&mut self, index: &NeedleIndex, text: Haystack<'_>) -> bool {
        let mut waiting = 0;
        while let Some(reading) = self.next(waiting) {
            if reading.pos < text.bytes.len() {
                if self.step(index, text, reading) {
                    continue;
                }
            } else if text.complete {
                continue;
            }
            // Kept at the front, out of the way.
            self.open.push(reading);
            let last = self.open.len() - 1;
            self.open.swap(waiting, last);
            waiting += 1;
        }
        !self.open.is_empty()
    }

    /// The memory of a finished walk, for the next one.
    pub fn into_spare(self) -> Vec<PartialMatch> {
        self.open
    }

    /// Makes room before the text loses its first `count` bytes.
    pub fn shift(&mut self, count: usize) {
        self.start -= count;
        for reading in &mut self.open {
            reading.pos -= count;
        }
        if let Some(best) = &mut self.best {
            best.end -= count;
        }
    }

    /// Takes the reading that is furthest behind: those that meet at a position are then both
    /// open, and one of two equal ones is dropped before it is followed.
    fn next(&mut self, waiting: usize) -> Option<PartialMatch> {
        let rest = self.open.get(waiting..)?;
        let (index, _) = rest
            .iter()
            .enumerate()
            .min_by_key(|(_, reading)| reading.pos)?;
        Some(self.open.swap_remove(waiting + index))
    }

    /// Reads one unit in every way. Returns false if the text ends inside it.
    fn step(&mut self, index: &NeedleIndex, text: Haystack<'_>, reading: PartialMatch) -> bool {
        let byte = text.bytes[reading.pos];
        if introduces(byte) {
            let escapes = match reading.class {
                NeedleClass::Short => text.percent_escapes(reading.pos),
                NeedleClass::Exact | NeedleClass::Base64 | NeedleClass::Hex => {
                    text.escapes(reading.pos)
                }
            };
            if escapes.undecided {
                return false;
            }
            for unit in escapes.iter() {
                self.read(index, text, reading, unit);
            }
        }
        self.read(index, text, reading, &TextUnit::literal(byte, reading.pos));
        true
    }

    fn read(
        &mut self,
        index: &NeedleIndex,
        text: Haystack<'_>,
        mut reading: PartialMatch,
        unit: &TextUnit,
    ) {
        let at = reading.pos;
        reading.pos = unit.next;
        reading.kinds |= unit.kinds;
        let &[byte] = unit.bytes() else {
            return self.read_many(index, reading, unit.bytes());
        };
        match reading.class {
            NeedleClass::Base64 => match break_at(text, at, &reading, byte) {
                Some(gap) => return self.open(PartialMatch { gap, ..reading }),
                None if reading.gap == Gap::Cr => return,
                None => reading.gap = Gap::None,
            },
            NeedleClass::Hex => match separator(&reading, byte) {
                Some(gap @ Gap::After(_)) => return self.open(PartialMatch { gap, ..reading }),
                Some(gap) => reading.gap = gap,
                None => return,
            },
            NeedleClass::Exact | NeedleClass::Short => {}
        }
        let (char, space) = reading.class.matched_by(byte);
        self.descend(index, reading, char);
        if let Some(space) = space {
            self.descend(
                index,
                PartialMatch {
                    plus: true,
                    ..reading
                },
                space,
            );
        }
    }

    /// The UTF-8 of one character: a needle may not end inside it.
    fn read_many(&mut self, index: &NeedleIndex, mut reading: PartialMatch, bytes: &[u8]) {
        let Some((&last, before)) = bytes.split_last() else {
            return;
        };
        let trie = index.trie(reading.class);
        for &byte in before {
            let (Some(node), _) = trie.step(index.sources(), reading.node, byte) else {
                return;
            };
            reading.node = node;
        }
        self.descend(index, reading, last);
    }

    fn descend(&mut self, index: &NeedleIndex, reading: PartialMatch, char: u8) {
        self.follow(index, reading, char);
        if self.any_case
            && let Some(other) = other_case(char)
        {
            self.follow(index, reading, other);
        }
    }

    fn follow(&mut self, index: &NeedleIndex, reading: PartialMatch, char: u8) {
        let (node, ended) = index
            .trie(reading.class)
            .step(index.sources(), reading.node, char);
        if let Some(needle) = ended {
            self.found(needle, &reading);
        }
        if let Some(node) = node {
            self.open(PartialMatch { node, ..reading });
        }
    }

    fn open(&mut self, reading: PartialMatch) {
        if !self.open.contains(&reading) {
            self.open.push(reading);
        }
    }

    /// Keeps the longest hit; of equally long ones the plainest, whatever order they come in.
    fn found(&mut self, needle: &Needle, reading: &PartialMatch) {
        let form = needle.form(reading.kinds, reading.plus);
        let found = Match {
            end: reading.pos,
            form,
            name: needle.name,
        };
        let better = self.best.is_none_or(|best| {
            found.end > best.end
                || found.end == best.end && (found.form, found.name) < (best.form, best.name)
        });
        if better {
            self.best = Some(found);
        }
    }
}

/// The other case of a letter.
fn other_case(char: u8) -> Option<u8> {
    char.is_ascii_alphabetic().then_some(char ^ 0x20)
}

/// The gap that `byte`, read at `at`, makes if it is part of a line break in wrapped base64.
fn break_at(text: Haystack<'_>, at: usize, reading: &PartialMatch, byte: u8) -> Option<Gap> {
    match (byte, reading.gap) {
        (b'\n', Gap::Cr) => Some(Gap::Break),
        (b'\r' | b'\n', Gap::None) if reading.node.depth > 0 && text.wraps_at(at) => {
            Some(if byte == b'\r' { Gap::Cr } else { Gap::Break })
        }
        _ => None,
    }
}

/// The gap after `byte` of a hex text: [`Gap::After`] if it is the separator, which must then
/// stand between all bytes. `None` if it can be neither that nor a digit.
fn separator(reading: &PartialMatch, byte: u8) -> Option<Gap> {
    let depth = reading.node.depth;
    let boundary = depth > 0 && depth.is_multiple_of(2);
    match reading.gap {
        Gap::After(gap) => Some(Gap::Within(gap)),
        Gap::Within(gap) if boundary => (byte == gap).then_some(Gap::After(gap)),
        Gap::None if boundary && HEX_GAPS.contains(&byte) => Some(Gap::After(byte)),
        Gap::None if boundary => Some(Gap::Dense),
        gap => Some(gap),
    }
}
