//! All needles of one class as a trie: a sorted list in which a node is a range.
//!
//! Needles that begin alike share the walk, however many they are: thousands of `ghp_…` tokens
//! cost no more than one until the text gets to where they differ. A trie with nodes would take
//! many times the memory and hold the secrets a second time.

use std::cmp::Ordering;

use zeroize::Zeroizing;

use super::needle::{Needle, NeedleSource};

/// Characters of each needle kept side by side: the first steps of a walk are the ones most often
/// taken in vain, and need not follow pointers.
const HEAD: usize = 8;

/// Needles sorted by their characters, each once.
pub(super) struct Trie {
    needles: Vec<Needle>,
    /// The first characters of each needle.
    heads: Zeroizing<Vec<[u8; HEAD]>>,
    /// Where the needles begin that start with each byte; one more entry for the end.
    first: Vec<u32>,
}

/// The needles that begin with the characters read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrieNode {
    /// The first of them: the one that ends here, if one does.
    pub low: u32,
    high: u32,
    /// Characters read.
    pub depth: u32,
}

impl Trie {
    /// Sorts the needles. Of equal ones the first is kept.
    pub fn new(needles: Vec<Needle>, sources: &[NeedleSource]) -> Self {
        let heads = needles.iter().map(|needle| head(needle, sources));
        let heads = Zeroizing::new(heads.collect::<Vec<_>>());
        // The order is sorted, not the heads: sorting leaves copies in memory that is given back.
        let mut order: Vec<usize> = (0..needles.len()).collect();
        let compared = |a: usize, b: usize| {
            heads[a]
                .cmp(&heads[b])
                .then_with(|| compare(&needles[a], &needles[b], sources))
        };
        order.sort_by(|&a, &b| compared(a, b));
        order.dedup_by(|later, kept| compared(*kept, *later).is_eq());
        let heads: Vec<_> = order.iter().map(|&index| heads[index]).collect();
        let mut first = vec![0; 257];
        for head in &heads {
            first[usize::from(head[0]) + 1] += 1;
        }
        for byte in 0..256 {
            first[byte + 1] += first[byte];
        }
        let needles = order.into_iter().map(|index| needles[index]).collect();
        Self {
            needles,
            heads: Zeroizing::new(heads),
            first,
        }
    }

    /// The whole list in order.
    pub fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// The needle that is exactly `chars`.
    pub fn exact(&self, sources: &[NeedleSource], chars: &[u8]) -> Option<&Needle> {
        let node = self.follow(sources, self.root()?, chars);
        node.ok().and_then(|node| self.ended(node))
    }

    /// Nothing read yet. `None` if there are no needles.
    pub fn root(&self) -> Option<TrieNode> {
        let high = self.needles.len() as u32;
        (high > 0).then_some(TrieNode {
            low: 0,
            high,
            depth: 0,
        })
    }

    /// Reads one more character. `None` if no needle goes on with it.
    #[inline]
    pub fn step(&self, sources: &[NeedleSource], node: TrieNode, byte: u8) -> Option<TrieNode> {
        let (low, high) = if node.depth == 0 {
            let byte = usize::from(byte);
            (self.first[byte], self.first[byte + 1])
        } else {
            self.narrow(sources, node, byte)
        };
        (low < high).then_some(TrieNode {
            low,
            high,
            depth: node.depth + 1,
        })
    }

    /// Reads several more characters. `Err` is how many of them could be read.
    pub fn follow(
        &self,
        sources: &[NeedleSource],
        node: TrieNode,
        chars: &[u8],
    ) -> Result<TrieNode, usize> {
        chars
            .iter()
            .enumerate()
            .try_fold(node, |node, (read, &byte)| {
                self.step(sources, node, byte).ok_or(read)
            })
    }

    /// The needle that ends at this node.
    #[inline]
    pub fn ended(&self, node: TrieNode) -> Option<&Needle> {
        let needle = &self.needles[node.low as usize];
        (needle.len == node.depth).then_some(needle)
    }

    /// Whether a needle is longer than what was read.
    #[inline]
    pub fn continues(&self, node: TrieNode) -> bool {
        self.needles[node.high as usize - 1].len > node.depth
    }

    /// The one character with which all longer needles go on, if it is the same for all.
    pub fn only_next(&self, sources: &[NeedleSource], node: TrieNode) -> Option<u8> {
        let longer = node.low as usize + usize::from(self.ended(node).is_some());
        let longer = &self.needles[longer..node.high as usize];
        let next = |needle: &Needle| needle.byte(sources, node.depth as usize);
        let (first, last) = (next(longer.first()?), next(longer.last()?));
        (first == last).then_some(first)
    }

