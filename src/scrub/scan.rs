//! Hits in a text that arrives in pieces.
//!
//! Whether and where a hit is found depends on the text alone: a walk begins wherever the filter
//! cannot rule one out, and ends only when no reading of the bytes to come can prolong it.

use std::sync::Arc;

use super::haystack::Haystack;
use super::hit::Hit;
use super::matcher::{Matcher, PartialMatch};
use super::needle::HitForm;
use super::needle_index::NeedleIndex;

/// A hit of which nothing is open any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    pub reference: usize,
    pub form: HitForm,
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
    matchers: Vec<(usize, Matcher)>,
    /// Closed hits by start.
    spans: Vec<Span>,
    candidates: Vec<usize>,
    spare: Vec<PartialMatch>,
}

impl Scan {
    /// The search of a complete text. Most texts hold nothing that could be the beginning of a value,
    /// and cost one look at the filter.
    pub fn of(indexes: &[Arc<NeedleIndex>], text: &[u8]) -> Option<Self> {
        let text = Haystack::whole(text);
        let mut candidates = Vec::new();
        indexes.iter().find(|index| {
            index.candidates(text, 0, &mut candidates);
            !candidates.is_empty()
        })?;
        let mut scan = Self::default();
        scan.advance(indexes, text, 0);
        (!scan.spans.is_empty()).then_some(scan)
    }

    /// Searches the text from `from` on, which is where it ended the last time; bytes before that
    /// must be the same unless [`Scan::shift`] was told.
    pub fn advance(&mut self, indexes: &[Arc<NeedleIndex>], text: Haystack<'_>, from: usize) {
        let known = self.spans.len();
        let mut open = std::mem::take(&mut self.matchers);
        for (number, matcher) in open.drain(..) {
            self.follow(indexes, text, number, matcher);
        }
        for (number, index) in indexes.iter().enumerate() {
            let mut candidates = std::mem::take(&mut self.candidates);
            index.candidates(text, from, &mut candidates);
            candidates.sort_unstable();
            candidates.dedup();
            for start in candidates.drain(..) {
                let matcher = Matcher::begin(index, start, std::mem::take(&mut self.spare));
                self.follow(indexes, text, number, matcher);
            }
            self.candidates = candidates;
        }
        self.matchers.sort_by_key(|(_, matcher)| matcher.start);
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
        self.matchers.first().map(|(_, matcher)| matcher.start)
    }

    /// Forgets the first `spans` hits, and the first `bytes` bytes of the text.
    pub fn shift(&mut self, spans: usize, bytes: usize) {
        self.spans.drain(..spans);
        for span in &mut self.spans {
            span.start -= bytes;
            span.end -= bytes;
        }
        for (_, matcher) in &mut self.matchers {
            matcher.shift(bytes);
        }
    }

    fn follow(
        &mut self,
        indexes: &[Arc<NeedleIndex>],
        text: Haystack<'_>,
        number: usize,
        mut matcher: Matcher,
    ) {
        if matcher.advance(&indexes[number], text) {
            self.matchers.push((number, matcher));
            return;
        }
        if let Some(best) = matcher.best {
            self.spans.push(Span {
                start: matcher.start,
                end: best.end,
                reference: first_reference(indexes, number) + best.name as usize,
                form: best.form,
            });
        }
        self.spare = matcher.into_spare();
    }
}

/// The reference of the first value of the index `number`: values are counted through all indexes.
pub(super) fn first_reference(indexes: &[Arc<NeedleIndex>], number: usize) -> usize {
    let before = indexes[..number].iter();
    before.map(|index| index.placeholders().len()).sum()
}
