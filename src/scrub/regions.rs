//! Stretches of text that are covered by hits which overlap, each with the next.

use super::hit::Hit;
use super::needle::HitForm;

/// One stretch: it is replaced as a whole.
#[derive(Debug)]
pub(super) struct Region {
    /// Where it begins and ends in the text at hand. Of one that was begun to be written, the start
    /// is where that is to go on.
    pub start: usize,
    pub end: usize,
    /// Whether what takes its place was written. The rest of it is then only left out.
    pub is_begun: bool,
    /// One hit for each value and form, the first of them.
    hits: Vec<Hit>,
}

/// All stretches, from left to right. Some touch.
#[derive(Debug, Default)]
pub(super) struct Regions {
    list: Vec<Region>,
}

/// Characters of base64 in which whole bytes end.
const GROUP: usize = 4;

/// The hit by which a stretch is named: the one that begins first, of those that begin together the
/// longest.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    pub reference: usize,
    /// In base64, how many bytes of its group of three are before it.
    pub shift: Option<u8>,
    /// The same inside of that, if what was encoded is base64 too.
    pub inner: Option<u8>,
    /// In base64, whether no character holds bits both of it and of a neighbour.
    pub is_whole: bool,
    /// It is UTF-16.
    pub is_wide: bool,
}

impl Region {
    /// The hit by which it is named.
    pub fn lead(&self) -> Lead {
        let first = self.hits.iter().min_by_key(|hit| order(hit));
        Lead {
            reference: first.map_or(0, |hit| hit.reference),
            shift: first.and_then(|hit| (hit.form == HitForm::Base64).then_some(hit.shift)),
            inner: first.and_then(|hit| hit.inner),
            is_whole: first.is_some_and(|hit| hit.shift == 0 && hit.length.is_multiple_of(GROUP)),
            is_wide: first.is_some_and(|hit| hit.form == HitForm::Utf16),
        }
    }

    /// The hits in it, in order.
    fn into_hits(mut self) -> Vec<Hit> {
        self.hits.sort_by_key(order);
        self.hits
    }

    fn note(&mut self, hit: Hit) {
        let alike = |other: &&mut Hit| (other.reference, other.form) == (hit.reference, hit.form);
        match self.hits.iter_mut().find(alike) {
            Some(other) if order(&hit) < order(other) => *other = hit,
            Some(_) => {}
            None => self.hits.push(hit),
        }
    }
}

/// By start; of those the longest first, then as the caller ordered the values, then by form.
fn order(hit: &Hit) -> (u64, std::cmp::Reverse<usize>, usize, HitForm) {
    let length = std::cmp::Reverse(hit.length);
    (hit.offset, length, hit.reference, hit.form)
}

impl Regions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a hit that covers the text from `start` to `end`, itself or with others like it.
    pub fn add(&mut self, start: usize, end: usize, hit: Hit) {
        // Nearly always it belongs to the last one or comes after it.
        let mut at = self.list.len();
        while at > 0 && self.list[at - 1].start >= end {
            at -= 1;
        }
        let mut region = match at.checked_sub(1) {
            Some(last) if self.list[last].end > start => {
                at = last;
                self.list.remove(last)
            }
            _ => Region {
                start,
                end,
                is_begun: false,
                hits: Vec::new(),
            },
        };
        region.start = region.start.min(start);
        region.end = region.end.max(end);
        region.note(hit);
        while at > 0 && self.list[at - 1].end > region.start {
            at -= 1;
            let before = self.list.remove(at);
            region.start = region.start.min(before.start);
            region.end = region.end.max(before.end);
            region.is_begun |= before.is_begun;
            before.hits.into_iter().for_each(|hit| region.note(hit));
        }
        self.list.insert(at, region);
    }

    /// The reference of the value by which the first of them is named.
    pub fn first_reference(&self) -> Option<usize> {
        self.list.first().map(|region| region.lead().reference)
    }

    /// Whether the byte at `pos` is in one of them.
    pub fn cover(&self, pos: usize) -> bool {
        let mut regions = self.list.iter();
        regions.any(|region| (region.start..region.end).contains(&pos))
    }

    /// Those that begin before `end`, in order.
    pub fn before(&mut self, end: usize) -> impl Iterator<Item = &mut Region> {
        self.list
            .iter_mut()
            .take_while(move |region| region.start < end)
    }

    /// Removes those that end by `end`, and appends their hits.
    pub fn take_until(&mut self, end: usize, hits: &mut Vec<Hit>) {
        let ended = self
            .list
            .iter()
            .take_while(|region| region.end <= end)
            .count();
        for region in self.list.drain(..ended) {
            hits.extend(region.into_hits());
        }
    }

    /// Makes room before the text loses its first `count` bytes.
    pub fn shift(&mut self, count: usize) {
        for region in &mut self.list {
            region.start = region.start.saturating_sub(count);
            region.end -= count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hit(reference: usize, start: usize, end: usize) -> Hit {
        Hit {
            reference,
            form: HitForm::Raw,
            shift: 0,
            inner: None,
            offset: start as u64,
            length: end - start,
        }
    }

    fn shown(regions: &Regions) -> Vec<(usize, usize, usize)> {
        let show = |region: &Region| (region.start, region.end, region.lead().reference);
        regions.list.iter().map(show).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// In whatever order the hits come.
        #[test]
        fn regions_are_the_unions_of_hits_that_overlap(
            mut hits in prop::collection::vec((0..40_usize, 1..10_usize), 1..12),
        ) {
            let mut regions = Regions::default();
            for (reference, &(start, len)) in hits.iter().enumerate() {
                regions.add(start, start + len, hit(reference, start, start + len));
            }
            let ranked = hits.iter().enumerate();
            let mut ranked: Vec<_> = ranked.map(|(n, &(start, len))| (start, usize::MAX - len, n)).collect();
            ranked.sort_unstable();
            hits.sort_unstable();
            let mut unions: Vec<(usize, usize)> = Vec::new();
            for (start, len) in hits {
                match unions.last_mut() {
                    Some((_, end)) if *end > start => *end = (*end).max(start + len),
                    _ => unions.push((start, start + len)),
                }
            }
            let first = |start: usize| ranked.iter().find(|(at, ..)| *at == start).map(|(.., n)| *n);
            let expected: Vec<_> = unions.iter().map(|&(s, e)| (s, e, first(s).unwrap())).collect();
            prop_assert_eq!(shown(&regions), expected);
        }
    }

    #[test]
    fn a_region_ends_once_and_tells_each_value_once() {
        let mut regions = Regions::default();
        for (reference, start, end) in [(1, 2, 6), (0, 2, 4), (1, 5, 9), (2, 9, 11)] {
            regions.add(start, end, hit(reference, start, end));
        }
        let mut hits = Vec::new();
        regions.take_until(8, &mut hits);
        assert!(hits.is_empty());
        regions.take_until(10, &mut hits);
        assert_eq!(hits, [hit(1, 2, 6), hit(0, 2, 4)]);
        regions.shift(9);
        assert_eq!(shown(&regions), [(0, 2, 2)]);
    }
}
