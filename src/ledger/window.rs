//! A part of the ledger for someone who turns its pages: some lines before or after a place.
//!
//! The place is the number of a line, so that a page stays the same however many lines follow.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::filter::Filter;
use super::format::record::Record;
use super::format::record_ref::RecordRef;
use super::history::{History, Part};
use super::lines::{Next, RawLines};

/// Most lines that are looked through for one page. A filter that fits few lines gets a short page,
/// and the place from which to go on.
const MOST_READ: u64 = 1_000_000;

/// In which order lines are wanted, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The latest first, beginning before this line, or with the last one.
    Before(Option<u64>),
    /// The oldest first, beginning after this line.
    After(u64),
}

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub struct Window {
    /// From where.
    pub from: From,
    /// Most lines.
    pub limit: usize,
    /// Which.
    pub filter: Filter,
    /// Only lines about what this user owns, did, or used.
    pub party: Option<String>,
}

/// Lines, in the order that was asked for.
#[derive(Debug, Default)]
pub struct Lines {
    /// The lines.
    pub records: Vec<Record>,
    /// The line before or after which the next page begins; `None` at the end.
    pub next: Option<u64>,
}

impl Window {
    /// Whether a line is wanted.
    pub fn wants(&self, line: &RecordRef<'_>) -> bool {
        self.filter.matches(line)
            && self
                .party
                .as_deref()
                .is_none_or(|user| concerns(line, user))
    }

    /// Reads the lines from the ledger in `dir`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self, dir: &Path) -> io::Result<Lines> {
        let history = History::open(dir)?;
        match self.from {
            From::Before(before) => self.backwards(&history, before.unwrap_or(u64::MAX)),
            From::After(after) => self.forwards(&history, after),
        }
    }

    fn forwards(&self, history: &History, after: u64) -> io::Result<Lines> {
        let mut page = Lines::default();
        let mut read = 0;
        let parts = match self.filter.since {
            Some(since) => History::since_of(history.from_seq(after.saturating_add(1)), since),
            None => history.from_seq(after.saturating_add(1)),
        };
        for part in parts {
            let mut lines = RawLines::new(part.open()?);
            while let Next::Line(bytes) = lines.next_line()? {
                let Ok(line) = RecordRef::parse(bytes) else {
                    continue;
                };
                if line.seq <= after {
                    continue;
                }
                read += 1;
                if self.wants(&line) {
                    page.records.extend(Record::parse(bytes).ok());
                }
                if page.records.len() == self.limit || read == MOST_READ {
                    page.next = Some(line.seq);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Whole files, the latest first: a file is read from its beginning, and compressed ones cannot be
    /// read otherwise.
    fn backwards(&self, history: &History, before: u64) -> io::Result<Lines> {
        let mut page = Lines::default();
        let mut read = 0;
        let begins_before = |part: &&Part| part.first.is_none_or(|first| first < before);
        for part in history.parts.iter().rev().filter(begins_before) {
            let found = self.last_of(part, before, self.limit - page.records.len(), &mut read)?;
            page.records.extend(found.into_iter().rev());
            if page.records.len() == self.limit {
                page.next = page.records.last().map(|record| record.seq);
                break;
            }
            page.next = part.first;
            if read >= MOST_READ {
                break;
            }
        }
        page.next = page.next.filter(|seq| {
            history
                .parts
                .iter()
                .any(|part| part.first.is_some_and(|f| f < *seq))
        });
        Ok(page)
    }

    /// The last lines of a file that are wanted, in their order.
    fn last_of(
        &self,
        part: &Part,
        before: u64,
        most: usize,
        read: &mut u64,
    ) -> io::Result<VecDeque<Record>> {
        let mut found = VecDeque::with_capacity(most);
        let mut lines = RawLines::new(part.open()?);
        while let Next::Line(bytes) = lines.next_line()? {
            let Ok(line) = RecordRef::parse(bytes) else {
                continue;
            };
            if line.seq >= before {
                break;
            }
            *read += 1;
            if self.wants(&line) {
                if found.len() == most {
                    found.pop_front();
                }
                found.extend(Record::parse(bytes).ok());
            }
        }
        Ok(found)
    }
}

/// Whether a line is about what a user owns, asked for, or changed.
fn concerns(line: &RecordRef<'_>, user: &str) -> bool {
    line.owner.as_deref() == Some(user) || line.principal.as_deref() == Some(user)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::layout::{self, CURRENT};

    /// Twenty lines in two files; every third is about bob.
    fn ledger() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::start();
        let mut write = |path: std::path::PathBuf, numbers: std::ops::Range<i64>| {
            let mut text = Vec::new();
            for number in numbers {
                let entry = Entry {
                    principal: (number % 3 == 0).then(|| "bob".into()),
                    ..Entry::new("use")
                };
                let time = Timestamp::from_unix_micros(number);
                chain.append(time, &entry.encode(), &mut text);
            }
            fs::write(path, text).unwrap();
        };
        write(layout::rotated(dir.path(), 1), 1..13);
        write(dir.path().join(CURRENT), 13..21);
        dir
    }

    fn window(from: From, limit: usize, party: Option<&str>) -> Window {
        Window {
            from,
            limit,
            filter: Filter::default(),
            party: party.map(str::to_owned),
        }
    }

    fn all(newest_first: bool, limit: usize, party: Option<&str>) -> Vec<u64> {
        let dir = ledger();
        let mut from = if newest_first {
            From::Before(None)
        } else {
            From::After(0)
        };
        let mut seen = Vec::new();
        loop {
            let page = window(from, limit, party).read(dir.path()).unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records.iter().map(|record| record.seq));
            from = match (page.next, newest_first) {
                (None, _) => return seen,
                (Some(seq), true) => From::Before(Some(seq)),
                (Some(seq), false) => From::After(seq),
            };
        }
    }

    #[test]
    fn pages_in_either_direction_have_every_line_once() {
        let forwards: Vec<u64> = (1..21).collect();
        let backwards: Vec<u64> = (1..21).rev().collect();
        for limit in [1, 3, 7, 20, 500] {
            assert_eq!(all(false, limit, None), forwards, "{limit}");
            assert_eq!(all(true, limit, None), backwards, "{limit}");
        }
    }

    #[test]
    fn a_party_sees_its_own_lines_alone() {
        assert_eq!(all(true, 2, Some("bob")), [18, 15, 12, 9, 6, 3]);
        assert!(all(false, 2, Some("carol")).is_empty());
    }
}
