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

/// Needles sorted by their characters.
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
    low: u32,
    high: u32,
    /// Characters read.
    pub depth: u32,
}

impl Trie {
    /// Sorts the needles; equal ones stay in the order given, and the first is the one reported.
    pub fn new(needles: Vec<Needle>, sources: &[NeedleSource]) -> Self {
        let heads = needles.iter().map(|needle| head(needle, sources));
        let heads = Zeroizing::new(heads.collect::<Vec<_>>());
        // The order, not the heads, are sorted: sorting leaves copies in memory it gives back.
        let mut order: Vec<usize> = (0..needles.len()).collect();
        order.sort_by(|&a, &b| {
            let (left, right) = (&needles[a], &needles[b]);
            heads[a]
                .cmp(&heads[b])
                .then_with(|| compare(left, right, sources))
        });
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

    /// The first needle that is exactly `chars`.
    pub fn exact(&self, sources: &[NeedleSource], chars: &[u8]) -> Option<&Needle> {
        let mut node = self.root()?;
        let (&last, before) = chars.split_last()?;
        for &byte in before {
            node = self.step(sources, node, byte).0?;
        }
        self.step(sources, node, last).1
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

    /// Reads one more character: the node after it, if any needle is longer still, and the first
    /// needle that ends with it.
    #[inline]
    pub fn step(
        &self,
        sources: &[NeedleSource],
        node: TrieNode,
        byte: u8,
    ) -> (Option<TrieNode>, Option<&Needle>) {
        let (mut low, high) = if node.depth == 0 {
            (
                self.first[usize::from(byte)],
                self.first[usize::from(byte) + 1],
            )
        } else {
            self.narrow(sources, node, byte)
        };
        let depth = node.depth + 1;
        let mut ended = None;
        while low < high {
            // The shorter of two needles that begin alike sorts first.
            let needle = &self.needles[low as usize];
            if needle.len > depth {
                return (Some(TrieNode { low, high, depth }), ended);
            }
            ended = ended.or(Some(needle));
            low += 1;
        }
        (None, ended)
    }

    #[inline]
    fn narrow(&self, sources: &[NeedleSource], node: TrieNode, byte: u8) -> (u32, u32) {
        let depth = node.depth as usize;
        if node.high - node.low == 1 {
            let matches = self.needles[node.low as usize].byte(sources, depth) == byte;
            return (node.low, node.low + u32::from(matches));
        }
        let range = node.low as usize..node.high as usize;
        let (from, matching) = if depth < HEAD {
            split(&self.heads[range], byte, |head| head[depth])
        } else {
            split(&self.needles[range], byte, |needle| {
                needle.byte(sources, depth)
            })
        };
        let low = node.low + from as u32;
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
mod tests {
    use std::sync::Arc;

    use super::super::needle::Spelling;
    use super::*;
    use crate::secret::SecretBytes;

    #[test]
    fn a_walk_passes_the_needles_that_end_and_stops_where_none_goes_on() {
        let values = ["abcd", "ab", "abce", "b", "ab"];
        let sources: Vec<NeedleSource> = values
            .iter()
            .map(|value| NeedleSource::Value(Arc::new(SecretBytes::new(value.as_bytes().to_vec()))))
            .collect();
        let needles = values
            .iter()
            .enumerate()
            .map(|(index, value)| Needle::new(index, index, Spelling::Plain, value.as_bytes()))
            .collect();
        let trie = Trie::new(needles, &sources);
        let mut node = trie.root().expect("not empty");
        let mut ends = Vec::new();
        for &byte in b"abce" {
            let (next, ended) = trie.step(&sources, node, byte);
            ends.push(ended.map(|needle| needle.name));
            let Some(next) = next else { break };
            node = next;
        }
        assert_eq!(
            ends,
            [None, Some(1), None, Some(2)],
            "the first of two equal needles is named"
        );
        assert_eq!(node.depth, 3);
        let root = trie.root().expect("not empty");
        assert!(trie.step(&sources, root, b'x').0.is_none());
        let exact = |chars: &[u8]| trie.exact(&sources, chars).map(|needle| needle.name);
        assert_eq!(exact(b"abce"), Some(2));
        assert_eq!(exact(b"ab"), Some(1));
        for absent in [&b""[..], b"a", b"abc", b"abcef", b"x"] {
            assert_eq!(exact(absent), None, "{absent:?}");
        }
    }
}
