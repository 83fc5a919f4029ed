//! Comparing needles with the text from one position on, in every reading the text allows.

use super::needle::{Class, Form, Needle};
use super::set::{HEX_GAPS, Set};
use super::trie::Node;
use super::units::{Text, Unit, introduces};

/// One reading of the text so far, and the needles that agree with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pos: usize,
    node: Node,
    class: Class,
    /// Notations used, see [`super::units`].
    kinds: u8,
    /// A `+` stood for a space.
    plus: bool,
    gap: Gap,
}

/// What stood between the last needle character and `pos`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    /// A carriage return: only a line feed or the next character may follow.
    Cr,
    /// A line break or a separator: only the next character may follow. A second line break
    /// would keep whole paragraphs waiting for the next one.
    Full,
}

/// The longest hit from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Position after the hit.
    pub end: usize,
    pub form: Form,
    /// Index of the name in the set.
    pub name: u32,
}

/// All readings from one position: which are still open, and the longest hit of those that ended.
pub(super) struct Walk {
    /// Where the hit would begin.
    pub start: usize,
    /// The longest hit so far. A longer one may come of what is open.
    pub best: Option<Found>,
    open: Vec<Reading>,
}

impl Walk {
    /// A walk over `set` from `start`, before anything is read.
    pub fn begin(set: &Set, start: usize, spare: Vec<Reading>) -> Self {
        let mut open = spare;
        open.clear();
        for class in Class::ALL {
            if let Some(node) = set.trie(class).root() {
                let gap = Gap::None;
                open.push(Reading {
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
        }
    }

    /// Reads as far as the text goes. Returns whether bytes to come may still matter.
    pub fn advance(&mut self, set: &Set, text: Text<'_>) -> bool {
        let mut waiting = 0;
        while let Some(reading) = self.next(waiting) {
            if reading.pos < text.bytes.len() {
                if self.step(set, text, reading) {
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
    pub fn into_spare(self) -> Vec<Reading> {
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
    fn next(&mut self, waiting: usize) -> Option<Reading> {
        let rest = self.open.get(waiting..)?;
        let (index, _) = rest
            .iter()
            .enumerate()
            .min_by_key(|(_, reading)| reading.pos)?;
        Some(self.open.swap_remove(waiting + index))
    }

    /// Reads one unit in every way. Returns false if the text ends inside it.
    fn step(&mut self, set: &Set, text: Text<'_>, reading: Reading) -> bool {
        let byte = text.bytes[reading.pos];
        if introduces(byte) {
            let units = match reading.class {
                Class::Short => text.percent_units(reading.pos),
                Class::Exact | Class::Base64 | Class::Hex => text.units(reading.pos),
            };
            if units.undecided {
                return false;
            }
            for unit in units.iter() {
                self.read(set, text, reading, unit);
            }
        }
        self.read(set, text, reading, &Unit::literal(byte, reading.pos));
        true
    }

    fn read(&mut self, set: &Set, text: Text<'_>, mut reading: Reading, unit: &Unit) {
        let at = reading.pos;
        reading.pos = unit.next;
        reading.kinds |= unit.kinds;
        let &[byte] = unit.bytes() else {
            return self.read_many(set, reading, unit.bytes());
        };
        if let Some(gap) = gap_after(text, at, &reading, byte) {
            return self.open(Reading { gap, ..reading });
        }
        reading.gap = Gap::None;
        let (char, space) = reading.class.matched_by(byte);
        self.descend(set, reading, char);
        if let Some(space) = space {
            self.descend(
                set,
                Reading {
                    plus: true,
                    ..reading
                },
                space,
            );
        }
    }

    /// The UTF-8 of one character: a needle may not end inside it.
    fn read_many(&mut self, set: &Set, mut reading: Reading, bytes: &[u8]) {
        let Some((&last, before)) = bytes.split_last() else {
            return;
        };
        let trie = set.trie(reading.class);
        for &byte in before {
            let (Some(node), _) = trie.step(set.sources(), reading.node, byte) else {
                return;
            };
            reading.node = node;
        }
        self.descend(
            set,
            Reading {
                gap: Gap::None,
                ..reading
            },
            last,
        );
    }

    fn descend(&mut self, set: &Set, reading: Reading, char: u8) {
        let (node, ended) = set
            .trie(reading.class)
            .step(set.sources(), reading.node, char);
        if let Some(needle) = ended {
            self.found(needle, &reading);
        }
        if let Some(node) = node {
            self.open(Reading { node, ..reading });
        }
    }

    fn open(&mut self, reading: Reading) {
        if !self.open.contains(&reading) {
            self.open.push(reading);
        }
    }

    /// Keeps the longest hit; of equally long ones the plainest, whatever order they come in.
    fn found(&mut self, needle: &Needle, reading: &Reading) {
        let form = needle.form(reading.kinds, reading.plus);
        let found = Found {
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

/// The gap that `byte`, read at `at`, makes if it is no needle character but may be skipped.
fn gap_after(text: Text<'_>, at: usize, reading: &Reading, byte: u8) -> Option<Gap> {
    let depth = reading.node.depth;
    match (reading.class, byte, reading.gap) {
        (Class::Base64, b'\n', Gap::Cr) => Some(Gap::Full),
        (Class::Base64, b'\r' | b'\n', Gap::None) if depth > 0 && text.wraps_at(at) => {
            Some(if byte == b'\r' { Gap::Cr } else { Gap::Full })
        }
        (Class::Hex, _, Gap::None) if depth > 0 && depth % 2 == 0 && HEX_GAPS.contains(&byte) => {
            Some(Gap::Full)
        }
        _ => None,
    }
}
