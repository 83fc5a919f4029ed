//! Where a writer that signs begins: the key, the sealed head and the checkpoints are compared with
//! each other and with the lines, and what is wrong is named.

use std::collections::BTreeSet;
use std::mem;
use std::ops::RangeInclusive;
use std::path::Path;

use super::before::Before;
use super::checkpoint_file::{self, Latest, NoteFile};
use super::current::Current;
use super::damage;
use super::error::LedgerError;
use super::in_flight::{self, LookBack, OpenUses};
use super::resume::{self, After};
use super::sealed_head::{HeadFile, SealedHead, State, Stored};
use super::signing::{self, Signing, SigningKey};
use super::storage::SignedFiles;
use crate::ledger::format::checkpoint::{Cause, Checkpoint};
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::Frontier;
use crate::ledger::format::note::Signer;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout::{self, Segment};

/// How far back uses without a result are looked for, in lines. A request that was under way for
/// longer than it takes to write so many is not found.
const LOOK_BACK: u64 = 1_000_000;

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
    /// Uses of requests that the writer before still serves.
    pub(super) elsewhere: OpenUses,
}

/// What was found of the key, the head and the checkpoints.
struct Evidence {
    key: SigningKey,
    head: Stored,
    latest: Latest,
    /// Where the checkpoints of another key were moved to.
    other_checkpoints: Option<String>,
}

impl Evidence {
    /// The head, where it says something.
    fn head(&self) -> Option<&SealedHead> {
        match &self.head {
            Stored::Read(head) => Some(head),
            Stored::Missing | Stored::Unreadable => None,
        }
    }

    /// Whether the head was written with another key.
    fn is_other_key(&self) -> bool {
        let key = self.key.signer.verifier();
        self.head().is_some_and(|head| head.key != *key)
    }

    /// Whether there ought to be a head and is none.
    fn lacks_head(&self) -> bool {
        match self.head {
            Stored::Missing => self.key.keeps_head,
            Stored::Unreadable => true,
            Stored::Read(_) => false,
        }
    }

    /// The last checkpoint, of the file or of the head, and what may follow it.
    fn last(&self) -> (Option<&Checkpoint>, After) {
        let noted = self.latest.last.as_ref();
        let sealed = self.head().and_then(|head| head.checkpoint.as_ref());
        let size = |checkpoint: Option<&Checkpoint>| checkpoint.map_or(0, Checkpoint::size);
        let ended = |last: &Checkpoint| last.cause == Cause::Shutdown;
        let nothing_after = |is_closed: bool| {
            if is_closed {
                After::Nothing
            } else {
                After::Lines
            }
        };
        match (noted, self.head()) {
            (Some(noted), Some(head)) if noted.size() > head.size() => {
                (Some(noted), nothing_after(ended(noted)))
            }
            (_, Some(head)) => {
                let is_ahead = size(sealed) > size(noted);
                let last = if is_ahead { sealed } else { noted.or(sealed) };
                (last, nothing_after(head.state == State::Closed))
            }
            // Before heads were kept, commands added lines after a clean end.
            (noted, None) => {
                let is_closed = self.lacks_head() && noted.is_some_and(ended);
                (noted, nothing_after(is_closed))
            }
        }
    }
}

