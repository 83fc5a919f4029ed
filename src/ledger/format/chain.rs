//! The link between lines: each carries the SHA-256 of the bytes of the line before, without the
//! line feed. To change, drop, add or move a line is to break the link of the next one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::encoded::{Draft, Lines, decimal};
use super::record::{Record, Timestamp};

/// The SHA-256 of a line; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the first line carries: nothing came before it.
    pub const GENESIS: Self = Self([0; 32]);

    /// The hash of a line, given without its line feed.
    pub fn of(line: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, line).as_ref());
        Self(hash)
    }
}

impl LineHash {
    fn text(self) -> [u8; 64] {
        /// Both digits of each byte: a table costs a load, arithmetic a dozen instructions.
        const DIGITS: [[u8; 2]; 256] = {
            let digits = b"0123456789abcdef";
            let mut pairs = [[0; 2]; 256];
            let mut byte = 0;
            while byte < 256 {
                pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
                byte += 1;
            }
            pairs
        };
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = DIGITS[usize::from(byte)];
        }
        text
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineHash({self})")
    }
}

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for LineHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidHash),
        };
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(InvalidHash);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for LineHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of a ledger: what the next line will be linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next_seq: u64,
    prev: LineHash,
}

impl Chain {
    /// The end of an empty ledger.
    pub fn start() -> Self {
        Self {
            next_seq: 1,
            prev: LineHash::GENESIS,
        }
    }

    /// The end of a ledger whose last line is this one, given without its line feed.
    ///
    /// # Errors
    /// When the line is not a record. Its own link is not looked at: that is the verifier's work.
    pub fn after(line: &[u8]) -> Result<Self, serde_json::Error> {
        let record: Record = serde_json::from_slice(line)?;
        Ok(Self {
            next_seq: record.seq.saturating_add(1),
            prev: LineHash::of(line),
        })
    }

    /// The end of a ledger with this many lines, the last of which has this hash.
    pub fn at(size: u64, head: LineHash) -> Self {
        Self {
            next_seq: size.saturating_add(1),
            prev: head,
        }
    }

    /// The hash of the last line.
    pub fn head(&self) -> LineHash {
        self.prev
    }

    /// The sequence number of the next line.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Writes the next lines, each with its line feed, behind `lines`.
    pub fn append(&mut self, time: Timestamp, draft: &Draft, lines: &mut Vec<u8>) {
        self.append_lines(time, draft.lines(), lines);
    }

    /// The same, of lines whose draft is gone.
    pub(in crate::ledger) fn append_lines(
        &mut self,
        time: Timestamp,
        draft: Lines<'_>,
        lines: &mut Vec<u8>,
    ) {
        let time = time.text();
        for (front, back) in draft {
            let start = lines.len();
            lines.extend_from_slice(b"{\"seq\":");
            decimal(lines, self.next_seq);
            lines.extend_from_slice(b",\"time\":\"");
            lines.extend_from_slice(&time);
            lines.push(b'"');
            lines.extend_from_slice(front);
            lines.extend_from_slice(&self.prev.text());
            lines.extend_from_slice(back);
            self.prev = LineHash::of(&lines[start..]);
            self.next_seq += 1;
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::record::Entry;

    fn lines(count: u64) -> Vec<u8> {
        let mut chain = Chain::start();
        let mut lines = Vec::new();
        for number in 0..count {
            let entry = Entry {
                status: Some(200),
                ..Entry::new(format!("event-{number}"))
            };
            chain.append(Timestamp::from_unix_micros(1), &entry.draft(), &mut lines);
        }
        lines
    }

    #[test]
    fn each_line_carries_the_hash_of_the_one_before() {
        let lines = lines(3);
        let lines: Vec<&[u8]> = lines
            .strip_suffix(b"\n")
            .unwrap()
            .split(|&b| b == b'\n')
            .collect();
        let records: Vec<Record> = lines
            .iter()
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(records[0].prev.to_string(), "0".repeat(64));
        assert_eq!(records[1].prev, LineHash::of(lines[0]));
        assert_eq!(records[2].prev, LineHash::of(lines[1]));
        assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_chain_taken_up_from_its_last_line_goes_on_alike() {
        let mut one = Chain::start();
        let mut written = Vec::new();
        let entry = Entry::new("x");
        let time = Timestamp::from_unix_micros(1);
        one.append(time, &entry.draft(), &mut written);
        let two = Chain::after(written.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(one, two);
        assert_eq!(two.next_seq(), 2);
        assert!(Chain::after(b"{}").is_err());
        assert!(Chain::after(&[0; 300]).is_err());
    }

    #[test]
    fn hashes_are_those_of_fips_180_and_are_read_back() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(LineHash::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(LineHash::of(b"abc")));
        for bad in [
            &text[1..],
            &text.to_uppercase(),
            &text.replace('b', "g"),
            "",
        ] {
            assert_eq!(bad.parse::<LineHash>(), Err(InvalidHash));
        }
    }
}
