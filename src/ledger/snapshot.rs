//! A consistent copy of a ledger that may be written meanwhile.
//!
//! Lines are only ever added, and files only renamed, compressed or dropped. So a copy is consistent
//! when it has all lines that its checkpoints cover, and all checkpoints that its sealed head and the
//! witnesses know: what those have cosigned and the head are read first, then the length of the checkpoints,
//! then that of the lines. What comes later is not copied, however long the copying takes.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::cosigned;
use super::format::checkpoint::Notes;
use super::format::line_hash::LineHash;
use super::format::record_ref::RecordRef;
use super::history::{History, Part};
use super::layout;
use super::lines::{Next, RawLines};

/// How often it is tried to read head, checkpoints and lines of one moment. The writer replaces the
/// head every thousand lines at most.
const ATTEMPTS: u32 = 100;

/// How much of the end of the checkpoints is read to find where the last whole one ends, in bytes.
const NOTES_WINDOW: u64 = 256 * 1024;

/// Where a ledger ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of its last line; 0 without any.
    pub seq: u64,
    /// The hash of that line.
    pub hash: Option<LineHash>,
}

/// What belongs to a copy: fixed at one moment, and read later.
#[derive(Debug)]
pub struct Snapshot {
    dir: PathBuf,
    head: Option<Vec<u8>>,
    /// What the witnesses have cosigned.
    cosigned: Option<Vec<u8>>,
    /// Bytes of whole checkpoints.
    notes: u64,
    history: History,
    /// Bytes of whole lines of `current.jsonl`.
    current: u64,
    position: Position,
}

impl Snapshot {
    /// Fixes the end of the ledger in `dir`, whose sealed head is the file `head`.
    ///
    /// # Errors
    /// When the file system refuses, or the ledger is replaced again and again meanwhile.
    pub fn take(dir: &Path, head: &Path) -> io::Result<Self> {
        let cosigned = cosigned::file(dir)?;
        for _ in 0..ATTEMPTS {
            let sealed = optional(fs::read(head))?;
            let notes = whole_notes(&dir.join(layout::CHECKPOINTS))?;
            let history = History::open(dir)?;
            let current = whole_lines(&history)?;
            // Where a writer began or ended meanwhile, the head could say that nothing follows it.
            if sealed == optional(fs::read(head))? {
                let position = position(&history, current)?;
                return Ok(Self {
                    dir: dir.to_owned(),
                    head: sealed,
                    cosigned,
                    notes,
                    history,
                    current,
                    position,
                });
            }
        }
        Err(io::Error::other("the ledger's head changes all the time"))
    }

    /// Where the copy ends.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The sealed head that belongs to it, if there is one.
    pub fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }

    /// Hands over each file with its name, oldest lines first.
    ///
    /// # Errors
    /// When a file cannot be read ([`ErrorKind::NotFound`] if retention has dropped it since), or
    /// `take` fails.
    pub fn each_file(
        &self,
        mut take: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        for part in self.history.parts.iter().filter(|part| !part.is_current()) {
            let (name, mut file) = open_rotated(part)?;
            take(&name, &mut file)?;
        }
        let current = self.history.parts.last();
        if let Some(file) = current.map(Part::current_file).transpose()?.flatten() {
            take(layout::CURRENT, &mut file.take(self.current))?;
        }
        if let Some(file) = optional(File::open(self.dir.join(layout::CHECKPOINTS)))? {
            take(layout::CHECKPOINTS, &mut file.take(self.notes))?;
        }
        if let Some(mut notes) = self.cosigned.as_deref() {
            take(layout::COSIGNED, &mut notes)?;
        }
        for name in other_files(&self.dir)? {
            take(&name, &mut File::open(self.dir.join(&name))?)?;
        }
        Ok(())
    }
}

/// Where the ledger in `dir` ends.
///
/// # Errors
/// When the file system refuses, or the last line is no record.
pub fn end_of(dir: &Path) -> io::Result<Position> {
    let history = History::open(dir)?;
    let current = whole_lines(&history)?;
    position(&history, current)
}

/// The keys, and what a start has set aside: it never changes.
fn other_files(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = optional(fs::read_dir(dir))?;
    for entry in entries.into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_key = [layout::PUBLIC_KEY, layout::SIGNING_KEY].contains(&name.as_str());
        let is_partial = name.ends_with(".new");
        let is_aside = name.starts_with("torn-") || name.starts_with("checkpoints-");
        if is_key || is_aside && !is_partial {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A rotated file as it lies on disk. It may have been compressed since it was listed.
fn open_rotated(part: &Part) -> io::Result<(String, File)> {
    let compressed = part.path.with_extension("jsonl.zst");
    let (path, file) = match File::open(&part.path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !part.is_compressed() => {
            let file = File::open(&compressed)?;
            (&compressed, file)
        }
        file => (&part.path, file?),
    };
    let name = path.file_name().unwrap_or_default();
    Ok((name.to_string_lossy().into_owned(), file))
}

/// The length of the checkpoints up to the end of the last whole one.
fn whole_notes(path: &Path) -> io::Result<u64> {
    let Some(mut file) = optional(File::open(path))? else {
        return Ok(0);
    };
    let end = file.metadata()?.len();
    let start = end.saturating_sub(NOTES_WINDOW);
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut text)?;
    // The window may begin within a note or a character, and only its end counts.
    let text = String::from_utf8_lossy(&text);
    let rest = rest_of_notes(&text, start == 0);
    Ok(end - rest as u64)
}

/// How many bytes follow the last whole note. A note begins with the origin and ends after its
/// signatures, each of which begins with an em dash.
fn rest_of_notes(text: &str, from_first: bool) -> usize {
    if from_first {
        let mut notes = Notes::new(text);
        notes.by_ref().for_each(drop);
        return notes.rest().len();
    }
    let is_end = |at: &usize| {
        let line = text[..*at].rfind('\n').map_or(0, |at| at + 1);
        text[line..].starts_with('\u{2014}')
    };
    let mut ends = text.rmatch_indices("\n\n").map(|(at, _)| at);
    ends.find(is_end).map_or(0, |at| text.len() - (at + 2))
}

/// The length of `current.jsonl` up to its last line feed.
fn whole_lines(history: &History) -> io::Result<u64> {
    const WINDOW: u64 = 64 * 1024;
    // One that was empty when the files were listed may have been rotated before that.
    let current = history.parts.last().filter(|part| part.first.is_some());
    let Some(mut file) = current.map(Part::current_file).transpose()?.flatten() else {
        return Ok(0);
    };
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(WINDOW);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The last line: of `current.jsonl`, or of the file before it if that one has none.
fn position(history: &History, current: u64) -> io::Result<Position> {
    for part in history.parts.iter().rev() {
        let last = match part.current_file()? {
            Some(file) => last_line(BufReader::new(file.take(current)))?,
            None => last_line(part.open()?)?,
        };
        if let Some(last) = last {
            let record = RecordRef::parse(&last);
            let record = record
                .map_err(|error| io::Error::other(format!("{}: {error}", part.path.display())))?;
            return Ok(Position {
                seq: record.seq,
                hash: Some(LineHash::of(&last)),
            });
        }
    }
    Ok(Position::default())
}

fn last_line(reader: impl io::BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut lines = RawLines::new(reader);
    let mut last = None::<Vec<u8>>;
    while let Next::Line(line) = lines.next_line()? {
        let last = last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(line);
    }
    Ok(last)
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
