//! Failure links, as in the algorithms of Knuth, Morris and Pratt and of Aho and Corasick.
//!
//! A value that repeats itself, `aaaa…`, begins again inside itself. Following each beginning on
//! its own would cost the length of the value for every byte of the text. Instead only the longest
//! partial match is followed, and a link says which shorter one is left when that fails.
//!
//! Nearly no value needs this, so the links are made when a text first asks for them, and only for
//! needles in which another needle, or they themselves, begin once more.

use super::needle::{NeedleClass, NeedleSource};
use super::trie::{Trie, TrieNode};

/// The most links of one index. A value of four KiB that repeats itself has 45,000 of them in all
/// its spellings.
const MAX_LINKS: usize = 1 << 20;

/// The links of an index.
pub(super) struct FailureLinks {
    classes: Vec<ClassLinks>,
}

/// The links of one class of needles.
#[derive(Default)]
struct ClassLinks {
    /// For each needle, the place of its first link, or [`NONE`].
    first: Vec<u32>,
    links: Vec<Link>,
}

const NONE: u32 = u32::MAX;

/// What is left of a partial match when it fails.
#[derive(Clone, Copy)]
struct Link {
    /// The longest proper suffix of it with which a needle begins.
    fail: Option<TrieNode>,
    /// The longest of these suffixes that may go on with a character with which the partial match
    /// itself cannot.
    other: Option<TrieNode>,
    /// The longest complete needle that is a proper suffix of it.
    output: Option<u32>,
}

impl FailureLinks {
    /// The links between needles whose first `shortest` characters occur in `tries` once more,
    /// which `may_begin` tells without fail and with false alarms. `None`: there would be too many.
    pub fn new(
        tries: &[Trie; NeedleClass::ALL.len()],
        sources: &[NeedleSource],
        shortest: u32,
        may_begin: impl Fn(&[u8]) -> bool,
    ) -> Option<Self> {
        let mut room = MAX_LINKS;
        let mut classes = Vec::with_capacity(tries.len());
        for trie in tries {
            let builder = Builder {
                trie,
                sources,
                shortest,
            };
            let repeating = builder.repeating(&may_begin);
            let count = |&needle: &u32| trie.needles()[needle as usize].len as usize;
            room = room.checked_sub(repeating.iter().map(count).sum())?;
            classes.push(builder.build(repeating));
        }
        Some(Self { classes })
    }

    /// The longest proper suffix of the characters of `node` with which a needle begins.
    pub fn fail(&self, class: NeedleClass, node: TrieNode) -> Option<TrieNode> {
        self.classes[class as usize].get(node)?.fail
    }

    /// The longest of these suffixes that may go on with a character with which `node` does not.
    pub fn other(&self, class: NeedleClass, node: TrieNode) -> Option<TrieNode> {
        self.classes[class as usize].get(node)?.other
    }

    /// The longest needle that is a proper suffix of the first `len` characters of `needle`.
    pub fn output(&self, class: NeedleClass, needle: u32, len: u32) -> Option<u32> {
        self.classes[class as usize].at(needle, len)?.output
    }
}

impl ClassLinks {
    #[inline]
    fn get(&self, node: TrieNode) -> Option<&Link> {
        self.at(node.low, node.depth)
    }

    #[inline]
    fn at(&self, needle: u32, len: u32) -> Option<&Link> {
        let first = *self.first.get(needle as usize)?;
        let place = (first != NONE && len > 0).then(|| first + len - 1)?;
        self.links.get(place as usize)
    }
}

/// Makes the links of one class.
struct Builder<'a> {
    trie: &'a Trie,
    sources: &'a [NeedleSource],
    shortest: u32,
}

