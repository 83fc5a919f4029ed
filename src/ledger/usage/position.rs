//! Where in the ledger the index is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::history::{History, Part};
use crate::ledger::layout::CURRENT;
use crate::ledger::lines::{Next, RawLines};

/// The last line that the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file it is in, by the number of that file's first line.
    pub(super) file: u64,
    /// Where in the file it begins and ends, in bytes; the line feed is behind the end.
    pub(super) begin: u64,
    pub(super) end: u64,
    /// The hash of the line.
    pub(super) hash: LineHash,
    /// Its number, and that of the first line known.
    pub(super) seq: u64,
    pub(super) first: u64,
}

impl Place {
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

/// The lines from some place on, through all files.
pub(super) struct Cursor<'h> {
    parts: &'h [Part],
    lines: Option<RawLines<Box<dyn BufRead + Send>>>,
    file: u64,
    offset: u64,
    place: Option<Place>,
    /// The last line given out; hashed only when the place is asked for.
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
            place: None,
            last: Vec::new(),
        }
    }

    /// Behind a line; `None` when there is no such line at its place.
    pub(super) fn after(history: &'h History, place: Place) -> io::Result<Option<Self>> {
        let is_file = |part: &Part| part.first == Some(place.file);
        let Some(at) = history.parts.iter().position(is_file) else {
            return Ok(None);
        };
        let mut lines = RawLines::new(history.parts[at].open_at(place.begin)?);
        if !place.is_next_in(&mut lines) {
            return Ok(None);
        }
        Ok(Some(Self {
            parts: &history.parts[at + 1..],
            lines: Some(lines),
            file: place.file,
            offset: place.end + 1,
            place: Some(place),
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
            self.keep_place();
            self.parts = rest;
            self.file = part.first.unwrap_or(0);
            self.offset = 0;
            self.lines = Some(RawLines::new(part.open()?));
        }
    }

    /// The place of the last line given out.
    pub(super) fn place(&mut self) -> Option<Place> {
        self.keep_place();
        self.place.clone()
    }

    fn keep_place(&mut self) {
        let seq = RecordRef::parse(&self.last).map(|view| view.seq);
        let Some(seq) = seq.ok().filter(|_| self.file > 0) else {
            return;
        };
        let end = self.offset - 1;
        self.place = Some(Place {
            file: self.file,
            begin: end - self.last.len() as u64,
            end,
            hash: LineHash::of(&self.last),
            seq,
            first: self
                .place
                .as_ref()
                .map_or(self.first_of_all(), |place| place.first),
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
