//! The checkpoints that follow a place in their file.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::ledger::format::checkpoint::{Checkpoint, Notes};

/// How much of the file is read at once. A note has one to four thousand bytes.
const WINDOW: u64 = 1024 * 1024;

/// Some checkpoints, as they stand in the file.
#[derive(Debug)]
pub(super) struct Batch {
    /// Of the first of them: its size and its time, so that names sort like the checkpoints and one is
    /// never used for others.
    pub name: String,
    pub text: String,
    /// Where in the file it begins.
    pub from: u64,
    /// How many lines the last one covers.
    pub last_size: u64,
}

/// What follows `offset`; `None` if there is no whole checkpoint.
///
/// # Errors
/// When the file cannot be read, or there is something else in it.
pub(super) fn read(path: &Path, offset: u64) -> io::Result<Option<Batch>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = file.metadata()?.len();
    // A file that is shorter is another one, such as that of a backup which was put back.
    let from = if offset > length { 0 } else { offset };
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    // The end of the window may lie within a character of a note that is cut off anyway.
    let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut notes = Notes::new(valid);
    let Some(first) = notes.next() else {
        return Ok(None);
    };
    let last = notes.by_ref().last().unwrap_or(first);
    let (first, last) = (parse(first)?, parse(last)?);
    let text = &valid[..valid.len() - notes.rest().len()];
    Ok(Some(Batch {
        name: format!("{:020}-{:016}", first.size(), first.time.unix_micros()),
        text: text.to_owned(),
        from,
        last_size: last.size(),
    }))
}

fn parse(note: &str) -> io::Result<Checkpoint> {
    let end = note.rfind("\n\n").map_or(note.len(), |at| at + 1);
    note[..end].parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::format::checkpoint::Cause;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::format::merkle::{Frontier, TreeHash};
    use crate::ledger::format::note::Signer;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::secret::SecretBytes;

    fn note(size: u8) -> String {
        let signer = Signer::of_ledger(&SecretBytes::new(vec![1; 32])).unwrap();
        let mut tree = Frontier::default();
        (0..size).for_each(|_| tree.push(TreeHash::of_leaf(b"x")));
        let checkpoint = Checkpoint {
            origin: signer.verifier().name().clone(),
            tree,
            head: LineHash::of(b"x"),
            time: Timestamp::from_unix_micros(i64::from(size) * 1000),
            cause: Cause::Time,
        };
        checkpoint.sign(&signer).unwrap() + "\n"
    }

    #[test]
    fn whole_checkpoints_are_read_from_a_place_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        assert!(read(&path, 0).unwrap().is_none(), "no file");
        let (one, two, three) = (note(1), note(2), note(3));
        let torn = &three[..three.len() - 9];
        fs::write(&path, format!("{one}{two}{torn}")).unwrap();
        let batch = read(&path, 0).unwrap().unwrap();
        assert_eq!(batch.text, format!("{one}{two}"));
        assert_eq!(batch.name, "00000000000000000001-0000000000001000");
        assert_eq!(batch.last_size, 2);
        let end = batch.text.len() as u64;
        assert!(read(&path, end).unwrap().is_none());
        fs::write(&path, format!("{one}{two}{three}")).unwrap();
        let batch = read(&path, end).unwrap().unwrap();
        assert_eq!((batch.text, batch.last_size), (three, 3));
        // Another file in its place is read from its beginning.
        fs::write(&path, &one).unwrap();
        let batch = read(&path, end).unwrap().unwrap();
        assert_eq!((batch.text, batch.from), (one, 0));
    }

    #[test]
    fn what_is_no_checkpoint_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        fs::write(&path, "some\n\ntext\n\n").unwrap();
        assert!(read(&path, 0).is_err());
    }
}
