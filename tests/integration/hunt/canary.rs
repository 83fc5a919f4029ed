//! The planted values, and the random numbers from which all else is drawn.

use std::fmt::Write as _;

/// Random numbers with a seed: the same seed repeats the same hunt.
pub struct Chance(u64);

impl Chance {
    /// The seed of `EGRET_TEST_SEED`, or a new one; printed, so that a failure can be repeated.
    pub fn from_environment(hunt: &str) -> Self {
        let seed = match std::env::var("EGRET_TEST_SEED") {
            Ok(seed) => seed.parse().expect("EGRET_TEST_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH);
                since.expect("a clock").as_nanos() as u64
            }
        };
        println!("{hunt}: EGRET_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A planted value.
pub struct Canary {
    /// The slug it is saved under.
    pub slug: String,
    pub value: Vec<u8>,
}

/// What the values are made of. Each alphabet is one that some encoding treats specially.
const ALPHABETS: [&str; 6] = [
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789-._~",
    "abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOP",
    "abcdefghijklmnop0123456789+/=&%<>?#;:@!$*(),[]{}|^`",
    "abcdefghijklmnop0123456789\"'\\ /<>&",
    "abcdefghijklmnopqrstuvwxyzäöüßéèñçøåλπжшяあい漢字🔑😀",
];

/// The characters of the name of a field (RFC 9110 section 5.6.2), letters more often.
const TOKEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789\
     ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~";

/// Lengths in bytes at which something changes: the shortest searched, one group more, a cipher's
/// block, a buffer's end.
const LENGTHS: [usize; 12] = [8, 9, 11, 16, 20, 33, 40, 64, 100, 257, 1_500, 4_096];

/// One canary for each length, each of another alphabet than its neighbours.
pub fn plant(chance: &mut Chance, slugs: &str) -> Vec<Canary> {
    let shift = chance.below(ALPHABETS.len());
    let plant = |(n, length): (usize, &usize)| Canary {
        slug: format!("{slugs}-{n}"),
        value: text(chance, ALPHABETS[(n + shift) % ALPHABETS.len()], *length),
    };
    LENGTHS.iter().enumerate().map(plant).collect()
}

/// One canary for each of these lengths, of characters that are allowed in the name of a field.
pub fn plant_tokens(chance: &mut Chance, slugs: &str, lengths: &[usize]) -> Vec<Canary> {
    let plant = |(n, length): (usize, &usize)| Canary {
        slug: format!("{slugs}-{n}"),
        value: text(chance, TOKEN, *length),
    };
    lengths.iter().enumerate().map(plant).collect()
}

/// Random text of exactly `length` bytes without blanks at its ends.
fn text(chance: &mut Chance, alphabet: &str, length: usize) -> Vec<u8> {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut text = String::new();
    while text.len() < length {
        let c = *chance.pick(&alphabet);
        let at_end = text.is_empty() || text.len() + c.len_utf8() >= length;
        if text.len() + c.len_utf8() > length || (at_end && c == ' ') {
            let _ = write!(text, "{}", chance.pick(&['q', 'x', 'z']));
        } else {
            text.push(c);
        }
    }
    text.into_bytes()
}

#[test]
fn the_same_seed_plants_the_same() {
    let [one, two, other] = [7, 7, 8].map(|seed| plant(&mut Chance(seed), "c"));
    for (n, canary) in one.iter().enumerate() {
        assert_eq!(canary.value.len(), LENGTHS[n]);
        assert_eq!(canary.value, two[n].value);
        assert_ne!(canary.value, other[n].value);
    }
}
