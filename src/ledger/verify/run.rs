//! One check of lines against checkpoints, wherever they are read from.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::checker::{Checker, Remark};
use super::flaw::{Flaw, Wrong};
use super::notes::{Checkpoints, Placed};
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::note::Verifier;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::history::{History, Part};
use crate::ledger::layout::CHECKPOINTS;
use crate::ledger::lines::{Next, RawLines};

/// What is to be checked besides the lines.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// The key that signs the checkpoints; without it there may be none.
    pub key: Option<&'a Verifier>,
    /// The checkpoint after which to begin; without it, the first line of a ledger.
    pub start: Option<Checkpoint>,
    /// Checkpoints that were kept elsewhere, each signed by the key.
    pub kept: Vec<Checkpoint>,
    /// Lines that name damage which is known.
    pub known_damage: Vec<u64>,
    /// How many lines were checked, while the check runs.
    pub progress: Arc<AtomicU64>,
}

/// What was found to be in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Lines that were checked.
    pub lines: u64,
    /// The first of them.
    pub first: Option<u64>,
    /// The last line of the ledger.
    pub last: u64,
    /// Its time.
    pub last_time: Option<Timestamp>,
    /// Checkpoints whose signature was checked.
    pub checkpoints: u64,
    /// Those of them that were compared with the lines.
    pub compared: u64,
    /// The last checkpoint.
    pub last_checkpoint: Option<Signed>,
    /// Lines after the last checkpoint: chained, and not signed yet.
    pub unsigned: u64,
    /// Checkpoints kept elsewhere that the lines agree with.
    pub kept: u64,
    /// Bytes of a last line that is being written, or was torn by a crash.
    pub unfinished: u64,
    /// How often the time of a line is before that of the line before it.
    pub clock_steps: u64,
    /// Lines that name damage, all of which is known.
    pub damaged: u64,
    /// Lines from which on another key signs, the first hundred of them.
    pub key_changes: Vec<u64>,
}

/// Changes of the key that a report lists.
const KEY_CHANGES: usize = 100;

/// A checkpoint, in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The number of lines.
    pub size: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// What for.
    pub cause: &'static str,
}

/// A file of lines to be checked.
pub struct InputFile<'a> {
    /// Its name, for reports.
    pub name: String,
    /// Lines at its beginning that come before the start and are passed over.
    pub skip: u64,
    /// Whether lines are still added, so that the last one may be unfinished.
    pub is_current: bool,
    /// Opens it.
    #[allow(clippy::type_complexity)]
    pub open: Box<dyn FnOnce() -> io::Result<Box<dyn BufRead + 'a>> + 'a>,
}

impl<'a> InputFile<'a> {
    /// The files of a ledger from the line after `size` on.
    pub fn of(history: &'a History, size: u64) -> Vec<Self> {
        let parts = history.from_seq(size.saturating_add(1)).iter();
        let skip = |part: &Part| match part.first {
            Some(first) => size.saturating_add(1).saturating_sub(first),
            None => 0,
        };
        parts
            .map(|part| Self {
                name: part.name(),
                skip: skip(part),
                is_current: part.is_current(),
                open: Box::new(move || Ok(part.open()? as Box<dyn BufRead>)),
            })
            .collect()
    }
}

/// Checks lines and checkpoints.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify<'a>(
    files: impl IntoIterator<Item = InputFile<'a>>,
    checkpoints: impl BufRead,
    plan: Plan<'_>,
) -> Result<Report, Flaw> {
    let mut run = Run::new(Checkpoints::new(checkpoints, plan.key), plan)?;
    for file in files {
        run.file(file)?;
    }
    run.finish()
}

/// A check under way.
struct Run<'k, R> {
    checker: Checker,
    checkpoints: Checkpoints<'k, R>,
    /// The next checkpoint, whose lines are not all there yet.
    ahead: Option<Placed>,
    /// Checkpoints kept elsewhere, the largest first; the next one to be met is the last.
    kept: Vec<Checkpoint>,
    /// The size up to which a signature vouches for the lines.
    vouched: u64,
    start: Option<Checkpoint>,
    known_damage: Vec<u64>,
    /// The first line that names damage which is not known, and how many follow.
    damage: Option<Flaw>,
    more_damage: u64,
    progress: Arc<AtomicU64>,
    report: Report,
}

