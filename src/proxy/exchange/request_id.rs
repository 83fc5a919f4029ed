//! Request ids.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes request ids: unique over restarts without a look at the disk, and short enough to read out.
pub struct RequestIds {
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with `prefix`, which is random for each start.
    pub fn new(prefix: u32) -> Self {
        Self {
            prefix,
            next: AtomicU64::new(1),
        }
    }

    /// The id of the next request.
    pub fn next(&self) -> RequestId {
        RequestId::new(self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The id of a request, as `Egret-Request` says it. It is its own text, so that it is handed on
/// without an allocation.
#[derive(Clone, Copy)]
pub struct RequestId {
    text: [u8; Self::LONGEST],
    length: usize,
}

impl RequestId {
    const LONGEST: usize = "req-00000000-0000000000000000".len();

    fn new(prefix: u32, number: u64) -> Self {
        let mut id = Self {
            text: *b"req-00000000-0000000000000000",
            length: "req-".len(),
        };
        id.push_hex(prefix.into(), 8);
        id.length += "-".len();
        id.push_hex(number, 1);
        id
    }

    /// Writes a number with at least so many hexadecimal digits. A formatter takes ten times as
    /// long.
    fn push_hex(&mut self, number: u64, least: u32) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(least);
        for place in (0..digits).rev() {
            let digit = (number >> (4 * place)) & 0xf;
            self.text[self.length] = b"0123456789abcdef"[digit as usize];
            self.length += 1;
        }
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_a_formatter_would_write_them() {
        for (prefix, n) in [(0, 1), (0xab, 0xf), (u32::MAX, 0x10), (7, u64::MAX)] {
            let ids = RequestIds::new(prefix);
            ids.next.store(n, Ordering::Relaxed);
            assert_eq!(*ids.next(), *format!("req-{prefix:08x}-{n:x}"));
        }
    }
}
