//! A ledger where it lies: which files and which key are checked.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ledger::cosigned;
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::cosignature::WitnessKey;
use crate::ledger::format::note::{NoteError, Verifier};
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::history::History;
use crate::ledger::layout::{self, CHECKPOINTS, COSIGNED, PUBLIC_KEY, SIGNING_KEY};

use super::flaw::{Flaw, Wrong};
use super::run::{InputFile, Plan, Report, last_while, start_before, verify};

/// How long the writer may take to write one checkpoint.
const SETTLE: Duration = Duration::from_secs(1);

/// What is asked of a check.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// A public key from elsewhere; without it, the one that lies beside the ledger.
    pub key: Option<Verifier>,
    /// Begin with the last checkpoint before this time.
    pub since: Option<Timestamp>,
    /// Begin with the first line of this rotated file.
    pub from: Option<String>,
    /// Checkpoints that were kept elsewhere, as notes.
    pub kept: Vec<String>,
    /// Lines that name damage which is known: they do not fail the check.
    pub known_damage: Vec<u64>,
    /// Witnesses whose cosignatures are looked for.
    pub witnesses: Vec<WitnessKey>,
    /// How many lines were checked, while the check runs.
    pub progress: Arc<AtomicU64>,
}

/// Where the key was from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// From elsewhere.
    Given,
    /// From the ledger's own directory: whoever could rewrite the ledger could replace it.
    Beside,
}

/// What was found to be in order.
#[derive(Debug)]
pub struct Verified {
    /// What was checked.
    pub report: Report,
    /// The key that signed it; `None` for a ledger that is chained and not signed.
    pub key: Option<(Verifier, KeySource)>,
    /// What each witness that was asked for has signed.
    pub witnessed: Vec<Witnessed>,
}

/// Up to where a witness has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// The name of its key.
    pub witness: String,
    /// Lines that it has signed; `None` where there is no cosignature of it.
    pub size: Option<u64>,
    /// When, by its clock.
    pub time: Option<Timestamp>,
}

/// Why a ledger was not found to be in order.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is wrong with it.
    #[error("{0}")]
    Flaw(#[from] Flaw),
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The public key is none.
    #[error("the public key: {0}")]
    Key(NoteError),
    /// A checkpoint kept elsewhere is not one of this ledger's.
    #[error("the checkpoint kept elsewhere: {0}")]
    Kept(NoteError),
    /// There is no such rotated file.
    #[error(
        "there is no rotated file {0}; they are named by their first line, as in {example}",
        example = "00000000000000020001.jsonl"
    )]
    NoSuchFile(String),
}

/// Checks the ledger in `dir`.
///
/// # Errors
/// When something is wrong with it, or it cannot be read.
pub fn directory(dir: &Path, ask: &Ask) -> Result<Verified, VerifyError> {
    let key = match &ask.key {
        Some(key) => Some((key.clone(), KeySource::Given)),
        None => read_key(dir)?.map(|key| (key, KeySource::Beside)),
    };
    let verifier = key.as_ref().map(|(key, _)| key);
    // Before the lines: a checkpoint is written after the lines that it is about.
    let mut notes = checkpoints_file(dir)?;
    let history = History::open(dir).map_err(|source| io_error(dir, source))?;
    if notes.is_empty() && history.parts.iter().any(|part| part.first.is_some()) {
        // Without them the ledger would pass as one from before there were any.
        let is_expected = verifier.is_some() || !ask.kept.is_empty() || has_signing_key(dir)?;
        if is_expected {
            return Err(Wrong::NoCheckpoints.in_file(CHECKPOINTS).into());
        }
    }
    let mut kept = open_kept(&ask.kept, verifier)?;
    let (witnessed, cosigned) = witnessed(dir, verifier, &ask.witnesses)?;
    let start = find_start(&history, &mut notes, verifier, ask)?;
    let size = start.as_ref().map_or(0, Checkpoint::size);
    // The start covers the lines of those before it.
    let compared = cosigned.into_iter().filter(|found| found.size() >= size);
    kept.extend(compared);
    let given = ask.kept.len() as u64;
    let plan = Plan {
        key: verifier,
        start,
        kept,
        known_damage: ask.known_damage.clone(),
        progress: Arc::clone(&ask.progress),
    };
    let mut report = verify(InputFile::of(&history, size), notes.read(dir)?, plan)?;
    // Those of witnesses lie beside the ledger.
    report.kept = given;
    Ok(Verified {
        report,
        key,
        witnessed,
    })
}

