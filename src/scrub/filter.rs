//! The filter ahead of every comparison: where in a text can a needle begin at all?
//!
//! Every needle is at least eight characters long (values shorter than that have their own, slow,
//! path). So the window of its first eight characters, when it stands in the text unescaped,
//! holds a whole four-byte group at one of any five consecutive positions: looking at every fifth
//! position is enough. Tokens are longer: where every needle has sixteen characters or thirty-two,
//! so has the window, and one look in thirteen or twenty-nine is enough. One look is one
//! multiplication and one load from a bitmap that is sized to stay sparse, so the cost per byte of
//! text does not depend on the number of needles until the bitmap leaves the cache. A window that
//! does hold an escape is found from the escape ([`super::needle_index`]), and one that a line break cuts
//! in two from the break ([`Haystack::each_wrap`](super::haystack::Haystack::each_wrap)).
//!
//! Measured against the alternatives on ordinary text: the automata of the `aho-corasick` crate
//! are faster for a single needle, four times slower from sixteen on and fifteen times at five
//! thousand, and that is for the plain values only, with none of the other forms.
//!
//! The bitmaps hold hashes of parts of values, not values.

use super::needle::{MIN_SEARCHED, NeedleClass};

/// Bytes in a group.
pub(super) const GROUP: usize = 4;

/// How much of the beginning of each needle the filter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Short,
    Long,
    Wide,
}

impl Window {
    /// The window of `count` needles of which the shortest has `shortest` characters.
    ///
    /// The wider it is, the more of each needle is stored. Too much of that would crowd the cache,
    /// and cost more than the looks it saves.
    pub fn of(shortest: usize, count: usize) -> Self {
        let suits = |window: &Self| shortest >= window.chars() && count <= window.most();
        let wider = [Self::Wide, Self::Long].into_iter().find(suits);
        wider.unwrap_or(Self::Short)
    }

    /// The most needles whose windows are stored.
    const fn most(self) -> usize {
        match self {
            Self::Short => usize::MAX,
            Self::Long => 32 * 1024,
            Self::Wide => 2 * 1024,
        }
    }

    /// Its length in characters.
    pub const fn chars(self) -> usize {
        match self {
            Self::Short => MIN_SEARCHED,
            Self::Long => 2 * MIN_SEARCHED,
            Self::Wide => 4 * MIN_SEARCHED,
        }
    }

    /// Distance between two looks: each window contains this many groups.
    pub const fn stride(self) -> usize {
        self.chars() - GROUP + 1
    }
}

/// A set of four-byte groups with false positives: at most one in sixteen below the size cap.
pub(super) struct Groups {
    bits: Box<[u64]>,
    shift: u32,
}

/// Half a KiB, and 4 MiB: a bound for whoever stores a hundred thousand values.
const MIN_BITS: u32 = 12;
const MAX_BITS: u32 = 25;
/// Bits per group stored, at least.
const SPARSENESS: usize = 16;
/// So many, 32 KiB, stay in the cache next to the core. Below that there are up to four times as
/// many, because each false positive costs more than ten looks.
const NEAR_BITS: usize = 1 << 18;

impl Groups {
    /// Room for `count` groups.
    pub fn with_room(count: usize) -> Self {
        let sparse = count * SPARSENESS;
        let wanted = sparse.max(NEAR_BITS.min(4 * sparse)).max(1);
        let log = (wanted.ilog2() + 1).clamp(MIN_BITS, MAX_BITS);
        let bits = vec![0; 1 << (log - 6)].into_boxed_slice();
        Self {
            bits,
            shift: 32 - log,
        }
    }

    pub fn insert(&mut self, group: u32) {
        let (word, bit) = self.place(group);
        self.bits[word] |= 1 << bit;
    }

    #[inline]
    pub fn contains(&self, group: u32) -> bool {
        let (word, bit) = self.place(group);
        self.bits[word] >> bit & 1 == 1
    }

    #[inline]
    fn place(&self, group: u32) -> (usize, u32) {
        // Fibonacci hashing: the high bits of the product depend on every bit of the group.
        let hash = group.wrapping_mul(0x9e37_79b1) >> self.shift;
        ((hash >> 6) as usize, hash & 63)
    }
}

