//! Hits in a text that arrives in pieces.
//!
//! Whether and where a hit is found depends on the text alone: a walk begins wherever the filter
//! cannot rule one out, and ends only when no reading of the bytes to come can prolong it.

use super::Hit;
use super::haystack::Text;
use super::matcher::{Reading, Walk};
use super::needle::Form;
use super::needles::Needles;

/// A hit of which nothing is open any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    pub reference: usize,
    pub form: Form,
}

impl Span {
    /// The hit as reported, if the text began at `base`.
    pub fn hit(&self, base: u64) -> Hit {
        Hit {
            reference: self.reference,
            form: self.form,
            offset: base + self.start as u64,
            length: self.end - self.start,
        }
    }
}

/// The state of a search.
#[derive(Default)]
pub(super) struct Scan {
    /// Open walks, each with the index of its set, by start.
    walks: Vec<(usize, Walk)>,
    /// Closed hits by start.
    spans: Vec<Span>,
    candidates: Vec<usize>,
    spare: Vec<Reading>,
}

impl Scan {
    /// The search of a complete text. Most texts hold nothing that could be the beginning of a value,
    /// and cost one look at the filter.
    pub fn of(needles: &Needles, text: &[u8]) -> Option<Self> {
        let text = Text::whole(text);
        let mut candidates = Vec::new();
        let mut sets = needles.sets().iter();
        sets.find(|set| {
            set.candidates(text, 0, &mut candidates);
            !candidates.is_empty()
        })?;
        let mut scan = Self::default();
        scan.advance(needles, text, 0);
        (!scan.spans.is_empty()).then_some(scan)
    }

    /// Searches the text from `from` on, which is where it ended the last time; bytes before that
    /// must be the same unless [`Scan::shift`] was told.
    pub fn advance(&mut self, needles: &Needles, text: Text<'_>, from: usize) {
        let known = self.spans.len();
        let mut open = std::mem::take(&mut self.walks);
        for (set, walk) in open.drain(..) {
            self.follow(needles, text, set, walk);
        }
        for (index, set) in needles.sets().iter().enumerate() {
            let mut candidates = std::mem::take(&mut self.candidates);
            set.candidates(text, from, &mut candidates);
            candidates.sort_unstable();
            candidates.dedup();
            for start in candidates.drain(..) {
                let walk = Walk::begin(set, start, std::mem::take(&mut self.spare));
                self.follow(needles, text, index, walk);
            }
            self.candidates = candidates;
        }
        self.walks.sort_by_key(|(_, walk)| walk.start);
        if self.spans.len() > known {
            // By start; of those the longest first, and then as the caller ordered the values.
            self.spans
                .sort_by_key(|s| (s.start, std::cmp::Reverse(s.end), s.reference));
        }
    }

    /// Closed hits by start.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Where the first open walk began: all that begins before is known.
    pub fn open_from(&self) -> Option<usize> {
        self.walks.first().map(|(_, walk)| walk.start)
    }

    /// Forgets the first `spans` hits, and the first `bytes` bytes of the text.
    pub fn shift(&mut self, spans: usize, bytes: usize) {
        self.spans.drain(..spans);
        for span in &mut self.spans {
            span.start -= bytes;
            span.end -= bytes;
        }
        for (_, walk) in &mut self.walks {
            walk.shift(bytes);
        }
    }

    fn follow(&mut self, needles: &Needles, text: Text<'_>, set: usize, mut walk: Walk) {
        if walk.advance(&needles.sets()[set], text) {
            self.walks.push((set, walk));
            return;
        }
        if let Some(best) = walk.best {
            self.spans.push(Span {
                start: walk.start,
                end: best.end,
                reference: needles.first_reference(set) + best.name as usize,
                form: best.form,
            });
        }
        self.spare = walk.into_spare();
    }
}