/// Continues tree and chain, and says what is wrong and what was left unfinished.
pub(super) fn sign_on(
    dir: &Path,
    segments: &[Segment],
    current: &mut Current,
    signing: &Signing,
    before: Before,
    now: Timestamp,
) -> Result<(Signed, SignedFiles), LedgerError> {
    let head_file = HeadFile::new(&signing.head, &signing.seal);
    let (evidence, notes) = gather(dir, segments, signing, &head_file, now)?;
    let (last, after) = evidence.last();
    let last = last.cloned();
    let resumed = match &last {
        Some(checkpoint) => resume::from_checkpoint(dir, segments, checkpoint, after)?,
        None => {
            current.chain(dir, segments)?;
            resume::from_lines(dir, segments)?
        }
    };
    if let (Some(missing), Some(last), After::Nothing) = (&resumed.missing, &last, after) {
        return Err(LedgerError::Shortened {
            dir: dir.to_owned(),
            size: last.size(),
            found: missing.start() - 1,
        });
    }
    let size = resumed.tree.size();
    let mut entries = Vec::new();
    name_damage(&evidence, &head_file, size, &mut entries);
    if let Some(seq) = resumed.unlinked {
        entries.push(damage::entry(damage::UNLINKED, [seq.to_string()]));
    }
    if let Some(seq) = resumed.broken {
        let code = match after {
            After::Nothing => damage::FOREIGN,
            After::Lines => damage::SET_ASIDE,
        };
        let names = current.set_aside_from(dir, segments, seq, now)?;
        let places = [seq.to_string()].into_iter().chain(names);
        entries.push(damage::entry(code, places));
    }
    if let Some(missing) = &resumed.missing {
        current.end_before_gap(dir, *missing.end())?;
    }
    name_key(&evidence, size, &mut entries);
    let lines = match before {
        Before::Ended => look_back(&evidence.latest, size),
        Before::Serves { first } => look_back_to(first, size),
        Before::Itself { first, last } => look_back_to(first.unwrap_or(last + 1), size),
    };
    let mut found = lines
        .map(|lines| in_flight::look_for(dir, segments, lines))
        .unwrap_or_default();
    // Who has given way was not cut short: its requests go on.
    let elsewhere = match before {
        Before::Ended => OpenUses::default(),
        Before::Serves { .. } => mem::take(&mut found.uses),
        Before::Itself { last, .. } => found.uses.take_up_to(last),
    };
    recover(found, resumed.missing.as_ref(), &mut entries);
    if let Before::Itself { last, .. } = before {
        entries.push(taken_back(last, size));
    }
    let start = match before {
        Before::Serves { .. } => Cause::Start,
        Before::Itself { last, .. } if size <= last => Cause::Start,
        _ if last.as_ref().is_none_or(was_clean) => Cause::Start,
        _ => Cause::Recovery,
    };
    let head = SealedHead {
        state: State::Open,
        key: evidence.key.signer.verifier().clone(),
        checkpoint: last.clone(),
    };
    begin_head(dir, &evidence, &head, &head_file, signing)?;
    let signed = Signed {
        signer: evidence.key.signer,
        head: resumed.head(),
        tree: resumed.tree,
        last,
        start,
        entries,
        elsewhere,
    };
    let files = SignedFiles {
        notes,
        head: head_file,
    };
    Ok((signed, files))
}

fn was_clean(last: &Checkpoint) -> bool {
    last.cause == Cause::Shutdown
}

/// Says that this process writes again after its last line, and which lines another one wrote meanwhile.
fn taken_back(last: u64, size: u64) -> Entry<'static> {
    let others = (size > last).then(|| format!("{}-{size}", last + 1));
    Entry {
        locations: others.into_iter().map(Into::into).collect(),
        ..Entry::new(event::TAKEN_BACK)
    }
}

/// Reads key, head and checkpoints.
fn gather(
    dir: &Path,
    segments: &[Segment],
    signing: &Signing,
    head_file: &HeadFile,
    now: Timestamp,
) -> Result<(Evidence, NoteFile), LedgerError> {
    let mut evidence = Evidence {
        key: signing::load_or_create(dir, &*signing.seal)?,
        head: head_file.read()?,
        latest: Latest::default(),
        other_checkpoints: None,
    };
    let other_key = evidence.head().filter(|_| evidence.is_other_key());
    if let Some(head) = other_key.cloned() {
        let notes = evidence.sign_again(dir, segments, &head, now)?;
        return Ok((evidence, notes));
    }
    if evidence.key.is_new {
        evidence.other_checkpoints = checkpoint_file::move_away(dir, now)?;
    }
    let verifier = evidence.key.signer.verifier();
    let (notes, latest) = checkpoint_file::open(dir, verifier, LOOK_BACK, now)?;
    evidence.latest = latest;
    Ok((evidence, notes))
}

impl Evidence {
    /// Begins the checkpoints of another key, which is what the ledger has after its key was lost.
    /// What the sealed head vouches for is signed again: the last checkpoint, and those at the
    /// beginnings of files, from which the ledger can be checked when older files are dropped.
    fn sign_again(
        &mut self,
        dir: &Path,
        segments: &[Segment],
        head: &SealedHead,
        now: Timestamp,
    ) -> Result<NoteFile, LedgerError> {
        let signer = &self.key.signer;
        let (_, mut latest) = checkpoint_file::open(dir, &head.key, LOOK_BACK, now)?;
        if latest.last.as_ref().map_or(0, Checkpoint::size) < head.size() {
            latest.last.clone_from(&head.checkpoint);
        }
        self.other_checkpoints = checkpoint_file::move_away(dir, now)?;
        let (mut notes, _) = checkpoint_file::open(dir, signer.verifier(), LOOK_BACK, now)?;
        let path = dir.join(layout::CHECKPOINTS);
        let at = LedgerError::at(&path);
        let mut again = Vec::new();
        if let (Some(last), Some(name)) = (&latest.last, &self.other_checkpoints) {
            let firsts = segments.iter().filter_map(|segment| segment.first);
            let sizes: BTreeSet<u64> = firsts
                .map(|first| first - 1)
                .filter(|size| (1..last.size()).contains(size))
                .collect();
            again = checkpoint_file::of_sizes(&dir.join(name), &head.key, &sizes).map_err(&at)?;
        }
        again.extend(latest.last.take());
        for mut checkpoint in again {
            checkpoint.origin = signer.verifier().name().clone();
            let note = checkpoint.sign(signer).map_err(std::io::Error::other);
            let written = note.and_then(|note| notes.append(&note));
            written.map_err(&at)?;
            latest.last = Some(checkpoint);
        }
        // What the key of the head has not signed was never a checkpoint of this ledger.
        self.latest = latest;
        Ok(notes)
    }
}

