//! The files of a ledger as they lie at one moment, in the order of their lines.
//!
//! Files move while they are read: `current.jsonl` becomes a rotated file, that one is compressed,
//! and retention drops the oldest. So `current.jsonl` is opened before the others are listed (it
//! stays readable under whatever name), and a rotated file that is gone is looked for compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::format::record_ref::RecordRef;
use super::format::timestamp::Timestamp;
use super::layout::{self, CURRENT, Form, Segment};
use super::lines::{Next, RawLines};

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Largest window of a compressed file, as a power of two: what a frame claims to need is not
/// allocated unseen.
const WINDOW_LOG_MAX: u32 = 27;

/// The files of a ledger, oldest lines first.
#[derive(Debug)]
pub struct History {
    /// The files. The last one may still grow.
    pub parts: Vec<Part>,
}

/// One file of a ledger.
#[derive(Debug)]
pub struct Part {
    /// Where it is, or was.
    pub path: PathBuf,
    /// The sequence number of its first line; `None` while `current.jsonl` is empty or unreadable.
    pub first: Option<u64>,
    form: Form,
    /// `current.jsonl`, held open.
    held: Option<File>,
}

/// How far a clock may have been set back without lines being missed by [`History::since`].
const CLOCK_SLACK: i64 = 24 * 3_600 * 1_000_000;

impl History {
    /// The files of the ledger in `dir`; none when there is no ledger.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let current = match File::open(dir.join(CURRENT)) {
            Ok(file) => Some(Part {
                path: dir.join(CURRENT),
                first: first_seq(BufReader::new(&file)),
                form: Form::Current,
                held: Some(file),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut rotated = layout::rotated_segments(dir)?;
        if let Some(first) = current.as_ref().and_then(|current| current.first) {
            // Since it was opened, it may have been rotated itself, and others after it.
            rotated.retain(|segment| segment.first < Some(first));
        }
        let mut parts: Vec<Part> = rotated.into_iter().map(Part::rotated).collect();
        parts.extend(current);
        Ok(Self { parts })
    }

    /// The files from which lines since this time are to be read: those before hold older ones
    /// alone, unless the clock was set back by more than a day.
    pub fn since(&self, time: Timestamp) -> &[Part] {
        Self::since_of(&self.parts, time)
    }

    /// [`History::since`], of some of the files.
    pub fn since_of(parts: &[Part], time: Timestamp) -> &[Part] {
        let time = Timestamp::from_unix_micros(time.unix_micros().saturating_sub(CLOCK_SLACK));
        let is_older = |part: &Part| part.first_time().is_some_and(|first| first < time);
        let at = parts.iter().rposition(is_older).unwrap_or(0);
        &parts[at..]
    }

    /// The files from the one that holds the line `seq` on.
    pub fn from_seq(&self, seq: u64) -> &[Part] {
        let starts_after = |part: &Part| part.first.is_none_or(|first| first > seq);
        let at = self.parts.iter().position(starts_after);
        let at = at.unwrap_or(self.parts.len()).saturating_sub(1);
        &self.parts[at..]
    }
}

impl Part {
    fn rotated(segment: Segment) -> Self {
        Self {
            path: segment.path,
            first: segment.first,
            form: segment.form,
            held: None,
        }
    }

    /// Whether lines may still be added.
    pub fn is_current(&self) -> bool {
        self.form == Form::Current
    }

    /// Whether it is compressed.
    pub fn is_compressed(&self) -> bool {
        self.form == Form::Zstd
    }

    /// The name of the file.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The time of the first line, if there is one that says so.
    fn first_time(&self) -> Option<Timestamp> {
        match RawLines::new(self.open().ok()?).next_line().ok()? {
            Next::Line(line) => RecordRef::parse(line).ok()?.time.parse().ok(),
            Next::Unfinished(_) | Next::End => None,
        }
    }

    /// `current.jsonl` as it was opened, at its beginning, for whoever follows it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn current_file(&self) -> io::Result<Option<File>> {
        let Some(file) = &self.held else {
            return Ok(None);
        };
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Some(file))
    }

    /// The file from its beginning, decompressed.
    ///
    /// # Errors
    /// When it cannot be opened; damage within a compressed file shows while reading.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        if let Some(file) = self.current_file()? {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, file)));
        }
        match open_as(&self.path, self.form) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.form == Form::Plain => {
                open_as(&self.path.with_extension("jsonl.zst"), Form::Zstd)
            }
            other => other,
        }
    }
}

