//! Reading the ledger back, line by line, and following it as it grows.
//!
//! Reading takes no lock and asks nothing of the writer: any process that may read the file can.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::format::line_hash::LineHash;
use super::format::record::Record;
use super::format::record_ref::RecordRef;
use super::history::{History, Part};
use super::lines::{Next, RawLines};

pub use super::filter::Filter;

/// A line as it is in the file, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The bytes of the line without its line feed.
    pub text: String,
    /// What they say.
    pub record: Record,
}

/// Why a line cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The line is no record.
    #[error("{path}, byte {offset}: not a ledger record")]
    NotARecord {
        /// The file it is in.
        path: PathBuf,
        /// Where in the file the line begins.
        offset: u64,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The whole lines of one file, from some line on. A last line without its line feed is still
/// being written and is not given out; asking again later continues with it.
///
/// A line that is no record gives an error and does not end the iteration.
pub struct FileLines {
    file: BufReader<File>,
    path: PathBuf,
    /// Where the next line begins.
    offset: u64,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
    /// The sequence number of the last line given out.
    last: Option<u64>,
}

impl FileLines {
    /// The lines of the file, from the first.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::of(file, path))
    }

    /// The lines of a file that is read from its beginning, and is known by this path.
    pub fn of(file: File, path: &Path) -> Self {
        Self {
            file: BufReader::with_capacity(64 * 1024, file),
            path: path.to_owned(),
            offset: 0,
            partial: Vec::new(),
            last: None,
        }
    }

    fn io_error(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.clone(),
            source,
        }
    }

    /// Whether the file is shorter than what was read of it.
    fn is_cut(&self) -> io::Result<bool> {
        let read = self.offset + self.partial.len() as u64;
        Ok(self.file.get_ref().metadata()?.len() < read)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.offset = 0;
        self.partial.clear();
        Ok(())
    }

    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        let read = self.file.read_until(b'\n', &mut self.partial);
        read.map_err(|source| self.io_error(source))?;
        if self.partial.pop_if(|&mut byte| byte == b'\n').is_none() {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += self.partial.len() as u64 + 1;
        let bytes = std::mem::take(&mut self.partial);
        let not_a_record = || ReadError::NotARecord {
            path: self.path.clone(),
            offset,
        };
        let text = String::from_utf8(bytes).map_err(|_| not_a_record())?;
        let record = Record::parse(text.as_bytes()).map_err(|_| not_a_record())?;
        self.last = Some(record.seq);
        Ok(Some(Line { text, record }))
    }
}

impl Iterator for FileLines {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

/// Follows a ledger file like `tail -F`: across rotation (the name leads to another file) and
/// across the writer taking back lines that it could not make durable.
pub struct Follower {
    path: PathBuf,
    lines: Option<FileLines>,
    /// The last lines given out, oldest first, to recognise them when the file is read again.
    recent: VecDeque<(u64, LineHash)>,
}

/// How much of a file's end is read to find its last line: more than a line is long.
const TAIL: u64 = 256 * 1024;

/// How many lines [`Follower`] remembers: more than the writer puts into one batch.
const REMEMBERED: usize = 16 * 1024;

impl Follower {
    /// Follows the file of this name, which need not exist yet, from its first line on.
    pub fn from_start(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lines: None,
            recent: VecDeque::new(),
        }
    }