/// Says that a writer is at work, before it writes its first line.
fn begin_head(
    dir: &Path,
    evidence: &Evidence,
    head: &SealedHead,
    file: &HeadFile,
    signing: &Signing,
) -> Result<(), LedgerError> {
    file.write(head).map_err(LedgerError::at(&signing.head))?;
    if !evidence.key.keeps_head {
        signing::keep_head(dir, &*signing.seal)?;
    }
    Ok(())
}

/// The lines among which there may be unfinished requests.
fn look_back(latest: &Latest, size: u64) -> Option<RangeInclusive<u64>> {
    let from = latest.boundary.max(size.saturating_sub(LOOK_BACK)) + 1;
    (from <= size).then_some(from..=size)
}

/// The lines from the first of requests that go on, or of another process that has ended, if there are any.
fn look_back_to(first: u64, size: u64) -> Option<RangeInclusive<u64>> {
    let from = first.max(size.saturating_sub(LOOK_BACK) + 1);
    (first > 0 && from <= size).then_some(from..=size)
}

/// Names what a look back has found, and the lines up to the last checkpoint that are missing.
fn recover(found: LookBack, ahead: Option<&RangeInclusive<u64>>, entries: &mut Vec<Entry>) {
    let LookBack {
        uses,
        mut missing,
        unreadable,
    } = found;
    let ahead = ahead.map(|lines| format!("{}-{}", lines.start(), lines.end()));
    if let Some(lines) = ahead
        && !missing.contains(&lines)
    {
        missing.push(lines);
    }
    for (code, places) in [(damage::MISSING, missing), (damage::UNREADABLE, unreadable)] {
        if !places.is_empty() {
            entries.push(damage::entry(code, places));
        }
    }
    let uses = uses.into_entries();
    if !uses.is_empty() {
        tracing::warn!(
            uses = uses.len(),
            "uses without a result, left by a crash, are named in the ledger"
        );
    }
    entries.extend(uses);
}

/// Names what is wrong with the key, the head and the checkpoints.
fn name_damage(evidence: &Evidence, head_file: &HeadFile, size: u64, entries: &mut Vec<Entry>) {
    let Evidence {
        key,
        latest,
        other_checkpoints,
        ..
    } = evidence;
    if evidence.lacks_head() {
        entries.push(damage::entry(damage::HEAD_MISSING, [head_file.name()]));
    }
    if let Some(aside) = other_checkpoints
        && !evidence.is_other_key()
    {
        let places = [layout::SIGNING_KEY.to_owned(), aside.clone()];
        entries.push(damage::entry(damage::KEY_MISSING, places));
    }
    let noted = latest.last.as_ref();
    let is_missing = match evidence.head() {
        Some(head) => head.checkpoint.is_some() && noted.map(Checkpoint::size) < Some(head.size()),
        None => !key.is_new && noted.is_none() && size > 0,
    };
    let checkpoints = || [layout::CHECKPOINTS.to_owned()];
    if latest.unsigned > 0 {
        entries.push(damage::entry(damage::CHECKPOINTS_FOREIGN, checkpoints()));
    } else if is_missing {
        entries.push(damage::entry(damage::CHECKPOINTS_MISSING, checkpoints()));
    }
}

/// Names the key, where it is another one than before.
fn name_key(evidence: &Evidence, size: u64, entries: &mut Vec<Entry>) {
    let key = evidence.key.signer.verifier().to_string();
    if let Some(head) = evidence.head().filter(|_| evidence.is_other_key()) {
        tracing::warn!(
            "the ledger's signing key was lost or replaced; another one signs from here on"
        );
        let mut locations = vec![key.into(), head.key.to_string().into()];
        locations.extend(evidence.other_checkpoints.clone().map(Into::into));
        entries.push(Entry {
            code: Some(damage::KEY_REPLACED.into()),
            locations,
            ..Entry::new(event::SIGNED)
        });
    } else if evidence.key.is_new && size > 0 {
        tracing::info!("the ledger gets signed checkpoints from here on");
        entries.push(Entry {
            locations: vec![key.into()],
            ..Entry::new(event::SIGNED)
        });
    }
}
