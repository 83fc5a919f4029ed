//! Hits in a text that arrives in pieces.
//!
//! Whether and where a hit is found depends on the text alone: a partial match begins wherever the
//! filter cannot rule one out, and ends only when no reading of the bytes to come can prolong it.

use std::sync::Arc;

use super::haystack::Haystack;
use super::hit::Hit;
use super::matcher::Matcher;
use super::needle::HitForm;
use super::needle_index::NeedleIndex;
use super::regions::Regions;

/// How much text is filtered at once, in bytes: it bounds the list of candidates.
const BLOCK: usize = 32 * 1024;

/// The state of a search.
#[derive(Default)]
pub(super) struct Scan {
    /// One for each index, made when it first has a candidate.
    matchers: Vec<Matcher>,
    regions: Regions,
    /// Offset in the stream of the first byte at hand.
    base: u64,
    candidates: Vec<usize>,
}

impl Scan {
    /// The search of a complete text. Most texts hold nothing that could be the beginning of a
    /// value, and cost one look at the filter.
    pub fn of(indexes: &[Arc<NeedleIndex>], text: &[u8]) -> Option<Self> {
        if !indexes.iter().any(|index| index.fits_into(text.len())) {
            return None;
        }
        let text = Haystack::whole(text);
        let mut scan = Self::default();
        scan.advance(indexes, text, 0);
        (!scan.regions.is_empty()).then_some(scan)
    }

    /// Searches the text from `from` on, which is where it ended the last time; bytes before that
    /// must be the same unless [`Scan::shift`] was told.
    pub fn advance(&mut self, indexes: &[Arc<NeedleIndex>], text: Haystack<'_>, from: usize) {
        let (mut from, len) = (from, text.bytes.len());
        loop {
            let end = len.min(from + BLOCK);
            let block = Haystack {
                bytes: &text.bytes[..end],
                complete: text.complete && end == len,
                ..text
            };
            for (number, index) in indexes.iter().enumerate() {
                self.advance_block(number, indexes, block, from, index);
            }
            if end == len {
                return;
            }
            from = end;
        }
    }

    fn advance_block(
        &mut self,
        number: usize,
        indexes: &[Arc<NeedleIndex>],
        text: Haystack<'_>,
        from: usize,
        index: &NeedleIndex,
    ) {
        index.candidates(text, from, &mut self.candidates);
        let is_idle = self.matchers.get(number).is_none_or(Matcher::is_idle);
        if self.candidates.is_empty() && is_idle {
            return;
        }
        if self.matchers.len() < indexes.len() {
            self.matchers.resize_with(indexes.len(), Matcher::default);
        }
        let matcher = &mut self.matchers[number];
        matcher.advance(index, text, self.candidates.drain(..));
        let first = first_reference(indexes, number);
        for found in matcher.take_found() {
            let hit = found.hit(first, self.base);
            self.regions.add(found.start, found.covered, hit);
        }
    }

    /// What is covered by hits.
    pub fn regions(&mut self) -> &mut Regions {
        &mut self.regions
    }

    /// The first value that was found and is not decided yet.
    pub fn first_found(&self) -> Option<usize> {
        self.regions.first_reference()
    }

    /// Where the first match begins that bytes to come can complete or prolong: all that begins
    /// before it is known.
    pub fn open_from(&self) -> Option<usize> {
        self.matchers.iter().filter_map(Matcher::open_from).min()
    }

    /// Whether more of a text of `len` bytes is open than chance makes the beginning of a value.
    pub fn is_suspicious(&self, indexes: &[Arc<NeedleIndex>], len: usize) -> bool {
        let mut searches = self.matchers.iter().zip(indexes);
        searches.any(|(matcher, index)| {
            let open = matcher.open_from().map_or(0, |from| len - from);
            open > index.most_by_chance()
        })
    }

    /// What is open in a text of `len` bytes, as a hit of the first value that it may be.
    pub fn open_hit(&self, indexes: &[Arc<NeedleIndex>], len: usize) -> Option<Hit> {
        let open = self
            .matchers
            .iter()
            .enumerate()
            .filter_map(|(number, matcher)| {
                let (from, name) = matcher.first_open(&indexes[number])?;
                Some((from, first_reference(indexes, number) + name as usize))
            });
        let (from, reference) = open.min()?;
        Some(Hit {
            reference,
            form: HitForm::Partial,
            shift: 0,
            inner: None,
            offset: self.base + from as u64,
            length: len - from,
        })
    }

    /// Forgets the first `count` bytes of the text.
    pub fn shift(&mut self, count: usize) {
        self.base += count as u64;
        self.regions.shift(count);
        for matcher in &mut self.matchers {
            matcher.shift(count);
        }
    }

    /// The stream has ended; the next byte is the first of another.
    pub fn restart(&mut self) {
        self.base = 0;
    }
}

/// The reference of the first value of the index `number`: values are counted through all indexes.
pub(super) fn first_reference(indexes: &[Arc<NeedleIndex>], number: usize) -> usize {
    let before = indexes[..number].iter();
    before.map(|index| index.placeholders().len()).sum()
}
