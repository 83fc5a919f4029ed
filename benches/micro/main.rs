//! What the parts cost, each by itself: time, throughput, and allocations.
//!
//! ```text
//! cargo bench --bench micro              # everything, about a minute
//! cargo bench --bench micro -- scrub     # what has this in its name
//! ```

use egret::memory::{WIPING, Wiping};

mod ledger;
mod scrub;
mod substitution;
mod tls;
mod vault;
mod worst_case;
mod worst_request;

/// Every benchmark says how many allocations one round makes. They cost what they cost in the
/// program: freed memory is wiped.
#[global_allocator]
static COUNTING: divan::AllocProfiler<Wiping> = divan::AllocProfiler::new(WIPING);

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if filter.is_none_or(|filter| "worst_case".contains(&filter)) {
        worst_case::report();
        worst_request::report();
    }
    divan::main();
}

/// Printable text without meaning, the same each time.
fn noise(length: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        alphabet[(state >> 33) as usize % alphabet.len()]
    };
    (0..length).map(next).collect()
}

/// `count` values of 40 characters that could be tokens.
fn values(count: usize) -> Vec<Vec<u8>> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let text = noise(count * 40, alphabet);
    text.chunks(40).map(<[u8]>::to_vec).collect()
}