impl Builder<'_> {
    fn byte(&self, needle: u32, index: u32) -> u8 {
        self.trie.needles()[needle as usize].byte(self.sources, index as usize)
    }

    fn len(&self, needle: u32) -> u32 {
        self.trie.needles()[needle as usize].len
    }

    /// The needles in which a needle begins behind their own beginning, the longest first.
    fn repeating(&self, may_begin: &impl Fn(&[u8]) -> bool) -> Vec<u32> {
        let all = 0..self.trie.needles().len() as u32;
        let mut repeating: Vec<u32> = all
            .filter(|&needle| self.repeats(needle, may_begin))
            .collect();
        repeating.sort_by_key(|&needle| std::cmp::Reverse(self.len(needle)));
        repeating
    }

    fn repeats(&self, needle: u32, may_begin: &impl Fn(&[u8]) -> bool) -> bool {
        let mut chars = zeroize::Zeroizing::new(Vec::with_capacity(self.shortest as usize));
        (1..=self.len(needle).saturating_sub(self.shortest)).any(|from| {
            chars.clear();
            chars.extend((from..from + self.shortest).map(|index| self.byte(needle, index)));
            may_begin(&chars) && self.begins(&chars).is_some()
        })
    }

    /// The node of needles that begin with `chars`.
    fn begins(&self, chars: &[u8]) -> Option<TrieNode> {
        self.trie
            .follow(self.sources, self.trie.root()?, chars)
            .ok()
    }

    /// A link refers to shorter ones, of any needle. So all needles are read in step.
    fn build(&self, mut repeating: Vec<u32>) -> ClassLinks {
        let mut made = ClassLinks {
            first: vec![NONE; self.trie.needles().len()],
            links: Vec::new(),
        };
        let Some(root) = self.trie.root() else {
            return made;
        };
        let empty = Link {
            fail: None,
            other: None,
            output: None,
        };
        for &needle in &repeating {
            made.first[needle as usize] = made.links.len() as u32;
            let end = made.links.len() + self.len(needle) as usize;
            made.links.resize(end, empty);
        }
        let mut nodes = vec![root; repeating.len()];
        let mut depth = 0;
        while !repeating.is_empty() {
            for (&needle, node) in repeating.iter().zip(&mut nodes) {
                let char = self.byte(needle, depth);
                if let Some(next) = self.trie.step(self.sources, *node, char) {
                    *node = next;
                    let link = self.link(&made, needle, next, char);
                    let place = made.first[needle as usize] + depth;
                    made.links[place as usize] = link;
                }
            }
            depth += 1;
            let longer = repeating.partition_point(|&needle| self.len(needle) > depth);
            repeating.truncate(longer);
        }
        made
    }

    /// The link of `needle` at `node`, which was reached with `char`.
    fn link(&self, made: &ClassLinks, needle: u32, node: TrieNode, char: u8) -> Link {
        let fail = self.fail(made, needle, node.depth, char);
        let longest = fail.and_then(|fail| self.trie.ended(fail).map(|_| fail.low));
        let shorter = || made.get(fail?)?.output;
        let goes_on_alike = |fail: &TrieNode| {
            !self.trie.continues(*fail)
                || self
                    .trie
                    .only_next(self.sources, *fail)
                    .is_some_and(|next| self.trie.step(self.sources, node, next).is_some())
        };
        let other = match fail {
            Some(fail) if goes_on_alike(&fail) => made.get(fail).and_then(|link| link.other),
            fail => fail,
        };
        Link {
            fail,
            other,
            output: longest.or_else(shorter),
        }
    }

    fn fail(&self, made: &ClassLinks, needle: u32, depth: u32, char: u8) -> Option<TrieNode> {
        let mut before = made.at(needle, depth - 1).and_then(|link| link.fail);
        while let Some(node) = before {
            if let Some(next) = self.trie.step(self.sources, node, char) {
                return Some(next);
            }
            before = made.get(node).and_then(|link| link.fail);
        }
        if depth <= self.shortest {
            return None;
        }
        let chars = (depth - self.shortest..depth).map(|index| self.byte(needle, index));
        self.begins(&zeroize::Zeroizing::new(chars.collect::<Vec<u8>>()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::trie::tests::trie_of;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Every link is what a comparison of all suffixes with all needles finds.
        #[test]
        fn links_lead_to_the_longest_suffix_that_begins_a_needle(
            values in vec("[ab]{1,14}", 1..6),
            shortest in 1..5_u32,
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let (trie, sources) = trie_of(&values);
            let none = || trie_of(&[]).0;
            let tries = [trie, none(), none(), none()];
            let links = FailureLinks::new(&tries, &sources, shortest, |_| true).expect("few");
            let [trie, ..] = &tries;
            let class = NeedleClass::ALL[0];
            let root = trie.root().expect("not empty");
            for value in &values {
                for end in 1..=value.len() {
                    let text = &value.as_bytes()[..end];
                    let node = trie.follow(&sources, root, text).expect("a prefix");
                    let suffixes = || (1..end).map(|from| &text[from..]);
                    let begun = suffixes().find_map(|suffix| {
                        let begun = trie.follow(&sources, root, suffix).ok();
                        begun.filter(|node| node.depth >= shortest)
                    });
                    prop_assert_eq!(links.fail(class, node), begun);
                    let ended = suffixes().find_map(|suffix| {
                        let long = suffix.len() >= shortest as usize;
                        values.iter().find(|value| long && value.as_bytes() == suffix)
                    });
                    let output = links.output(class, node.low, node.depth);
                    let output = output.map(|needle| values[trie.needles()[needle as usize].name as usize]);
                    prop_assert_eq!(output, ended.copied());
                    // What the other link passes over could not go on where this node cannot.
                    let other = links.other(class, node).map_or(0, |other| other.depth);
                    let mut passed = links.fail(class, node);
                    while let Some(shorter) = passed.filter(|shorter| shorter.depth > other) {
                        for byte in *b"ab" {
                            let here = trie.step(&sources, node, byte).is_some();
                            prop_assert!(here || trie.step(&sources, shorter, byte).is_none());
                        }
                        passed = links.fail(class, shorter);
                    }
                }
            }
        }
    }

    #[test]
    fn a_needle_that_does_not_repeat_has_no_links() {
        let (trie, sources) = trie_of(&["abcdefgh", "ijklmnop", "ghp_ghpq"]);
        let none = || trie_of(&[]).0;
        let tries = [trie, none(), none(), none()];
        let links = FailureLinks::new(&tries, &sources, 4, |_| true).expect("few");
        assert!(links.classes.iter().all(|class| class.links.is_empty()));
    }

    #[test]
    fn there_is_a_limit_to_them() {
        let value = "a".repeat(MAX_LINKS + 1);
        let (trie, sources) = trie_of(&[&value]);
        let none = || trie_of(&[]).0;
        let tries = [trie, none(), none(), none()];
        assert!(FailureLinks::new(&tries, &sources, 4, |_| true).is_none());
    }
}
