//! Opening a ledger for writing: what a crash left is put in order, and what cannot be is said.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint_file::{self, Latest};
use super::in_flight::{self, Found};
use super::resume::{self, Resumed};
use super::signing::{self, Seal};
use super::storage::{LedgerError, LedgerFile};
use super::tail::Tail;
use super::{directory, walk};
use crate::ledger::format::chain::Chain;
use crate::ledger::format::checkpoint::{Cause, Checkpoint};
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::Frontier;
use crate::ledger::format::note::Signer;
use crate::ledger::format::record::Record;
use crate::ledger::format::text::Text;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout::{self, Segment};

/// How far back uses without a result are looked for, in lines. A request that was under way for
/// longer than it takes to write so many is not found.
const LOOK_BACK: u64 = 1_000_000;

/// What `code` says in a `ledger.damaged` line.
mod damage {
    /// The checkpoints are gone.
    pub(super) const CHECKPOINTS_MISSING: &str = "checkpoints_missing";
    /// The last notes of the file are not signed with the ledger's key.
    pub(super) const CHECKPOINTS_FOREIGN: &str = "checkpoints_foreign";
    /// The signing key is gone, and with it what the checkpoints were worth here.
    pub(super) const KEY_MISSING: &str = "signing_key_missing";
    /// Lines that no checkpoint covers are not linked to one another.
    pub(super) const UNLINKED: &str = "chain_broken";
    /// Lines that a checkpoint covers are not there.
    pub(super) const MISSING: &str = "lines_missing";
    /// Files with lines that a checkpoint covers cannot be read to their end.
    pub(super) const UNREADABLE: &str = "lines_unreadable";
    /// Lines behind the last checkpoint did not follow and were set aside.
    pub(super) const SET_ASIDE: &str = "lines_set_aside";
}

/// An opened ledger, ready to be continued.
pub(super) struct Opened {
    pub(super) file: LedgerFile,
    /// Held as long as anyone writes in the directory.
    pub(super) lock: Arc<File>,
    /// Bytes in the file, all of them whole lines.
    pub(super) length: u64,
    pub(super) chain: Chain,
    /// The number of the first line in the file, or of the one that will be.
    pub(super) first: u64,
    /// When that line was written.
    pub(super) since: Option<Timestamp>,
    /// Not there for a writer that does not sign.
    pub(super) signed: Option<Signed>,
}

/// What a writer that signs goes on from.
pub(super) struct Signed {
    pub(super) signer: Signer,
    pub(super) tree: Frontier,
    pub(super) head: LineHash,
    /// The last checkpoint there is.
    pub(super) last: Option<Checkpoint>,
    /// What the next one is for.
    pub(super) start: Cause,
    /// The first lines to be written.
    pub(super) entries: Vec<Entry<'static>>,
}

/// Opens or creates the ledger in this directory. A last line without its line feed, which a crash
/// can leave behind, is moved to a file `torn-<microseconds>.jsonl`.
pub(super) fn open(
    dir: &Path,
    now: Timestamp,
    seal: Option<&dyn Seal>,
) -> Result<Opened, LedgerError> {
    let lock = Arc::new(directory::lock(dir)?);
    directory::tidy(dir).map_err(LedgerError::at(dir))?;
    let mut current = Current::open(dir)?;
    current.cut_torn(dir, now)?;
    directory::sync(dir).map_err(LedgerError::at(dir))?;
    let mut segments = layout::segments(dir).map_err(LedgerError::at(dir))?;
    if let (Some(last), Some((first, _))) = (segments.last_mut(), current.first) {
        last.first = Some(first);
    }
    let (chain, notes, signed) = match seal {
        None => (current.chain(dir, &segments)?, None, None),
        Some(seal) => {
            let (signer, is_new) = signing::load_or_create(dir, seal)?;
            let (notes, latest) = checkpoint_file::open(dir, signer.verifier(), LOOK_BACK, now)?;
            let signed = sign_on(dir, &segments, &mut current, (signer, is_new), latest, now)?;
            let chain = Chain::at(signed.tree.size(), signed.head);
            (chain, Some(notes), Some(signed))
        }
    };
    let Current {
        file,
        length,
        first,
        ..
    } = current;
    Ok(Opened {
        file: LedgerFile::new(dir, file, length, notes, Arc::clone(&lock)),
        lock,
        length,
        first: first.map_or(chain.next_seq(), |(seq, _)| seq),
        since: first.map(|(_, time)| time),
        chain,
        signed,
    })
}

/// The file that will be written to.
struct Current {
    file: File,
    path: PathBuf,
    length: u64,
    last_line: Option<Vec<u8>>,
    /// Number and time of the first line, if it is a record.
    first: Option<(u64, Timestamp)>,
}