    /// Follows the file of this name from its end: the first line given out is the next one written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_end(path: &Path) -> io::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::from_start(path)),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let tail = length.min(TAIL);
        file.seek(SeekFrom::Start(length - tail))?;
        let mut text = Vec::new();
        (&file).take(tail).read_to_end(&mut text)?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n').rev();
        let mut records = lines.filter_map(|line| RecordRef::parse(line).ok());
        let Some(last) = records.next().map(|record| record.seq) else {
            return Ok(Self::from_start(path));
        };
        let offset = length - tail + whole as u64;
        file.seek(SeekFrom::Start(offset))?;
        let mut lines = FileLines::of(file, path);
        (lines.offset, lines.last) = (offset, Some(last));
        Ok(Self::after(lines))
    }

    /// Continues after lines that were read already.
    pub fn after(lines: FileLines) -> Self {
        Self {
            path: lines.path.clone(),
            lines: Some(lines),
            recent: VecDeque::new(),
        }
    }

    /// What has been written since the last call; empty when nothing was. Reads files, so it
    /// blocks; the caller decides how often to ask.
    pub fn poll(&mut self) -> Vec<Result<Line, ReadError>> {
        let mut found = Vec::new();
        if let Err(source) = self.poll_files(&mut found) {
            found.push(Err(ReadError::Io {
                path: self.path.clone(),
                source,
            }));
        }
        found
    }

    fn poll_files(&mut self, found: &mut Vec<Result<Line, ReadError>>) -> io::Result<()> {
        self.read_on(found)?;
        let is_current = match (&self.lines, identity_of(&self.path)?) {
            (_, None) => true, // Between the two steps of a rotation, or not there yet.
            (None, Some(_)) => false,
            (Some(lines), Some(named)) => identity(&lines.file.get_ref().metadata()?) == named,
        };
        if is_current {
            return Ok(());
        }
        // The old file may have grown between the read and the rename.
        self.read_on(found)?;
        let last = self.lines.as_ref().and_then(|lines| lines.last);
        self.go_on_behind(last.unwrap_or(0), found)?;
        self.recent.clear();
        self.read_on(found)
    }

    /// Goes over to the file that has the name now. Others may have had it in between; they are
    /// read whole.
    fn go_on_behind(
        &mut self,
        last: u64,
        found: &mut Vec<Result<Line, ReadError>>,
    ) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        for part in History::open(directory)?.parts {
            if let Some(current) = part.current_file()? {
                self.lines = Some(FileLines::of(current, &self.path));
            } else if part.first.is_some_and(|first| first > last) {
                read_whole(&part, found)?;
            }
        }
        Ok(())
    }

    fn read_on(&mut self, found: &mut Vec<Result<Line, ReadError>>) -> io::Result<()> {
        let Some(lines) = &mut self.lines else {
            return Ok(());
        };
        let mut may_rewind = true;
        if lines.is_cut()? {
            lines.rewind()?;
            may_rewind = false;
        }
        while let Some(line) = lines.next() {
            let is_odd = match &line {
                Ok(line) => is_unlinked(&self.recent, line),
                Err(ReadError::NotARecord { .. }) => true,
                Err(ReadError::Io { .. }) => {
                    found.push(line);
                    return Ok(());
                }
            };
            // Lines taken back and others written in their place since the last look: read again,
            // once. If it is still odd, that is how it is.
            if is_odd && may_rewind {
                lines.rewind()?;
                may_rewind = false;
                continue;
            }
            match &line {
                Ok(line) if is_known(&self.recent, line) => continue,
                Ok(line) => remember(&mut self.recent, line),
                Err(_) => {}
            }
            found.push(line);
        }
        Ok(())
    }
}

fn read_whole(part: &Part, found: &mut Vec<Result<Line, ReadError>>) -> io::Result<()> {
    let mut lines = RawLines::new(part.open()?);
    let mut offset = 0;
    while let Next::Line(bytes) = lines.next_line()? {
        let not_a_record = ReadError::NotARecord {
            path: part.path.clone(),
            offset,
        };
        offset += bytes.len() as u64 + 1;
        found.push(Line::parse(bytes).ok_or(not_a_record));
    }
    Ok(())
}

impl Line {
    /// A line from its bytes without line feed; `None` when they are no record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.to_owned();
        let record = Record::parse(bytes).ok()?;
        Some(Self { text, record })
    }
}

/// Whether the line follows the last one given out, but is not linked to it.
fn is_unlinked(recent: &VecDeque<(u64, LineHash)>, line: &Line) -> bool {
    recent.back().is_some_and(|&(seq, hash)| {
        line.record.seq == seq.saturating_add(1) && line.record.prev != hash
    })
}