/// What each of these witnesses has signed, and the checkpoints of that.
fn witnessed(
    dir: &Path,
    key: Option<&Verifier>,
    witnesses: &[WitnessKey],
) -> Result<(Vec<Witnessed>, Vec<Checkpoint>), VerifyError> {
    let (mut all, mut checkpoints) = (Vec::new(), Vec::new());
    if witnesses.is_empty() {
        return Ok((all, checkpoints));
    }
    let notes = cosigned::notes(dir).map_err(|error| io_error(&dir.join(COSIGNED), error))?;
    for witness in witnesses {
        let found = key.map(|key| cosigned::find(&notes, key, witness));
        let found = found.transpose();
        let found = found.map_err(|error| Wrong::Checkpoint(error).in_file(COSIGNED))?;
        let found = found.flatten();
        let time = |found: &cosigned::Cosigned| {
            Timestamp::from_unix_micros(found.cosignature.time.saturating_mul(1_000_000))
        };
        all.push(Witnessed {
            witness: witness.name().to_string(),
            size: found.as_ref().map(|found| found.checkpoint.size()),
            time: found.as_ref().map(time),
        });
        checkpoints.extend(found.map(|found| found.checkpoint));
    }
    Ok((all, checkpoints))
}

fn io_error(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Io {
        path: path.to_owned(),
        source,
    }
}

fn has_signing_key(dir: &Path) -> Result<bool, VerifyError> {
    let path = dir.join(SIGNING_KEY);
    path.try_exists().map_err(|error| io_error(&path, error))
}

/// The public key that lies beside the ledger, if there is one.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_key(dir: &Path) -> Result<Option<Verifier>, VerifyError> {
    let path = dir.join(PUBLIC_KEY);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) => text.trim_end().parse().map(Some).map_err(VerifyError::Key),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&path, error)),
    }
}

fn open_kept(notes: &[String], key: Option<&Verifier>) -> Result<Vec<Checkpoint>, VerifyError> {
    let open = |note: &String| match key {
        Some(key) => Checkpoint::open(note, key),
        None => Err(NoteError::NotSigned),
    };
    let kept = notes.iter().map(open).collect::<Result<_, _>>();
    kept.map_err(VerifyError::Kept)
}

fn find_start(
    history: &History,
    notes: &mut CheckpointsFile,
    key: Option<&Verifier>,
    ask: &Ask,
) -> Result<Option<Checkpoint>, VerifyError> {
    let dir = PathBuf::from(CHECKPOINTS);
    let first = match &ask.from {
        Some(name) => Some(first_of(history, name)?),
        None => history.parts.first().and_then(|part| part.first),
    };
    let first = first.unwrap_or(1);
    if let Some(since) = ask.since {
        let is_before = |checkpoint: &Checkpoint| checkpoint.time <= since;
        let found = last_while(notes.read(&dir)?, key, is_before)?;
        // Lines that are gone cannot be where it begins.
        if let Some(found) = found.filter(|found| found.size() >= first - 1) {
            return Ok(Some(found));
        }
    }
    if first <= 1 {
        return Ok(None);
    }
    Ok(Some(start_before(first, notes.read(&dir)?, key)?))
}

/// The first line of a rotated file, by any path or name that ends in its name.
fn first_of(history: &History, file: &str) -> Result<u64, VerifyError> {
    let name = Path::new(file).file_name().and_then(|name| name.to_str());
    let first = name.and_then(layout::parse_name).map(|(first, _)| first);
    let is_there = |first: &u64| history.parts.iter().any(|part| part.first == Some(*first));
    first
        .filter(is_there)
        .ok_or_else(|| VerifyError::NoSuchFile(file.to_owned()))
}