impl Current {
    fn open(dir: &Path) -> Result<Self, LedgerError> {
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
    fn cut_torn(&mut self, dir: &Path, now: Timestamp) -> Result<(), LedgerError> {
        let at = LedgerError::at(&self.path);
        let tail = Tail::read(&mut self.file).map_err(&at)?;
        if !tail.torn.is_empty() {
            let torn = directory::set_aside(dir, &tail.torn, now)?;
            let torn = torn.display();
            tracing::warn!(%torn, "the last line of the ledger was torn by a crash and set aside");
            self.file.set_len(tail.whole).map_err(&at)?;
        }
        self.file.sync_all().map_err(&at)?;
        (self.length, self.last_line) = (tail.whole, tail.last_line);
        Ok(())
    }

    /// Sets all lines from this one on aside. Returns the file they went to.
    fn cut_from(&mut self, dir: &Path, seq: u64, now: Timestamp) -> Result<PathBuf, LedgerError> {
        let at = LedgerError::at(&self.path);
        let before = match self.first {
            Some((first, _)) => seq.checked_sub(first),
            None => Some(0),
        };
        let before = before.ok_or_else(|| LedgerError::Altered {
            dir: dir.to_owned(),
            seq,
        })?;
        let offset = offset_of(&mut self.file, before).map_err(&at)?;
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_to_end(&mut bytes))
            .map_err(&at)?;
        let aside = directory::set_aside(dir, &bytes, now)?;
        self.file.set_len(offset).map_err(&at)?;
        self.file.sync_all().map_err(&at)?;
        self.length = offset;
        self.first = self.first.filter(|_| offset > 0);
        Ok(aside)
    }

    /// The end of the chain by the last line alone.
    fn chain(&self, dir: &Path, segments: &[Segment]) -> Result<Chain, LedgerError> {
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

/// Takes up tree and chain, and says what is wrong and what was left unfinished.
fn sign_on(
    dir: &Path,
    segments: &[Segment],
    current: &mut Current,
    (signer, key_is_new): (Signer, bool),
    latest: Latest,
    now: Timestamp,
) -> Result<Signed, LedgerError> {
    let mut entries = Vec::new();
    let resumed = match &latest.last {
        Some(checkpoint) => resume::from_checkpoint(dir, segments, checkpoint)?,
        None => {
            current.chain(dir, segments)?;
            resume::from_lines(dir, segments)?
        }
    };
    let size = resumed.tree.size();
    note_damage(&latest, &resumed, key_is_new, &mut entries);
    if let Some(seq) = resumed.broken {
        let aside = current.cut_from(dir, seq, now)?;
        let aside = aside.file_name().unwrap_or_default().to_string_lossy();
        let places = [seq.to_string(), aside.into_owned()];
        entries.push(damaged(damage::SET_ASIDE, places));
    }
    if key_is_new && size > 0 {
        tracing::info!("the ledger gets signed checkpoints from here on");
        entries.push(Entry {
            locations: vec![signer.verifier().to_string().into()],
            ..Entry::new(event::SIGNED)
        });
    }
    if let Some(lines) = look_back(&latest, size) {
        recover(in_flight::look_for(dir, segments, lines), &mut entries);
    }
    let was_clean = |last: &Checkpoint| last.cause == Cause::Shutdown;
    let start = match latest.last.as_ref().is_none_or(was_clean) {
        true => Cause::Start,
        false => Cause::Recovery,
    };
    Ok(Signed {
        signer,
        head: resumed.head(),
        tree: resumed.tree,
        last: latest.last,
        start,
        entries,
    })
}

/// Notes what a look back has found.
fn recover(found: Found, entries: &mut Vec<Entry>) {
    let Found {
        entries: uses,
        missing,
        unreadable,
    } = found;
    for (code, places) in [(damage::MISSING, missing), (damage::UNREADABLE, unreadable)] {
        if !places.is_empty() {
            entries.push(damaged(code, places));
        }
    }
    if !uses.is_empty() {
        tracing::warn!(
            uses = uses.len(),
            "uses without a result, left by a crash, are named in the ledger"
        );
    }
    entries.extend(uses);
}

fn note_damage(latest: &Latest, resumed: &Resumed, key_is_new: bool, entries: &mut Vec<Entry>) {
    let file = |name: &str| [name.to_owned()];
    let has_lines = resumed.tree.size() > 0;
    if key_is_new && latest.is_written {
        entries.push(damaged(damage::KEY_MISSING, file(layout::SIGNING_KEY)));
    } else if latest.unsigned > 0 {
        entries.push(damaged(
            damage::CHECKPOINTS_FOREIGN,
            file(layout::CHECKPOINTS),
        ));
    } else if !key_is_new && latest.last.is_none() && has_lines {
        entries.push(damaged(
            damage::CHECKPOINTS_MISSING,
            file(layout::CHECKPOINTS),
        ));
    }
    if let Some(seq) = resumed.unlinked {
        entries.push(damaged(damage::UNLINKED, [seq.to_string()]));
    }
}

fn damaged(code: &'static str, places: impl IntoIterator<Item = String>) -> Entry<'static> {
    let places: Vec<Text<'static>> = places.into_iter().map(Text::from).collect();
    tracing::error!(
        code,
        ?places,
        "the ledger is damaged; `egret ledger verify` says more"
    );
    Entry {
        code: Some(code.into()),
        locations: places,
        ..Entry::new(event::DAMAGED)
    }
}

/// The lines among which there may be unfinished requests.
fn look_back(latest: &Latest, size: u64) -> Option<RangeInclusive<u64>> {
    let from = latest.boundary.max(size.saturating_sub(LOOK_BACK)) + 1;
    (from <= size).then_some(from..=size)
}

#[cfg(test)]
mod tests;
