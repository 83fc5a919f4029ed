//! The search for many forms of many values at once, in much text.

use std::collections::HashMap;

use super::canary::Canary;
use crate::leak::{Form, forms};

/// How many of a form's bytes are looked up at each position.
const START: usize = 8;
/// Bits of the sieve that most positions do not get through, as a power of two.
const SIEVE: u32 = 18;
/// The least of a long value that counts as the value, in bytes.
const PIECE: usize = 24;

/// What is searched for.
pub struct Search {
    patterns: Vec<Form>,
    by_start: HashMap<u64, Vec<usize>>,
    sieve: Vec<bool>,
}

impl Search {
    /// Every form of every canary.
    pub fn whole(canaries: &[&Canary]) -> Self {
        Self::new(
            canaries
                .iter()
                .flat_map(|canary| named(canary, &canary.value)),
        )
    }

    /// Every form of every canary as a text in lower case has it.
    pub fn in_lower_case(canaries: &[&Canary]) -> Self {
        let forms = canaries
            .iter()
            .flat_map(|canary| named(canary, &canary.value));
        Self::new(forms.map(|(name, form)| (name, form.to_ascii_lowercase())))
    }

    /// Every form of every canary, and of pieces of the long ones.
    pub fn pieces(canaries: &[&Canary]) -> Self {
        Self::new(canaries.iter().flat_map(|canary| {
            let value = &canary.value;
            let step = (value.len() / 8).max(1);
            let pieces = value.windows(PIECE.min(value.len())).step_by(step);
            let all = std::iter::once(value.as_slice()).chain(pieces);
            all.flat_map(|piece| named(canary, piece))
                .collect::<Vec<_>>()
        }))
    }

    fn new(patterns: impl Iterator<Item = Form>) -> Self {
        let mut search = Self {
            patterns: Vec::new(),
            by_start: HashMap::new(),
            sieve: vec![false; 1 << SIEVE],
        };
        for pattern in patterns {
            let Some(start) = pattern.1.first_chunk::<START>() else {
                continue;
            };
            let start = u64::from_le_bytes(*start);
            search.sieve[slot(start)] = true;
            let same = search.by_start.entry(start).or_default();
            same.push(search.patterns.len());
            search.patterns.push(pattern);
        }
        search
    }

    /// The first hit: where, and what.
    pub fn find(&self, text: &[u8]) -> Option<(usize, &str)> {
        let mut window = 0u64;
        for (end, byte) in text.iter().enumerate() {
            window = window >> 8 | u64::from(*byte) << 56;
            if end + 1 < START || !self.sieve[slot(window)] {
                continue;
            }
            let start = end + 1 - START;
            let known = self.by_start.get(&window).into_iter().flatten();
            if let Some(found) = known
                .map(|n| &self.patterns[*n])
                .find(|(_, form)| text[start..].starts_with(form))
            {
                return Some((start, &found.0));
            }
        }
        None
    }

    /// The length of the longest form, in bytes.
    pub fn longest(&self) -> usize {
        let lengths = self.patterns.iter().map(|(_, form)| form.len());
        lengths.max().unwrap_or_default()
    }
}

fn slot(start: u64) -> usize {
    (start.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SIEVE)) as usize
}

fn named<'a>(canary: &'a Canary, value: &[u8]) -> impl Iterator<Item = Form> + use<'a> {
    let name = |(form, bytes): Form| (format!("{} as {form}", canary.slug), bytes);
    forms(value).into_iter().map(name)
}

#[test]
fn what_is_there_is_found_and_named() {
    let canary = Canary {
        slug: "c".to_owned(),
        value: b"a canary of some length, and a bit more of it".to_vec(),
    };
    let whole = Search::whole(&[&canary]);
    for (form, bytes) in forms(&canary.value) {
        let text = [b"before ".as_slice(), &bytes, b" after"].concat();
        let (at, _) = whole.find(&text).unwrap_or_else(|| panic!("{form}"));
        assert_eq!(at, 7, "{form}");
        assert_eq!(whole.find(&text[..text.len() - 7]), None, "{form} cut off");
    }
    let pieces = Search::pieces(&[&canary]);
    assert!(pieces.find(&canary.value[5..40]).is_some());
    assert_eq!(pieces.find(b"nothing of the kind"), None);
}
