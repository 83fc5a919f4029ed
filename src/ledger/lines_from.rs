//! The lines of a ledger from a number on, across its files, as they come: for whoever sends them
//! elsewhere.
//!
//! A line that is in the file may still be taken back, if it cannot be made durable. So the reader is
//! told up to which number lines are durable, reads no further, and keeps nothing of what follows.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::format::record_ref::RecordRef;
use super::history::History;
use super::layout::CURRENT;
use super::lines::{Next, RawLines};

/// What is read of the current file at once, in bytes: more than the longest line.
const PIECE: usize = 4 * 1024 * 1024 + 4096;

/// A line, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedLine {
    /// Its number.
    pub seq: u64,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Reads the lines from a number on.
pub struct LinesFrom {
    dir: PathBuf,
    /// The number of the next line.
    next: u64,
    place: Option<Place>,
    /// The first line of the rotated file that was read to its end last.
    finished: Option<u64>,
}

/// Where the next line is.
enum Place {
    /// In a rotated file, whose first line has this number.
    Rotated(u64, RawLines<Box<dyn BufRead + Send>>),
    /// In `current.jsonl` as it was opened, at this offset.
    Current(File, u64),
}

impl LinesFrom {
    /// The lines of the ledger in `dir` from the number `next` on.
    pub fn new(dir: &Path, next: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            next,
            place: None,
            finished: None,
        }
    }

    /// Lines up to the number `durable`, of which there may be more, until they have this many bytes.
    /// None when there are none yet. Lines that are missing are passed over.
    ///
    /// # Errors
    /// When a file cannot be read. It can be asked again.
    pub fn read(&mut self, durable: u64, most: usize) -> io::Result<Vec<NumberedLine>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while self.next <= durable && bytes < most {
            let place = match self.place.take() {
                Some(place) => place,
                None => match self.open()? {
                    Some(place) => place,
                    None => break,
                },
            };
            let before = lines.len();
            let goes_on = match place {
                Place::Rotated(first, from) => self.rotated(first, from, durable, &mut lines)?,
                Place::Current(file, offset) => {
                    self.current(file, offset, (durable, most - bytes), &mut lines)?
                }
            };
            bytes += lines[before..]
                .iter()
                .map(|line| line.text.len() + 1)
                .sum::<usize>();
            if !goes_on {
                break;
            }
        }
        Ok(lines)
    }

    /// The file with the next line, or with the first after it.
    fn open(&self) -> io::Result<Option<Place>> {
        let history = History::open(&self.dir)?;
        let mut parts = history.from_seq(self.next).iter();
        let is_new = |first: Option<u64>| first.is_none() || first > self.finished;
        let Some(part) = parts.find(|part| part.is_current() || is_new(part.first)) else {
            return Ok(None);
        };
        if let Some(file) = part.current_file()? {
            return Ok(Some(Place::Current(file, 0)));
        }
        let first = part.first.unwrap_or_default();
        Ok(Some(Place::Rotated(first, RawLines::new(part.open()?))))
    }

    /// Takes one line of a rotated file. Returns whether there may be more.
    fn rotated(
        &mut self,
        first: u64,
        mut from: RawLines<Box<dyn BufRead + Send>>,
        durable: u64,
        lines: &mut Vec<NumberedLine>,
    ) -> io::Result<bool> {
        match from.next_line()? {
            // It is read again, from the beginning of the file.
            Next::Line(text) if !self.take(text, durable, lines) => return Ok(false),
            Next::Line(_) => {}
            Next::Unfinished(_) | Next::End => {
                self.finished = Some(first);
                return Ok(true);
            }
        }
        self.place = Some(Place::Rotated(first, from));
        Ok(true)
    }

    /// Takes what is there of the current file. Returns whether there may be more.
    fn current(
        &mut self,
        file: File,
        mut offset: u64,
        (durable, most): (u64, usize),
        lines: &mut Vec<NumberedLine>,
    ) -> io::Result<bool> {
        let mut piece = vec![0; PIECE.min(most.saturating_add(PIECE / 4))];
        let read = file.read_at(&mut piece, offset)?;
        let whole = memchr::memrchr(b'\n', &piece[..read]).map_or(0, |at| at + 1);
        let begun = offset;
        for text in piece[..whole].split_inclusive(|byte| *byte == b'\n') {
            if !self.take(&text[..text.len() - 1], durable, lines) {
                break;
            }
            offset += text.len() as u64;
        }
        if offset > begun {
            self.place = Some(Place::Current(file, offset));
            return Ok(true);
        }
        if self.is_current(&file)? {
            self.place = Some(Place::Current(file, offset));
            return Ok(false);
        }
        // It was rotated, and all of it was read.
        Ok(true)
    }

    fn is_current(&self, file: &File) -> io::Result<bool> {
        let named = fs::metadata(self.dir.join(CURRENT))?;
        Ok(named.ino() == file.metadata()?.ino())
    }

    /// Adds the line if its turn has come. Returns whether it was read for good: one that is not durable
    /// is read again. What is no record is passed over.
    fn take(&mut self, text: &[u8], durable: u64, lines: &mut Vec<NumberedLine>) -> bool {
        let Ok(record) = RecordRef::parse(text) else {
            return true;
        };
        let seq = record.seq;
        if seq > durable {
            return false;
        }
        if seq >= self.next {
            self.next = seq + 1;
            let text = text.to_owned();
            lines.push(NumberedLine { seq, text });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::layout;

    struct Files {
        dir: tempfile::TempDir,
        chain: Chain,
    }

    impl Files {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                chain: Chain::start(),
            }
        }

        fn write(&mut self, count: usize) {
            let path = self.dir.path().join(CURRENT);
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            for _ in 0..count {
                let (time, entry) = (Timestamp::from_unix_micros(7), Entry::new("event"));
                let mut line = Vec::new();
                self.chain.append(time, &entry.encode(), &mut line);
                file.write_all(&line).unwrap();
            }
        }

        fn rotate(&self, first: u64) {
            let from = self.dir.path().join(CURRENT);
            fs::rename(from, layout::rotated(self.dir.path(), first)).unwrap();
            File::create(self.dir.path().join(CURRENT)).unwrap();
        }

        fn numbers(from: &mut LinesFrom, durable: u64, most: usize) -> Vec<u64> {
            let lines = from.read(durable, most).unwrap();
            lines.iter().map(|line| line.seq).collect()
        }
    }

    #[test]
    fn lines_come_once_and_in_order_across_rotations() {
        let mut files = Files::new();
        files.write(3);
        files.rotate(1);
        files.write(2);
        let mut from = LinesFrom::new(files.dir.path(), 2);
        assert_eq!(Files::numbers(&mut from, 4, usize::MAX), [2, 3, 4]);
        assert_eq!(Files::numbers(&mut from, 4, usize::MAX), [0; 0]);
        assert_eq!(Files::numbers(&mut from, 5, usize::MAX), [5]);
        files.write(1);
        files.rotate(4);
        assert_eq!(Files::numbers(&mut from, 6, usize::MAX), [6]);
        files.write(2);
        assert_eq!(Files::numbers(&mut from, 8, usize::MAX), [7, 8]);
        assert_eq!(Files::numbers(&mut from, 9, usize::MAX), [0; 0]);
    }

    #[test]
    fn what_is_not_durable_is_read_again_when_it_is() {
        let mut files = Files::new();
        files.write(2);
        let mut from = LinesFrom::new(files.dir.path(), 1);
        assert_eq!(Files::numbers(&mut from, 1, usize::MAX), [1]);
        // Taken back, and written anew.
        let path = files.dir.path().join(CURRENT);
        let text = fs::read(&path).unwrap();
        let first = memchr::memchr(b'\n', &text).unwrap() + 1;
        let other = String::from_utf8(text[first..].to_vec()).unwrap();
        let other = other.replacen("1970", "1971", 1);
        let again = [&text[..first], other.as_bytes()].concat();
        fs::write(&path, &again).unwrap();
        let lines = from.read(2, usize::MAX).unwrap();
        assert_eq!(lines[0].text, again[first..again.len() - 1]);
    }

    #[test]
    fn a_batch_is_bounded_and_missing_files_are_passed_over() {
        let mut files = Files::new();
        files.write(2);
        files.rotate(1);
        files.write(2);
        files.rotate(3);
        files.write(2);
        fs::remove_file(layout::rotated(files.dir.path(), 3)).unwrap();
        let mut from = LinesFrom::new(files.dir.path(), 1);
        let mut all = Vec::new();
        loop {
            let some = Files::numbers(&mut from, 6, 1);
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        assert_eq!(all, [1, 2, 5, 6]);
    }
}