fn open_as(path: &Path, form: Form) -> io::Result<Box<dyn BufRead + Send>> {
    let file = BufReader::with_capacity(BUFFER, File::open(path)?);
    if form != Form::Zstd {
        return Ok(Box::new(file));
    }
    let mut opened = zstd::stream::read::Decoder::with_buffer(file)?;
    opened.window_log_max(WINDOW_LOG_MAX)?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, opened)))
}

/// The sequence number of the first line, if there is one that says so.
fn first_seq(file: impl BufRead) -> Option<u64> {
    match RawLines::new(file).next_line().ok()? {
        Next::Line(line) => Some(RecordRef::parse(line).ok()?.seq),
        Next::Unfinished(_) | Next::End => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::timestamp::Timestamp;

    fn lines(chain: &mut Chain, count: usize) -> Vec<u8> {
        let mut lines = Vec::new();
        for _ in 0..count {
            let time = Timestamp::from_unix_micros(7);
            chain.append(time, &Entry::new("use").encode(), &mut lines);
        }
        lines
    }

    fn text(history: &History) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &history.parts {
            part.open().unwrap().read_to_end(&mut text).unwrap();
        }
        text
    }

    #[test]
    fn files_are_read_in_the_order_of_their_lines_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::start();
        let (one, two, three) = (
            lines(&mut chain, 3),
            lines(&mut chain, 2),
            lines(&mut chain, 1),
        );
        let packed = zstd::encode_all(one.as_slice(), 3).unwrap();
        fs::write(layout::compressed(dir.path(), 1), packed).unwrap();
        fs::write(layout::rotated(dir.path(), 4), &two).unwrap();
        fs::write(dir.path().join(CURRENT), &three).unwrap();
        let history = History::open(dir.path()).unwrap();
        let firsts: Vec<_> = history.parts.iter().map(|part| part.first).collect();
        assert_eq!(firsts, [Some(1), Some(4), Some(6)]);
        assert_eq!(text(&history), [one, two, three].concat());
        let names = |seq| {
            let parts = history.from_seq(seq).iter();
            parts.map(|part| part.first.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(1), [1, 4, 6]);
        assert_eq!(names(3), [1, 4, 6]);
        assert_eq!(names(4), [4, 6]);
        assert_eq!(names(99), [6]);
    }

    #[test]
    fn a_rotation_under_way_neither_hides_nor_repeats_lines() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join(CURRENT);
        let mut chain = Chain::start();
        let one = lines(&mut chain, 3);
        fs::write(&current, &one).unwrap();
        // The first step of a rotation: two names for one file.
        fs::hard_link(&current, layout::rotated(dir.path(), 1)).unwrap();
        let history = History::open(dir.path()).unwrap();
        assert_eq!(text(&history), one);
        // The second, after the files were listed; and then the old one is compressed.
        fs::write(dir.path().join("next"), lines(&mut chain, 1)).unwrap();
        fs::rename(dir.path().join("next"), &current).unwrap();
        let listed = History::open(dir.path()).unwrap();
        let packed = zstd::encode_all(one.as_slice(), 3).unwrap();
        fs::write(layout::compressed(dir.path(), 1), packed).unwrap();
        fs::remove_file(layout::rotated(dir.path(), 1)).unwrap();
        assert_eq!(text(&history), one);
        assert!(text(&listed).starts_with(&one));
    }

    #[test]
    fn a_compressed_file_that_was_cut_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut packed = zstd::encode_all(lines(&mut Chain::start(), 9).as_slice(), 3).unwrap();
        packed.truncate(packed.len() - 3);
        fs::write(layout::compressed(dir.path(), 1), packed).unwrap();
        let history = History::open(dir.path()).unwrap();
        let mut text = Vec::new();
        assert!(
            history.parts[0]
                .open()
                .unwrap()
                .read_to_end(&mut text)
                .is_err()
        );
    }

    #[test]
    fn where_there_is_no_ledger_there_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            History::open(&dir.path().join("none"))
                .unwrap()
                .parts
                .is_empty()
        );
    }
}