impl<'k, R: BufRead> Run<'k, R> {
    fn new(checkpoints: Checkpoints<'k, R>, plan: Plan<'_>) -> Result<Self, Flaw> {
        let Plan {
            start,
            mut kept,
            known_damage,
            progress,
            ..
        } = plan;
        let checker = start.as_ref().map_or_else(Checker::new, Checker::after);
        let size = checker.size();
        kept.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.size()));
        if let Some(oldest) = kept.last()
            && oldest.size() < size
        {
            let size = oldest.size();
            return Err(Wrong::TooOld { size }.in_file(KEPT));
        }
        let mut run = Self {
            checker,
            checkpoints,
            ahead: None,
            kept,
            vouched: size,
            start,
            known_damage,
            damage: None,
            more_damage: 0,
            progress,
            report: Report::default(),
        };
        run.advance()?;
        while let Some(ahead) = &run.ahead
            && ahead.checkpoint.size() < size
        {
            run.advance()?;
        }
        run.meet()?;
        Ok(run)
    }

    /// The number of lines that the start vouches for.
    fn start_size(&self) -> u64 {
        self.start.as_ref().map_or(0, Checkpoint::size)
    }

    /// Goes on to the next checkpoint of the file.
    fn advance(&mut self) -> Result<(), Flaw> {
        self.ahead = self.checkpoints.next_checkpoint()?;
        if let Some(Placed { checkpoint, .. }) = &self.ahead {
            self.report.checkpoints += 1;
            self.report.last_checkpoint = Some(Signed {
                size: checkpoint.size(),
                time: checkpoint.time,
                cause: checkpoint.cause.as_str(),
            });
        }
        Ok(())
    }

    /// Compares the lines up to here with every checkpoint of this size.
    fn meet(&mut self) -> Result<(), Flaw> {
        let size = self.checker.size();
        while let Some(ahead) = &self.ahead
            && ahead.checkpoint.size() == size
        {
            if !self.checker.is_at(&ahead.checkpoint) {
                return Err(ahead.flaw(Wrong::changed(self.vouched, &ahead.checkpoint)));
            }
            self.report.compared += 1;
            self.vouched = size;
            self.advance()?;
        }
        while let Some(kept) = self.kept.pop_if(|kept| kept.size() == size) {
            if !self.checker.is_at(&kept) {
                return Err(Flaw {
                    seq: Some(size),
                    ..Wrong::changed(self.start_size(), &kept).in_file(KEPT)
                });
            }
            self.report.kept += 1;
        }
        Ok(())
    }

    fn file(&mut self, file: InputFile<'_>) -> Result<(), Flaw> {
        let mut line = 0;
        let checked = self.lines(&file.name, file.skip, file.is_current, file.open, &mut line);
        self.report.files += 1;
        checked.map_err(|fault| match fault {
            Fault::Here(wrong) => Flaw {
                line: Some(line),
                seq: Some(self.checker.size() + 1),
                ..wrong.in_file(file.name)
            },
            Fault::Elsewhere(flaw) => flaw,
        })
    }

    fn lines<'a>(
        &mut self,
        name: &str,
        skip: u64,
        is_current: bool,
        open: impl FnOnce() -> io::Result<Box<dyn BufRead + 'a>>,
        line: &mut u64,
    ) -> Result<(), Fault> {
        let unreadable = |error: io::Error| Fault::Here(Wrong::Unreadable(error.to_string()));
        let mut lines = RawLines::new(open().map_err(unreadable)?);
        loop {
            *line += 1;
            match lines.next_line().map_err(unreadable)? {
                Next::Line(_) if *line <= skip => {}
                Next::Line(text) => {
                    let remark = self.checker.line(text).map_err(Fault::Here)?;
                    if let Some(remark) = remark {
                        self.remark(remark, name, *line);
                    }
                    self.report.lines += 1;
                    self.progress.store(self.report.lines, Relaxed);
                    self.meet()?;
                }
                Next::Unfinished(rest) if is_current => {
                    self.report.unfinished = rest.len() as u64;
                    break;
                }
                Next::Unfinished(_) => return Err(Fault::Here(Wrong::CutOff)),
                Next::End => break,
            }
        }
        if *line <= skip
            && let Some(start) = &self.start
        {
            // The start vouches for lines that should be in this file and are not.
            let last = start.size() - (skip + 1 - *line);
            return Err(Wrong::missing(last, start).in_file(name).into());
        }
        Ok(())
    }

    /// Notes what the line that was read last says of the ledger itself.
    fn remark(&mut self, remark: Remark, file: &str, line: u64) {
        let seq = self.checker.size();
        match remark {
            Remark::KeyChange if self.report.key_changes.len() < KEY_CHANGES => {
                self.report.key_changes.push(seq);
            }
            Remark::KeyChange => {}
            Remark::Damage(_) if self.known_damage.contains(&seq) => self.report.damaged += 1,
            Remark::Damage(_) if self.damage.is_some() => self.more_damage += 1,
            Remark::Damage(what) => {
                self.damage = Some(Flaw {
                    line: Some(line),
                    seq: Some(seq),
                    ..Wrong::Damaged { what, more: 0 }.in_file(file)
                });
            }
        }
    }

    fn finish(mut self) -> Result<Report, Flaw> {
        let last = self.checker.size();
        if let Some(ahead) = &self.ahead {
            return Err(ahead.flaw(Wrong::missing(last, &ahead.checkpoint)));
        }
        if let Some(kept) = self.kept.last() {
            return Err(Wrong::missing(last, kept).in_file(KEPT));
        }
        if self.checker.says_signed() && self.report.checkpoints == 0 {
            // They were taken away, and the key with them.
            return Err(Wrong::NoCheckpoints.in_file(CHECKPOINTS));
        }
        if let Some(mut flaw) = self.damage {
            if let Wrong::Damaged { more, .. } = &mut flaw.wrong {
                *more = self.more_damage;
            }
            return Err(flaw);
        }
        self.report.last = last;
        self.report.first = (self.report.lines > 0).then(|| self.start_size() + 1);
        self.report.last_time = self.checker.time();
        self.report.unsigned = last - self.vouched;
        self.report.clock_steps = self.checker.clock_steps();
        Ok(self.report)
    }
}

