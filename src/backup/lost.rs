//! What happened after a backup, as the ledger of the lost machine has it.

use std::io;
use std::path::Path;

use super::error::BackupError;
use super::manifest::Manifest;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::history::History;
use crate::ledger::lines::{Next, RawLines};
use crate::ledger::{Record, RecordRef, event};

/// What is not in a backup.
#[derive(Debug, Default)]
pub struct Lost {
    /// Changes of credentials, people and clients, oldest first.
    pub changes: Vec<Record>,
    /// How many uses of credentials are on record.
    pub uses: u64,
    /// The number of the last change that the ledger knows of.
    pub last_change: Option<i64>,
    /// The number of the last line.
    pub last_line: u64,
}

impl Lost {
    /// Reads what follows the end of the backup in the ledger in `directory`.
    ///
    /// # Errors
    /// When it is another ledger, or cannot be read.
    pub fn since(manifest: &Manifest, directory: &Path) -> Result<Self, BackupError> {
        let other = |reason: String| BackupError::OtherLedger {
            path: directory.to_owned(),
            reason,
        };
        let mut lost = Lost::default();
        let mut is_same = manifest.ledger.hash.is_none();
        each_line(directory, manifest.ledger.seq, |bytes, line| {
            lost.last_line = line.seq;
            if line.seq == manifest.ledger.seq {
                is_same = manifest.ledger.hash == Some(LineHash::of(bytes).to_string());
            } else if line.event == event::USE {
                lost.uses += 1;
            } else if let Some(number) = change(line) {
                // The backup has what it had committed, although the line came later.
                if number > manifest.store.revision {
                    lost.last_change = lost.last_change.max(Some(number));
                    lost.changes.extend(Record::parse(bytes).ok());
                }
            }
            Ok(())
        })
        .map_err(BackupError::at(directory))?;
        if lost.last_line < manifest.ledger.seq {
            let (end, needed) = (lost.last_line, manifest.ledger.seq);
            return Err(other(format!(
                "it ends at line {end}, and the backup at line {needed}"
            )));
        }
        if is_same {
            return Ok(lost);
        }
        let seq = manifest.ledger.seq;
        Err(other(format!("line {seq} is another one, or is missing")))
    }
}

/// Gives out the uses that follow the end of the backup.
///
/// # Errors
/// When the ledger cannot be read, or `take` fails.
pub fn each_use(
    manifest: &Manifest,
    directory: &Path,
    mut take: impl FnMut(Record) -> io::Result<()>,
) -> io::Result<()> {
    each_line(
        directory,
        manifest.ledger.seq + 1,
        |bytes, line| match Record::parse(bytes) {
            Ok(record) if line.event == event::USE => take(record),
            _ => Ok(()),
        },
    )
}

/// The number of an administrative change.
fn change(line: &RecordRef<'_>) -> Option<i64> {
    let mut texts = line.locations.iter();
    texts.find_map(|text| text.strip_prefix("change ")?.parse().ok())
}

fn each_line(
    directory: &Path,
    from: u64,
    mut take: impl FnMut(&[u8], &RecordRef<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let history = History::open(directory)?;
    for part in history.from_seq(from) {
        let mut lines = RawLines::new(part.open()?);
        while let Next::Line(bytes) = lines.next_line()? {
            // One that is no record says nothing about what was lost.
            if let Ok(line) = RecordRef::parse(bytes)
                && line.seq >= from
            {
                take(bytes, &line)?;
            }
        }
    }
    Ok(())
}