/// The group at `pos`, if four bytes are left.
#[inline]
pub(super) fn group_at(text: &[u8], pos: usize) -> Option<u32> {
    let bytes = text.get(pos..)?.first_chunk::<GROUP>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// The groups with which needles begin, and the beginnings of those.
///
/// Around an escape every reading has to be tried; unless there are thousands of values, most can
/// be given up after a character or two.
pub(super) struct Starts {
    groups: Groups,
    first: [bool; 256],
    pairs: Box<[u64]>,
}

impl Starts {
    /// Room for `count` groups.
    pub fn with_room(count: usize) -> Self {
        Self {
            groups: Groups::with_room(count),
            first: [false; 256],
            pairs: vec![0; 1 << 10].into_boxed_slice(),
        }
    }

    pub fn insert(&mut self, group: u32) {
        let [a, b, ..] = group.to_le_bytes();
        self.first[usize::from(a)] = true;
        let pair = u16::from_le_bytes([a, b]);
        self.pairs[usize::from(pair >> 6)] |= 1 << (pair & 63);
        self.groups.insert(group);
    }

    /// Whether a needle may begin with `group`.
    #[inline]
    pub fn contains(&self, group: u32) -> bool {
        self.groups.contains(group)
    }

    /// Whether a needle may begin with what there is of `group`.
    #[inline]
    pub fn admits(&self, group: Group) -> bool {
        let [a, b, ..] = group.bytes;
        match group.len {
            0 => true,
            1 => self.first[usize::from(a)],
            GROUP => self.contains(u32::from_le_bytes(group.bytes)),
            _ => {
                let pair = u16::from_le_bytes([a, b]);
                self.pairs[usize::from(pair >> 6)] >> (pair & 63) & 1 == 1
            }
        }
    }
}

/// The first needle characters of a reading, up to four.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    bytes: [u8; GROUP],
    pub len: usize,
}

impl Group {
    /// With as much of `bytes` as there is room for.
    #[inline]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes.iter().take(GROUP - self.len) {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        self
    }
}

/// Every way in which the text may write four needle characters without an escape.
pub(super) fn variants(class: NeedleClass, chars: [u8; GROUP], mut each: impl FnMut(u32)) {
    let group = u32::from_le_bytes(chars);
    let twins = chars.map(|byte| class.twin(byte).unwrap_or(byte));
    // The bits in which characters differ from their twins: each choice takes those of some bytes.
    let change = group ^ u32::from_le_bytes(twins);
    let changeable = (0..GROUP).filter(|&n| twins[n] != chars[n]);
    let all: usize = changeable.map(|n| 1 << n).sum();
    let mut choice = all;
    loop {
        each(group ^ change & BYTES[choice]);
        if choice == 0 {
            return;
        }
        choice = (choice - 1) & all;
    }
}

/// For each set of bytes in a group, all bits of those bytes.
const BYTES: [u32; 1 << GROUP] = {
    let mut masks = [0; 1 << GROUP];
    let mut set = 0;
    while set < masks.len() {
        let mut n = 0;
        while n < GROUP {
            if set >> n & 1 == 1 {
                masks[set] |= 0xff << (8 * n);
            }
            n += 1;
        }
        set += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_group_is_found_and_few_others_are() {
        let stored: Vec<u32> = (0..20_000_u32)
            .map(|index| index.wrapping_mul(2_654_435))
            .collect();
        let mut groups = Groups::with_room(stored.len());
        stored.iter().for_each(|&group| groups.insert(group));
        assert!(stored.iter().all(|&group| groups.contains(group)));
        let others = (0..20_000_u32).map(|index| index.wrapping_mul(40_503).wrapping_add(7));
        let wrong = others.filter(|group| groups.contains(*group)).count();
        assert!(wrong < 20_000 / 8, "{wrong} false positives");
    }

    #[test]
    fn variants_are_all_the_ways_to_write_a_group() {
        let mut texts = Vec::new();
        variants(NeedleClass::Hex, *b"a1f0", |group| {
            texts.push(group.to_le_bytes())
        });
        texts.sort();
        assert_eq!(texts, [*b"A1F0", *b"A1f0", *b"a1F0", *b"a1f0"]);
    }
}