/// Whether the line was given out before. What is older than memory was.
fn is_known(recent: &VecDeque<(u64, LineHash)>, line: &Line) -> bool {
    let seq = line.record.seq;
    let (Some(&(oldest, _)), Some(&(newest, _))) = (recent.front(), recent.back()) else {
        return false;
    };
    if seq < oldest || seq > newest {
        return seq < oldest;
    }
    let at = recent.partition_point(|&(known, _)| known < seq);
    recent.get(at) == Some(&(seq, LineHash::of(line.text.as_bytes())))
}

/// Lines that were taken back are forgotten for those that took their place.
fn remember(recent: &mut VecDeque<(u64, LineHash)>, line: &Line) {
    while recent
        .pop_back_if(|(seq, _)| *seq >= line.record.seq)
        .is_some()
    {}
    if recent.len() == REMEMBERED {
        recent.pop_front();
    }
    recent.push_back((line.record.seq, LineHash::of(line.text.as_bytes())));
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn identity_of(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(identity(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::ledger::CURRENT;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::layout;

    struct Growing {
        dir: tempfile::TempDir,
        chain: Chain,
    }

    impl Growing {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                chain: Chain::start(),
            }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join(CURRENT)
        }

        fn line(&mut self, slug: &str) -> Vec<u8> {
            let entry = Entry {
                slug: Some(slug.into()),
                ..Entry::new("use")
            };
            let mut line = Vec::new();
            self.chain
                .append(Timestamp::from_unix_micros(7), &entry.encode(), &mut line);
            line
        }

        fn write(&self, bytes: &[u8]) {
            let file = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.path());
            file.unwrap().write_all(bytes).unwrap();
        }

        fn grow(&mut self, slug: &str) {
            let line = self.line(slug);
            self.write(&line);
        }
    }

    fn slugs(lines: Vec<Result<Line, ReadError>>) -> Vec<String> {
        let slug =
            |line: Result<Line, ReadError>| line.unwrap().record.entry.slug.unwrap().into_string();
        lines.into_iter().map(slug).collect()
    }

    #[test]
    fn lines_are_given_out_as_they_stand() {
        let mut ledger = Growing::new();
        let one = ledger.line("one");
        ledger.write(&one);
        let line = FileLines::open(&ledger.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(line.text.as_bytes(), one.strip_suffix(b"\n").unwrap());
        assert_eq!(line.record.seq, 1);
    }

    #[test]
    fn a_line_that_is_no_record_does_not_hide_the_next() {
        let mut ledger = Growing::new();
        ledger.grow("one");
        let offset = fs::metadata(ledger.path()).unwrap().len();
        ledger.write(b"garbage\n\xff\n");
        ledger.grow("two");
        let lines: Vec<_> = FileLines::open(&ledger.path()).unwrap().collect();
        assert!(
            matches!(&lines[1], Err(ReadError::NotARecord { offset: at, .. }) if *at == offset)
        );
        assert!(lines[2].is_err());
        assert_eq!(lines[3].as_ref().unwrap().record.seq, 2);
    }

    #[test]
    fn a_line_is_given_out_once_it_is_whole() {
        let mut ledger = Growing::new();
        let mut follower = Follower::from_start(&ledger.path());
        assert!(follower.poll().is_empty(), "the file is not there yet");
        let line = ledger.line("one");
        for byte in &line[..line.len() - 1] {
            ledger.write(&[*byte]);
        }
        assert!(follower.poll().is_empty());
        ledger.write(b"\n");
        assert_eq!(slugs(follower.poll()), ["one"]);
        assert!(follower.poll().is_empty());
    }

    #[test]
    fn following_goes_on_behind_what_was_read() {
        let mut ledger = Growing::new();
        ledger.grow("one");
        let mut lines = FileLines::open(&ledger.path()).unwrap();
        assert_eq!(slugs(lines.by_ref().collect()), ["one"]);
        ledger.grow("two");
        assert_eq!(slugs(Follower::after(lines).poll()), ["two"]);
    }

    #[test]
    fn following_from_the_end_begins_with_the_next_line() {
        let mut ledger = Growing::new();
        let mut empty = Follower::from_end(&ledger.path()).unwrap();
        ledger.grow("one");
        assert_eq!(slugs(empty.poll()), ["one"]);
        ledger.grow("two");
        let half = ledger.line("three");
        ledger.write(&half[..10]);
        let mut follower = Follower::from_end(&ledger.path()).unwrap();
        assert!(follower.poll().is_empty());
        ledger.write(&half[10..]);
        assert_eq!(slugs(follower.poll()), ["three"]);
        fs::rename(ledger.path(), layout::rotated(ledger.dir.path(), 1)).unwrap();
        ledger.grow("four");
        assert_eq!(slugs(follower.poll()), ["four"], "and nothing of before");
    }

    #[test]
    fn following_survives_rotation() {
        let mut ledger = Growing::new();
        ledger.grow("one");
        let mut follower = Follower::from_start(&ledger.path());
        assert_eq!(slugs(follower.poll()), ["one"]);
        ledger.grow("two");
        fs::rename(ledger.path(), ledger.dir.path().join("2026-11-22.jsonl")).unwrap();
        assert_eq!(
            slugs(follower.poll()),
            ["two"],
            "between the steps of a rotation"
        );
        ledger.grow("three");
        assert_eq!(slugs(follower.poll()), ["three"]);
        ledger.grow("four");
        assert_eq!(slugs(follower.poll()), ["four"]);
    }

    #[test]
    fn following_misses_nothing_when_files_change_twice_between_two_looks() {
        let mut ledger = Growing::new();
        ledger.grow("one");
        let mut follower = Follower::from_start(&ledger.path());
        assert_eq!(slugs(follower.poll()), ["one"]);
        ledger.grow("two");
        fs::rename(ledger.path(), layout::rotated(ledger.dir.path(), 1)).unwrap();
        ledger.grow("three");
        rotate_compressed(ledger.dir.path(), 3);
        ledger.grow("four");
        assert_eq!(slugs(follower.poll()), ["two", "three", "four"]);
        ledger.grow("five");
        assert_eq!(slugs(follower.poll()), ["five"]);
    }

    fn rotate_compressed(dir: &Path, first: u64) {
        let text = fs::read(dir.join(CURRENT)).unwrap();
        fs::remove_file(dir.join(CURRENT)).unwrap();
        let packed = zstd::encode_all(text.as_slice(), 1).unwrap();
        fs::write(layout::compressed(dir, first), packed).unwrap();
    }

    #[test]
    fn lines_taken_back_are_replaced_and_no_other_is_repeated() {
        for (long, second_look) in [(false, true), (true, true), (false, false), (true, false)] {
            let mut ledger = Growing::new();
            ledger.grow("one");
            ledger.grow("two");
            let (chain, length) = (
                ledger.chain.clone(),
                fs::metadata(ledger.path()).unwrap().len(),
            );
            ledger.grow("failed-three");
            ledger.grow("failed-four");
            let mut follower = Follower::from_start(&ledger.path());
            assert_eq!(slugs(follower.poll()).len(), 4);
            fs::OpenOptions::new()
                .append(true)
                .open(ledger.path())
                .unwrap()
                .set_len(length)
                .unwrap();
            if second_look {
                assert!(follower.poll().is_empty());
            }
            ledger.chain = chain;
            let names: &[&str] = if long {
                &["three", "four", "five", "six"]
            } else {
                &["three"]
            };
            for name in names {
                ledger.grow(name);
            }
            assert_eq!(slugs(follower.poll()), names, "{long} {second_look}");
            ledger.grow("last");
            assert_eq!(slugs(follower.poll()), ["last"]);
        }
    }
}
