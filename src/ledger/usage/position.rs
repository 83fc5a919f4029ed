//! Where in the ledger the index is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::RangeInclusive;
use std::path::Path;

use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::history::{History, Part};
use crate::ledger::layout::CURRENT;
use crate::ledger::lines::{Next, RawLines};

/// The last line that the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The file it is in, by the number of that file's first line.
    pub(super) file: u64,
    /// Where in the file it begins and ends, in bytes; the line feed is after the end.
    pub(super) begin: u64,
    pub(super) end: u64,
    /// The hash of the line.
    pub(super) hash: LineHash,
    /// Its number, and that of the first line known.
    pub(super) seq: u64,
    pub(super) first: u64,
}

impl Position {
    /// Whether `current.jsonl` ends with this line. Reads that line and nothing else.
    pub(super) fn is_end_of(&self, dir: &Path) -> bool {
        let Ok(mut file) = File::open(dir.join(CURRENT)) else {
            return false;
        };
        let is_end = file.metadata().is_ok_and(|file| file.len() == self.end + 1);
        is_end
            && file.seek(SeekFrom::Start(self.begin)).is_ok()
            && self.is_next_in(&mut RawLines::new(BufReader::new(file)))
    }

    fn is_next_in(&self, lines: &mut RawLines<impl BufRead>) -> bool {
        matches!(lines.next_line(), Ok(Next::Line(line)) if LineHash::of(line) == self.hash)
    }
}

/// The lines from some position on, through all files.
pub(super) struct Cursor<'h> {
    parts: &'h [Part],
    lines: Option<RawLines<Box<dyn BufRead + Send>>>,
    file: u64,
    offset: u64,
    position: Option<Position>,
    /// Ranges of lines that are not there, which the cursor passed over since it was asked.
    missing: Vec<RangeInclusive<u64>>,
    /// The last line given out; hashed only when the position is asked for.
    last: Vec<u8>,
}

impl<'h> Cursor<'h> {
    /// From the first line there is.
    pub(super) fn at_start(history: &'h History) -> Self {
        Self {
            parts: &history.parts,
            lines: None,
            file: 0,
            offset: 0,
            position: None,
            missing: Vec::new(),
            last: Vec::new(),
        }
    }

    /// The lines after this one; `None` when there is no such line at its position.
    pub(super) fn after(history: &'h History, position: Position) -> io::Result<Option<Self>> {
        let is_file = |part: &Part| part.first == Some(position.file);
        let Some(at) = history.parts.iter().position(is_file) else {
            return Ok(None);
        };
        let mut lines = RawLines::new(history.parts[at].open_at(position.begin)?);
        if !position.is_next_in(&mut lines) {
            return Ok(None);
        }
        Ok(Some(Self {
            parts: &history.parts[at + 1..],
            lines: Some(lines),
            file: position.file,
            offset: position.end + 1,
            position: Some(position),
            missing: Vec::new(),
            last: Vec::new(),
        }))
    }

    /// The next whole line.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(lines) = &mut self.lines
                && let Next::Line(line) = lines.next_line()?
            {
                self.last.clear();
                self.last.extend_from_slice(line);
                self.offset += line.len() as u64 + 1;
                return Ok(Some(&self.last));
            }
            let Some((part, rest)) = self.parts.split_first() else {
                return Ok(None);
            };
            self.keep_position();
            let next = self.position.as_ref().map(|position| position.seq + 1);
            if let (Some(next), Some(first)) = (next, part.first)
                && first > next
            {
                self.missing.push(next..=first - 1);
            }
            self.parts = rest;
            self.file = part.first.unwrap_or(0);
            self.offset = 0;
            self.lines = Some(RawLines::new(part.open()?));
        }
    }

    /// The position of the last line given out.
    pub(super) fn position(&mut self) -> Option<Position> {
        self.keep_position();
        self.position.clone()
    }

    /// The ranges of missing lines that were passed over since this was asked last.
    pub(super) fn take_missing(&mut self) -> Vec<RangeInclusive<u64>> {
        std::mem::take(&mut self.missing)
    }

    fn keep_position(&mut self) {
        let seq = RecordRef::parse(&self.last).map(|view| view.seq);
        let Some(seq) = seq.ok().filter(|_| self.file > 0) else {
            return;
        };
        let end = self.offset - 1;
        self.position = Some(Position {
            file: self.file,
            begin: end - self.last.len() as u64,
            end,
            hash: LineHash::of(&self.last),
            seq,
            first: self
                .position
                .as_ref()
                .map_or(self.first_of_all(), |position| position.first),
        });
        self.last.clear();
    }

    /// The first line that was given out, when none was known before.
    fn first_of_all(&self) -> u64 {
        self.file
    }
}

impl Part {
    /// The file from this byte of its lines on.
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
        let mut file = self.open()?;
        // Rotated files are passed over at the speed of decompression; the growing one is not read.
        if let Some(mut current) = self.current_file()? {
            current.seek(SeekFrom::Start(offset))?;
            return Ok(Box::new(BufReader::new(current)));
        }
        io::copy(&mut file.by_ref().take(offset), &mut io::sink())?;
        Ok(file)
    }
}