/// What the reports call a checkpoint that is not in the ledger's own file.
const KEPT: &str = "the checkpoint kept elsewhere";

enum Fault {
    /// In the line that was being read.
    Here(Wrong),
    Elsewhere(Flaw),
}

impl From<Flaw> for Fault {
    fn from(flaw: Flaw) -> Self {
        Self::Elsewhere(flaw)
    }
}

/// The last checkpoint for which `is_wanted` holds, of those before the first for which it does
/// not. The order of the file is the order of sizes and, but for clocks set back, of times.
///
/// # Errors
/// When one of them is not as it should be.
pub fn last_while(
    checkpoints: impl BufRead,
    key: Option<&Verifier>,
    is_wanted: impl Fn(&Checkpoint) -> bool,
) -> Result<Option<Checkpoint>, Flaw> {
    let mut checkpoints = Checkpoints::new(checkpoints, key);
    let mut found = None;
    while let Some(Placed { checkpoint, .. }) = checkpoints.next_checkpoint()? {
        if !is_wanted(&checkpoint) {
            break;
        }
        found = Some(checkpoint);
    }
    Ok(found)
}

/// The checkpoint from which the line `first` and those after it can be checked.
///
/// # Errors
/// When there is none, or one of those before it is not as it should be.
pub fn start_before(
    first: u64,
    checkpoints: impl BufRead,
    key: Option<&Verifier>,
) -> Result<Checkpoint, Flaw> {
    let found = last_while(checkpoints, key, |checkpoint| checkpoint.size() < first)?;
    found
        .filter(|checkpoint| checkpoint.size() + 1 == first)
        .ok_or_else(|| Wrong::NoBeginning { first }.in_file(CHECKPOINTS))
}

#[cfg(test)]
mod tests;