/// The checkpoints as they were at one moment; may be read several times.
#[derive(Debug)]
pub struct CheckpointsFile {
    file: Option<File>,
    length: u64,
}

/// Opens the checkpoints of the ledger in `dir`. They are read up to where the file ends now.
///
/// # Errors
/// When the file cannot be read; one that does not exist is an empty one.
pub fn checkpoints_file(dir: &Path) -> Result<CheckpointsFile, VerifyError> {
    let path = dir.join(CHECKPOINTS);
    let open = || {
        let file = File::open(&path)?;
        let length = settled_length(&file)?;
        Ok(CheckpointsFile {
            file: Some(file),
            length,
        })
    };
    match open() {
        Err(error) if io::Error::kind(&error) == ErrorKind::NotFound => Ok(CheckpointsFile {
            file: None,
            length: 0,
        }),
        other => other.map_err(|error| io_error(&path, error)),
    }
}

impl CheckpointsFile {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The file from its beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, dir: &Path) -> Result<BufReader<Take<Bytes<'_>>>, VerifyError> {
        let bytes = match &mut self.file {
            Some(file) => {
                let sought = file.seek(SeekFrom::Start(0));
                sought.map_err(|error| io_error(&dir.join(CHECKPOINTS), error))?;
                Bytes(Some(file))
            }
            None => Bytes(None),
        };
        Ok(BufReader::with_capacity(64 * 1024, bytes.take(self.length)))
    }
}

/// The bytes of a file that may not be there.
#[derive(Debug)]
pub struct Bytes<'a>(Option<&'a mut File>);

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |file| file.read(into))
    }
}

