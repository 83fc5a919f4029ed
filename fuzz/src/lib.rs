//! What the fuzz targets share.
//!
//! The parts that are fuzzed are pure, so they are compiled here on their own, from the same files
//! as the program: with its TLS, database and HTTP, building an instrumented program would take
//! longer than fuzzing it.
//!
//! Inputs are texts that a person can read and write: one or two bytes choose the mode and how the
//! rest is cut, the rest is the message. `0` to `7` stand for themselves.

#[path = "../../src/coding/mod.rs"]
pub mod coding;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../src/scrub/mod.rs"]
pub mod scrub;
#[path = "../../src/secret.rs"]
pub mod secret;
#[path = "../../src/substitution/mod.rs"]
pub mod substitution;
#[path = "../../src/websocket/mod.rs"]
pub mod websocket;

pub mod inner;
pub mod memory;
pub mod oracle;
pub mod proxy;
pub mod substituted;
pub mod tree;

/// The bytes in pieces whose lengths follow from `seed`: whole for `0`, one by one for `1`, and
/// otherwise irregular.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let seed = seed.wrapping_sub(b'0');
    let mut rest = bytes;
    let mut state = u32::from(seed);
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match seed {
            0 => rest.len(),
            1 => 1,
            most => 1 + (state >> 16) as usize % usize::from(most),
        };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// One of several things, chosen by a byte.
pub fn choose<T: Copy>(from: &[T], byte: u8) -> T {
    from[usize::from(byte.wrapping_sub(b'0')) % from.len()]
}
