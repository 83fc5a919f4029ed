//! Where a placeholder can begin: the search that rules out nearly all of a text.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2, memchr3};

use super::encoding::{Encoding, Notation};

/// How many levels of JSON inside of an encoding are read.
pub(super) const LEVELS: u8 = 2;

/// Whether a candidate may be in `bytes`. `false` is certain, and cheap.
pub(super) fn may_begin(encoding: Encoding, bytes: &[u8]) -> bool {
    let Some(first) = first_byte(encoding, bytes) else {
        return false;
    };
    let mut starters = starters(encoding).iter();
    starters.any(|starter| starter.find(&bytes[first..]).is_some())
        || (may_nest(encoding) && ESCAPED.find(&bytes[first..]).is_some())
}

type Starters = Vec<Finder<'static>>;

/// The longest of the starters below, in bytes, and the longest beginning of an escape inside of an
/// encoding: `%5C%5Cu003`.
pub(super) const MAX_STARTER: usize = 10;

/// What every escaped `<` of JSON inside of an encoding contains.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("u003"));

/// Whether escapes of JSON are read inside of this encoding.
pub(super) fn may_nest(encoding: Encoding) -> bool {
    !matches!(encoding, Encoding::BasicUser | Encoding::BasicForm)
}

/// Byte strings with one of which every placeholder in `encoding` begins: either its first character
/// is encoded, or it is a bare `<` followed by the second character, encoded or not.
fn starters(encoding: Encoding) -> &'static Starters {
    static RAW: LazyLock<Starters> = LazyLock::new(|| finders(&["<<"]));
    static PERCENT: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<%3", "%3C", "%3c"]));
    static BACKSLASH: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<\\u003", "\\u003"]));
    static REFERENCE: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<&", "&lt;", "&#"]));
    match encoding.notation() {
        None => &RAW,
        Some(Notation::Percent) => &PERCENT,
        Some(Notation::Backslash) => &BACKSLASH,
        Some(Notation::Reference) => &REFERENCE,
    }
}

/// Where the first byte is with which a starter of `encoding` begins.
fn first_byte(encoding: Encoding, bytes: &[u8]) -> Option<usize> {
    match encoding.notation() {
        None if may_nest(encoding) => memchr2(b'<', b'\\', bytes),
        None => memchr(b'<', bytes),
        Some(Notation::Backslash) => memchr2(b'<', b'\\', bytes),
        Some(notation) => memchr3(b'<', notation.introducer(), b'\\', bytes),
    }
}

fn finders(starters: &[&'static str]) -> Starters {
    starters
        .iter()
        .map(|starter| Finder::new(*starter))
        .collect()
}

/// Positions at which a starter begins. Each finder passes over the bytes once in all.
pub(super) struct Candidates<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    starters: &'static Starters,
    /// The next hit of each starter; `None` when it has no more.
    ahead: [Option<usize>; 4],
    /// The next beginning of an escape inside of the encoding.
    nested: Option<Nested>,
}

/// An escaped character of JSON inside of an encoding.
#[derive(Clone, Copy)]
struct Nested {
    /// Where its first backslash begins.
    start: usize,
    /// Where the search for the next one goes on.
    after: usize,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        let starters = starters(encoding);
        let mut ahead = [None; 4];
        let mut nested = None;
        // One search rules out all starters in most short texts.
        if let Some(first) = first_byte(encoding, bytes) {
            for (next, starter) in ahead.iter_mut().zip(starters) {
                *next = starter.find(&bytes[first..]).map(|at| first + at);
            }
            nested = next_nested(encoding, bytes, first);
        }
        Self {
            encoding,
            bytes,
            starters,
            ahead,
            nested,
        }
    }

    /// The first candidate at or after `from`, which never decreases.
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        for (next, starter) in self.ahead.iter_mut().zip(self.starters) {
            if next.is_some_and(|at| at < from) {
                *next = starter.find(&self.bytes[from..]).map(|at| from + at);
            }
        }
        while let Some(nested) = self.nested.filter(|nested| nested.start < from) {
            self.nested = next_nested(self.encoding, self.bytes, nested.after);
        }
        let nested = self.nested.map(|nested| nested.start);
        self.ahead.into_iter().chain([nested]).flatten().min()
    }
}

/// The next escape of JSON inside of the encoding, from `from` on. Of the backslashes before its `u`, an
/// escape of level *n* takes 2ⁿ⁻¹; those before them are whole characters at its level.
fn next_nested(encoding: Encoding, bytes: &[u8], from: usize) -> Option<Nested> {
    if !may_nest(encoding) {
        return None;
    }
    // The escape of the encoding itself is one of the starters.
    let native = u8::from(encoding.notation() == Some(Notation::Backslash));
    let mut after = from;
    loop {
        let letter = after + ESCAPED.find(bytes.get(after..)?)?;
        after = letter + 1;
        let count = backslashes_before(encoding, &bytes[..letter]);
        let level = count.trailing_zeros() as u8;
        if count > 0 && (native..native + LEVELS).contains(&level) {
            let start = (0..1 << level).try_fold(letter, |end, _: u32| {
                backslash_before(encoding, &bytes[..end])
            });
            if let Some(start) = start {
                return Some(Nested { start, after });
            }
        }
    }
}

/// Where the backslash begins that `bytes` end in, in a spelling of the encoding.
pub(super) fn backslash_before(encoding: Encoding, bytes: &[u8]) -> Option<usize> {
    let is_percent = encoding.notation() == Some(Notation::Percent);
    match bytes {
        [.., b'\\'] => Some(bytes.len() - 1),
        [.., b'%', b'5', b'c' | b'C'] if is_percent => Some(bytes.len() - 3),
        _ => None,
    }
}

/// How many backslashes `bytes` end in.
pub(super) fn backslashes_before(encoding: Encoding, bytes: &[u8]) -> usize {
    let ends = std::iter::successors(Some(bytes.len()), |&end| {
        backslash_before(encoding, &bytes[..end])
    });
    ends.count() - 1
}