/// The length of the file at a moment at which it ends with a whole note: one that is just being
/// written is waited for. If it stays unfinished, that is for the check to say.
fn settled_length(mut file: &File) -> io::Result<u64> {
    let start = Instant::now();
    loop {
        let length = file.seek(SeekFrom::End(0))?;
        let mut end = [0; 2];
        if length >= 2 {
            file.seek(SeekFrom::Start(length - 2))?;
            file.read_exact(&mut end)?;
        }
        if length == 0 || end == *b"\n\n" || start.elapsed() >= SETTLE {
            return Ok(length);
        }
        sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::fixture::{HOUR, LINES, ledger, signer};
    use crate::ledger::layout::{CURRENT, compressed, rotated};

    const SIZES: &[u64] = &[0, 5, 16, 30];
    const ROTATED: &str = "some/where/00000000000000000001.jsonl";
    const SECOND: &str = "00000000000000000017.jsonl.zst";

    fn check(dir: &Path, ask: Ask) -> Result<Verified, VerifyError> {
        directory(dir, &ask)
    }

    fn wrong(result: Result<Verified, VerifyError>) -> Wrong {
        match result {
            Err(VerifyError::Flaw(flaw)) => flaw.wrong,
            other => panic!("a flaw, not {other:?}"),
        }
    }

    #[test]
    fn the_key_beside_the_ledger_is_used_unless_one_is_given() {
        let (dir, key) = ledger(SIZES, 16);
        let found = check(dir.path(), Ask::default()).unwrap();
        assert_eq!(found.key, Some((key.clone(), KeySource::Beside)));
        assert_eq!(
            (found.report.lines, found.report.unsigned),
            (LINES + 1, LINES + 1 - 30)
        );
        fs::write(
            dir.path().join(PUBLIC_KEY),
            signer(9).verifier().to_string(),
        )
        .unwrap();
        let given = Ask {
            key: Some(key),
            ..Ask::default()
        };
        assert!(check(dir.path(), given).is_ok());
        assert!(matches!(
            wrong(check(dir.path(), Ask::default())),
            Wrong::Checkpoint(_)
        ));
        fs::remove_file(dir.path().join(PUBLIC_KEY)).unwrap();
        assert_eq!(wrong(check(dir.path(), Ask::default())), Wrong::NoKey);
    }

    #[test]
    fn a_check_begins_with_a_time_or_a_rotated_file() {
        let (dir, _) = ledger(SIZES, 16);
        // A third file, so that one can begin in the middle.
        let text = fs::read(dir.path().join(CURRENT)).unwrap();
        let packed = zstd::encode_all(text.as_slice(), 1).unwrap();
        fs::write(compressed(dir.path(), 17), packed).unwrap();
        fs::write(dir.path().join(CURRENT), b"").unwrap();
        let first = |ask: Ask| check(dir.path(), ask).unwrap().report.first;
        let since = |hours: i64| Ask {
            since: Some(Timestamp::from_unix_micros(hours * HOUR)),
            ..Ask::default()
        };
        let from = |file: &str| Ask {
            from: Some(file.to_owned()),
            ..Ask::default()
        };
        assert_eq!(first(since(0)), Some(1));
        assert_eq!(first(since(15)), Some(6));
        assert_eq!(first(since(16)), Some(17));
        assert_eq!(first(since(99)), Some(31));
        assert_eq!(first(from(ROTATED)), Some(1));
        assert_eq!(first(from(SECOND)), Some(17));
        for none in ["00000000000000000002.jsonl", "current.jsonl", "x", ""] {
            let result = check(dir.path(), from(none));
            assert!(matches!(result, Err(VerifyError::NoSuchFile(_))), "{none}");
        }
        // What was dropped is not asked for again.
        fs::remove_file(rotated(dir.path(), 1)).unwrap();
        assert_eq!(first(Ask::default()), Some(17));
        assert_eq!(first(since(0)), Some(17));
    }

    #[test]
    fn a_file_missing_in_the_middle_shows() {
        let (dir, _) = ledger(&[16, 30], 16);
        fs::remove_file(rotated(dir.path(), 1)).unwrap();
        assert!(
            check(dir.path(), Ask::default()).is_ok(),
            "dropped at a boundary"
        );
        let (dir, _) = ledger(&[5, 30], 16);
        fs::remove_file(rotated(dir.path(), 1)).unwrap();
        assert_eq!(
            wrong(check(dir.path(), Ask::default())),
            Wrong::NoBeginning { first: 17 }
        );
    }

    #[test]
    fn a_ledger_without_its_checkpoints_is_not_taken_for_an_old_one() {
        let (dir, _) = ledger(SIZES, 16);
        fs::remove_file(dir.path().join(CHECKPOINTS)).unwrap();
        assert_eq!(
            wrong(check(dir.path(), Ask::default())),
            Wrong::NoCheckpoints
        );
        fs::remove_file(dir.path().join(PUBLIC_KEY)).unwrap();
        fs::write(dir.path().join(SIGNING_KEY), b"sealed").unwrap();
        assert_eq!(
            wrong(check(dir.path(), Ask::default())),
            Wrong::NoCheckpoints
        );
        fs::remove_file(dir.path().join(SIGNING_KEY)).unwrap();
        let found = check(dir.path(), Ask::default()).unwrap();
        assert_eq!((found.key, found.report.checkpoints), (None, 0));
    }

    #[test]
    fn a_checkpoint_kept_elsewhere_must_be_this_ledgers() {
        let (dir, _) = ledger(SIZES, 16);
        let (other, _) = ledger(&[7], 16);
        let note = |dir: &Path| {
            let text = fs::read_to_string(dir.join(CHECKPOINTS)).unwrap();
            text.strip_suffix('\n').unwrap().to_owned()
        };
        let kept = |note: String| Ask {
            kept: vec![note],
            ..Ask::default()
        };
        let found = check(dir.path(), kept(note(other.path()))).unwrap();
        assert_eq!(found.report.kept, 1, "the same key and the same lines");
        let tampered = note(other.path()).replace("cause count", "cause time");
        let refused = check(dir.path(), kept(tampered));
        assert!(matches!(
            refused,
            Err(VerifyError::Kept(NoteError::BadSignature))
        ));
    }
}
