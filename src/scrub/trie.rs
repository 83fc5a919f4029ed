//! All needles of one class as a trie: a sorted list in which a node is a range.
//!
//! Needles that begin alike share the walk, however many they are: thousands of `ghp_…` tokens
//! cost no more than one until the text gets to where they differ. A trie with nodes would take
//! many times the memory and hold the secrets a second time.

use super::needle::{Needle, Source};

/// Needles sorted by their characters.
pub(super) struct Trie {
    needles: Vec<Needle>,
    /// Where the needles begin that start with each byte; one more entry for the end.
    first: Vec<u32>,
}

/// The needles that begin with the characters read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    low: u32,
    high: u32,
    /// Characters read.
    pub depth: u32,
}

impl Trie {
    /// Sorts the needles; equal ones stay in the order given, and the first is the one reported.
    pub fn new(mut needles: Vec<Needle>, sources: &[Source]) -> Self {
        needles.sort_by(|a, b| {
            let (a_len, b_len) = (a.len as usize, b.len as usize);
            let differing = (0..a_len.min(b_len))
                .map(|index| a.byte(sources, index).cmp(&b.byte(sources, index)))
                .find(|order| order.is_ne());
            differing.unwrap_or(a_len.cmp(&b_len))
        });
        let mut first = vec![0; 257];
        for needle in &needles {
            first[usize::from(needle.byte(sources, 0)) + 1] += 1;
        }
        for byte in 0..256 {
            first[byte + 1] += first[byte];
        }
        Self { needles, first }
    }

    /// The whole list in order.
    pub fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Nothing read yet. `None` if there are no needles.
    pub fn root(&self) -> Option<Node> {
        let high = self.needles.len() as u32;
        (high > 0).then_some(Node {
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
        sources: &[Source],
        node: Node,
        byte: u8,
    ) -> (Option<Node>, Option<&Needle>) {
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
                return (Some(Node { low, high, depth }), ended);
            }
            ended = ended.or(Some(needle));
            low += 1;
        }
        (None, ended)
    }

    #[inline]
    fn narrow(&self, sources: &[Source], node: Node, byte: u8) -> (u32, u32) {
        let depth = node.depth as usize;
        if node.high - node.low == 1 {
            let matches = self.needles[node.low as usize].byte(sources, depth) == byte;
            return (node.low, node.low + u32::from(matches));
        }
        let range = &self.needles[node.low as usize..node.high as usize];
        let from = range.partition_point(|needle| needle.byte(sources, depth) < byte);
        let matching = range[from..].partition_point(|needle| needle.byte(sources, depth) == byte);
        let low = node.low + from as u32;
        (low, low + matching as u32)
    }
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
        let sources: Vec<Source> = values
            .iter()
            .map(|value| Source::Value(Arc::new(SecretBytes::new(value.as_bytes().to_vec()))))
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
    }
}