    #[inline]
    fn narrow(&self, sources: &[NeedleSource], node: TrieNode, byte: u8) -> (u32, u32) {
        let depth = node.depth as usize;
        // The shorter of two needles that begin alike sorts first.
        let low = node.low + u32::from(self.ended(node).is_some());
        if node.high - low <= 1 {
            let longer = self.needles[low as usize..node.high as usize].first();
            let matches = longer.is_some_and(|needle| needle.byte(sources, depth) == byte);
            return (low, low + u32::from(matches));
        }
        let range = low as usize..node.high as usize;
        let (from, matching) = if depth < HEAD {
            split(&self.heads[range], byte, |head| head[depth])
        } else {
            split(&self.needles[range], byte, |needle| {
                needle.byte(sources, depth)
            })
        };
        let low = low + from as u32;
        (low, low + matching as u32)
    }
}

/// Where the entries with `byte` begin in a sorted range, and how many there are.
#[inline]
fn split<T>(range: &[T], byte: u8, byte_of: impl Fn(&T) -> u8) -> (usize, usize) {
    let from = range.partition_point(|entry| byte_of(entry) < byte);
    (
        from,
        range[from..].partition_point(|entry| byte_of(entry) == byte),
    )
}

/// The first characters, filled up with zeros.
fn head(needle: &Needle, sources: &[NeedleSource]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    for (index, slot) in head.iter_mut().enumerate().take(needle.len as usize) {
        *slot = needle.byte(sources, index);
    }
    head
}

/// The order of two needles whose heads are the same.
fn compare(left: &Needle, right: &Needle, sources: &[NeedleSource]) -> Ordering {
    let both = left.len.min(right.len) as usize;
    (HEAD.min(both)..both)
        .map(|index| left.byte(sources, index).cmp(&right.byte(sources, index)))
        .find(|order| order.is_ne())
        .unwrap_or(left.len.cmp(&right.len))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::needle::Spelling;
    use super::*;
    use crate::secret::SecretBytes;

    pub(crate) fn trie_of(values: &[&str]) -> (Trie, Vec<NeedleSource>) {
        let source = |value: &&str| {
            NeedleSource::Value(Arc::new(SecretBytes::new(value.as_bytes().to_vec())))
        };
        let sources: Vec<NeedleSource> = values.iter().map(source).collect();
        let needle = |(index, value): (usize, &&str)| {
            Needle::new(index, index, Spelling::Plain, value.as_bytes())
        };
        let needles = values.iter().enumerate().map(needle).collect();
        let trie = Trie::new(needles, &sources);
        (trie, sources)
    }

    #[test]
    fn a_walk_passes_the_needles_that_end_and_stops_where_none_is_longer() {
        let (trie, sources) = trie_of(&["abcd", "ab", "abce", "b", "ab"]);
        let mut node = trie.root().expect("not empty");
        let mut ends = Vec::new();
        for &byte in b"abce" {
            node = trie.step(&sources, node, byte).expect("a prefix");
            ends.push(trie.ended(node).map(|needle| needle.name));
        }
        let first_of_two = Some(1);
        assert_eq!(ends, [None, first_of_two, None, Some(2)]);
        assert!(!trie.continues(node));
        assert!(trie.step(&sources, node, b'x').is_none());
        let root = trie.root().expect("not empty");
        assert!(trie.step(&sources, root, b'x').is_none());
        assert_eq!(trie.needles().len(), 4);
    }

    #[test]
    fn a_needle_is_found_by_all_of_its_characters() {
        let (trie, sources) = trie_of(&["abcd", "ab", "abce", "b", "ab"]);
        let exact = |chars: &[u8]| trie.exact(&sources, chars).map(|needle| needle.name);
        assert_eq!(exact(b"abce"), Some(2));
        assert_eq!(exact(b"ab"), Some(1));
        for absent in [&b""[..], b"a", b"abc", b"abcef", b"x"] {
            assert_eq!(exact(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn the_next_character_is_told_only_if_there_is_one() {
        let (trie, sources) = trie_of(&["abcd", "ab", "abce"]);
        let node = |chars| trie.follow(&sources, trie.root().unwrap(), chars).unwrap();
        assert_eq!(trie.only_next(&sources, node(b"a")), Some(b'b'));
        assert_eq!(trie.only_next(&sources, node(b"ab")), Some(b'c'));
        assert_eq!(trie.only_next(&sources, node(b"abc")), None);
        assert_eq!(trie.only_next(&sources, node(b"abcd")), None);
        assert_eq!(trie.follow(&sources, node(b"a"), b"bx"), Err(1));
    }
}
