//! The link between lines: each carries the SHA-256 of the bytes of the line before, without the
//! line feed. To change, drop, add or move a line is to break the link of the next one.

use super::encoded::{EncodedEntries, EncodedLines};
use super::json::decimal;
use super::line_hash::LineHash;
use super::record::Record;
use super::record_ref::NotARecord;
use super::timestamp::Timestamp;

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
    pub fn after(line: &[u8]) -> Result<Self, NotARecord> {
        let record = Record::parse(line)?;
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

    /// Writes the next lines, each with its line feed, after `lines`.
    pub fn append(&mut self, time: Timestamp, draft: &EncodedEntries, lines: &mut Vec<u8>) {
        self.append_lines(time, draft.lines(), lines);
    }

    /// The same, of lines whose draft is gone.
    pub(in crate::ledger) fn append_lines(
        &mut self,
        time: Timestamp,
        draft: EncodedLines<'_>,
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
    use crate::ledger::format::entry::Entry;

    fn lines(count: u64) -> Vec<u8> {
        let mut chain = Chain::start();
        let mut lines = Vec::new();
        for number in 0..count {
            let entry = Entry {
                status: Some(200),
                ..Entry::new(format!("event-{number}"))
            };
            chain.append(Timestamp::from_unix_micros(1), &entry.encode(), &mut lines);
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
            .map(|line| Record::parse(line).unwrap())
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
        one.append(time, &entry.encode(), &mut written);
        let two = Chain::after(written.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(one, two);
        assert_eq!(two.next_seq(), 2);
        assert!(Chain::after(b"{}").is_err());
        assert!(Chain::after(&[0; 300]).is_err());
    }
}
