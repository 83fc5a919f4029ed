//! The file that will be written to, as it is found at a start.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::{directory, identity, walk};
use crate::ledger::format::chain::Chain;
use crate::ledger::format::record::Record;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout::{self, Form, Segment};

/// `current.jsonl`, open.
pub(super) struct Current {
    pub(super) file: File,
    path: PathBuf,
    pub(super) length: u64,
    last_line: Option<Vec<u8>>,
    /// Number and time of the first line, if it is a record.
    pub(super) first: Option<(u64, Timestamp)>,
}

impl Current {
    pub(super) fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join(layout::CURRENT);
        let at = LedgerError::at(&path);
        let mut file = directory::open_for_append(&path).map_err(&at)?;
        let first = first_record(&mut file).map_err(&at)?;
        let length = file.metadata().map_err(&at)?.len();
        Ok(Self {
            file,
            path,
            length,
            last_line: None,
            first,
        })
    }

    /// Sets a torn last line aside.
    pub(super) fn cut_torn(&mut self, dir: &Path, now: Timestamp) -> Result<(), LedgerError> {
        let at = LedgerError::at(&self.path);
        let tail = super::tail::Tail::read(&mut self.file).map_err(&at)?;
        if !tail.torn.is_empty() {
            let torn = directory::set_aside(dir, &mut &tail.torn[..], now)?;
            let torn = torn.display();
            tracing::warn!(%torn, "the last line of the ledger was torn by a crash and set aside");
            self.file.set_len(tail.whole).map_err(&at)?;
        }
        self.file.sync_all().map_err(&at)?;
        (self.length, self.last_line) = (tail.whole, tail.last_line);
        Ok(())
    }

    /// Where a copy was taken of a ledger in use, the file may have been copied before it was
    /// rotated, and again after it: its lines are then the beginning of the rotated file. It is set
    /// aside. Returns whether it was.
    pub(super) fn set_aside_copy(
        &mut self,
        dir: &Path,
        rotated: &[Segment],
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let first = self.first.map(|(first, _)| first);
        let same = rotated
            .iter()
            .find(|segment| first.is_some() && segment.first == first);
        let Some(segment) = same else {
            return Ok(false);
        };
        let at = LedgerError::at(&self.path);
        if !self.is_beginning_of(segment).map_err(&at)? {
            return Ok(false);
        }
        let aside = directory::set_aside_file(dir, &self.path, now)?;
        tracing::warn!(
            aside = %aside.display(),
            "current.jsonl is an older copy of a rotated file and was set aside"
        );
        self.begin(dir)?;
        Ok(true)
    }

    fn is_beginning_of(&mut self, segment: &Segment) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut own = BufReader::new((&self.file).take(self.length));
        let mut other = segment.open()?;
        loop {
            let (left, right) = (own.fill_buf()?, other.fill_buf()?);
            let length = left.len().min(right.len());
            if left.is_empty() || left[..length] != right[..length] || length == 0 {
                return Ok(left.is_empty());
            }
            own.consume(length);
            other.consume(length);
        }
    }

    /// Sets all lines from this one on aside, those of later files too. Returns the names of the
    /// files that have them now.
    pub(super) fn set_aside_from(
        &mut self,
        dir: &Path,
        segments: &[Segment],
        seq: u64,
        now: Timestamp,
    ) -> Result<Vec<String>, LedgerError> {
        let rotated: Vec<&Segment> = segments
            .iter()
            .filter(|segment| segment.form != Form::Current)
            .collect();
        // A rotated file is never cut.
        let before = rotated.iter().rfind(|segment| segment.first < Some(seq));
        if let Some(segment) = before
            && holds(dir, segment, seq)?
        {
            let dir = dir.to_owned();
            return Err(LedgerError::Altered { dir, seq });
        }
        let mut names = Vec::new();
        for segment in rotated.into_iter().filter(|s| s.first >= Some(seq)) {
            names.push(name(&directory::set_aside_file(dir, &segment.path, now)?));
        }
        names.extend(self.cut_from(dir, seq, now)?);
        Ok(names)
    }

    /// Sets those lines of this file aside.
    fn cut_from(
        &mut self,
        dir: &Path,
        seq: u64,
        now: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        let at = LedgerError::at(&self.path);
        let before = self.first.map_or(0, |(first, _)| seq.saturating_sub(first));
        let offset = offset_of(&mut self.file, before).map_err(&at)?;
        if offset >= self.length {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(&at)?;
        let aside = directory::set_aside(dir, &mut &self.file, now)?;
        self.file.set_len(offset).map_err(&at)?;
        self.file.sync_all().map_err(&at)?;
        self.length = offset;
        self.first = self.first.filter(|_| offset > 0);
        Ok(Some(name(&aside)))
    }

    /// Gives the file the name of a rotated one and begins a new one, so that lines which are missing
    /// after its last one, up to the number `to`, lie between two files.
    pub(super) fn end_before_gap(&mut self, dir: &Path, to: u64) -> Result<(), LedgerError> {
        let Some((first, _)) = self.first.filter(|(first, _)| *first <= to) else {
            return Ok(());
        };
        let rotated = layout::rotated(dir, first);
        identity::rename_to_free_name(&self.path, &rotated).map_err(LedgerError::at(&rotated))?;
        self.begin(dir)
    }

    fn begin(&mut self, dir: &Path) -> Result<(), LedgerError> {
        let at = LedgerError::at(&self.path);
        self.file = directory::open_for_append(&self.path).map_err(&at)?;
        self.file.sync_all().map_err(&at)?;
        directory::sync(dir).map_err(&at)?;
        (self.length, self.last_line, self.first) = (0, None, None);
        Ok(())
    }

    /// The end of the chain by the last line alone.
    pub(super) fn chain(&self, dir: &Path, segments: &[Segment]) -> Result<Chain, LedgerError> {
        let damaged = |path: &Path| LedgerError::Damaged(path.to_owned());
        if let Some(line) = &self.last_line {
            return Chain::after(line).map_err(|_| damaged(&self.path));
        }
        let Some((_, rotated)) = segments.split_last() else {
            return Ok(Chain::start());
        };
        let mut last_line = None;
        walk::lines(dir, rotated, rotated.len().saturating_sub(1), |_, line| {
            let last: &mut Vec<u8> = last_line.get_or_insert_default();
            last.clear();
            last.extend_from_slice(line);
            Ok(true)
        })?;
        match (last_line, rotated.last()) {
            (Some(line), Some(segment)) => Chain::after(&line).map_err(|_| damaged(&segment.path)),
            _ => Ok(Chain::start()),
        }
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether the file has a line of this number.
fn holds(dir: &Path, segment: &Segment, seq: u64) -> Result<bool, LedgerError> {
    let segment = std::slice::from_ref(segment);
    Ok(walk::lines(dir, segment, 0, |at, _| Ok(at < seq))? >= seq)
}

fn first_record(file: &mut File) -> io::Result<Option<(u64, Timestamp)>> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    BufReader::new(file.take(1024 * 1024)).read_until(b'\n', &mut line)?;
    let record = Record::parse(&line);
    Ok(record.ok().map(|record| (record.seq, record.time)))
}

/// Where the line begins that has so many before it.
fn offset_of(file: &mut File, lines: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut file = BufReader::new(file);
    let mut offset = 0;
    for _ in 0..lines {
        offset += file.skip_until(b'\n')? as u64;
    }
    Ok(offset)
}
