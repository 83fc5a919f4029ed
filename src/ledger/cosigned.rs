//! The last checkpoint that each witness has cosigned, beside the ledger: notes with two signatures.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::format::checkpoint::{Checkpoint, Notes};
use super::format::cosignature::{Cosignature, WitnessKey};
use super::format::note::{NoteError, Verifier};
use super::layout::{CHECKPOINTS, COSIGNED};

/// The largest file of them that is read, in bytes.
const LARGEST: u64 = 256 * 1024;
/// How many notes are kept: those of witnesses that are no longer asked, too.
const MOST: usize = 32;
/// How much of the checkpoints is read for the last of them, in bytes. One has four thousand at most.
const WINDOW: u64 = 64 * 1024;

/// A checkpoint and what a witness has signed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The witness' part.
    pub cosignature: Cosignature,
}

/// The notes that lie beside the ledger in `dir`.
///
/// # Errors
/// When the file cannot be read; one that does not exist holds none.
pub fn notes(dir: &Path) -> io::Result<Vec<String>> {
    let text = String::from_utf8(file(dir)?.unwrap_or_default());
    let text = text.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
    Ok(Notes::new(&text).map(str::to_owned).collect())
}

/// The file of them that lies beside the ledger in `dir`, if there is one.
///
/// # Errors
/// When it cannot be read.
pub fn file(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    match File::open(dir.join(COSIGNED)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?.take(LARGEST).read_to_end(&mut text)?,
    };
    Ok(Some(text))
}

/// The largest checkpoint that this witness has cosigned, of a ledger with this key.
///
/// # Errors
/// When a signature of either does not fit.
pub fn find(
    notes: &[String],
    key: &Verifier,
    witness: &WitnessKey,
) -> Result<Option<Cosigned>, NoteError> {
    let mut found: Option<Cosigned> = None;
    for note in notes {
        let cosignature = match witness.find(note) {
            Err(NoteError::NotSigned) => continue,
            cosignature => cosignature?,
        };
        let checkpoint = match Checkpoint::open(note, key) {
            // Of the key that signed before.
            Err(NoteError::NotSigned) => continue,
            checkpoint => checkpoint?,
        };
        let is_larger = |found: &Cosigned| found.checkpoint.size() <= checkpoint.size();
        if found.as_ref().is_none_or(is_larger) {
            found = Some(Cosigned {
                checkpoint,
                cosignature,
            });
        }
    }
    Ok(found)
}

/// The file with a note that this witness has cosigned in the place of the one before.
pub fn text_with(notes: &[String], witness: &WitnessKey, note: &str) -> String {
    let others = notes.iter().filter(|other| witness.find(other).is_err());
    let others = others.map(String::as_str).take(MOST - 1);
    others
        .chain([note])
        .map(|note| format!("{note}\n"))
        .collect()
}

/// The last checkpoint of the ledger in `dir`, as a note. Only the end of the file is read.
///
/// # Errors
/// When the file cannot be read.
pub fn last_note(dir: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(dir.join(CHECKPOINTS)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(WINDOW);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    let begin = first_note(&bytes, start == 0);
    let text = String::from_utf8_lossy(&bytes[begin..]);
    Ok(Notes::new(&text).last().map(str::to_owned))
}

/// Where the first whole note begins: at an empty line that no signature follows.
fn first_note(bytes: &[u8], is_start: bool) -> usize {
    if is_start {
        return 0;
    }
    let mut ends = memchr::memmem::find_iter(bytes, b"\n\n").map(|at| at + 2);
    let begin = ends.find(|end| !bytes[*end..].starts_with("\u{2014}".as_bytes()));
    begin.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::fixture::ledger;
    use crate::ledger::format::cosignature::tests::Witness;

    #[test]
    fn each_witness_has_one_note_the_last() {
        let (dir, key) = ledger(&[5, 16, 30], 16);
        let text = fs::read_to_string(dir.path().join(CHECKPOINTS)).unwrap();
        let all: Vec<&str> = Notes::new(&text).collect();
        assert_eq!(last_note(dir.path()).unwrap().as_deref(), Some(all[2]));
        let (one, two) = (
            Witness::new("one.example", 1),
            Witness::new("two.example", 2),
        );
        assert_eq!(notes(dir.path()).unwrap(), Vec::<String>::new());
        for (witness, at) in [(&one, 0), (&two, 1), (&one, 2)] {
            let kept = notes(dir.path()).unwrap();
            let text = text_with(&kept, &witness.key, &witness.cosign(all[at], 7));
            fs::write(dir.path().join(COSIGNED), text).unwrap();
        }
        let kept = notes(dir.path()).unwrap();
        assert_eq!(kept.len(), 2);
        let size = |witness: &Witness| {
            let found = find(&kept, &key, &witness.key).unwrap();
            found.map(|found| found.checkpoint.size())
        };
        assert_eq!((size(&one), size(&two)), (Some(30), Some(16)));
        assert_eq!(size(&Witness::new("three.example", 3)), None);
        // The name alone is not the witness.
        assert_eq!(size(&Witness::new("one.example", 9)), None);
    }

    #[test]
    fn a_cosignature_of_another_checkpoint_is_refused() {
        let (dir, key) = ledger(&[5, 16], 16);
        let text = fs::read_to_string(dir.path().join(CHECKPOINTS)).unwrap();
        let all: Vec<&str> = Notes::new(&text).collect();
        let witness = Witness::new("one.example", 1);
        let cosigned = witness.cosign(all[0], 7);
        let line = cosigned.lines().last().unwrap();
        let moved = format!("{}{line}\n", all[1]);
        let found = find(&[moved], &key, &witness.key);
        assert_eq!(found, Err(NoteError::BadSignature));
    }

    #[test]
    fn the_last_checkpoint_is_found_at_the_end_of_a_long_file() {
        let (dir, _) = ledger(&[5, 16, 30], 16);
        let path = dir.path().join(CHECKPOINTS);
        let text = fs::read_to_string(&path).unwrap();
        let last = Notes::new(&text).last().unwrap().to_owned();
        fs::write(&path, text.repeat(200)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > WINDOW);
        assert_eq!(last_note(dir.path()).unwrap(), Some(last));
        fs::remove_file(&path).unwrap();
        assert_eq!(last_note(dir.path()).unwrap(), None);
    }
}
