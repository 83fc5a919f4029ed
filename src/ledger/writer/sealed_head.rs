//! The sealed head: up to where the ledger was signed, by which key, and whether it was closed.
//!
//! It lies outside the ledger's directory and is sealed with the master key. Whoever can write in
//! the directory, and has no key, can rewrite the lines, link them again and remove the
//! checkpoints; a start would sign all of it as if it had always been there. The head says what was
//! there. It also says that the ledger was closed: lines that follow were not written with
//! the key.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory;
use super::error::LedgerError;
use super::signing::Seal;
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::note::Verifier;
use crate::secret::SecretBytes;

/// The first line: what it is, and in which form.
const FORM: &str = "egret ledger head 1";

/// The largest head that is read, in bytes. A checkpoint has some four thousand.
const MAX_HEAD: u64 = 64 * 1024;

/// Whether a writer is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// One was, when this was written: lines may follow that no checkpoint covers.
    Open,
    /// The last one closed the ledger after its last line.
    Closed,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedHead {
    pub(super) state: State,
    /// The key that signed the checkpoint.
    pub(super) key: Verifier,
    /// The last checkpoint that was durable; `None` in a ledger that had none yet.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// What was found at a start.
#[derive(Debug)]
pub(super) enum Stored {
    Missing,
    /// It cannot be opened with the master key, or says nothing that could be understood.
    Unreadable,
    Read(SealedHead),
}

/// The file, and what seals it.
#[derive(Clone)]
pub(super) struct HeadFile {
    path: PathBuf,
    seal: Arc<dyn Seal>,
}

impl HeadFile {
    pub(super) fn new(path: &Path, seal: &Arc<dyn Seal>) -> Self {
        Self {
            path: path.to_owned(),
            seal: Arc::clone(seal),
        }
    }

    /// The head as it was written last.
    pub(super) fn read(&self) -> Result<Stored, LedgerError> {
        let at = LedgerError::at(&self.path);
        let length = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::Missing),
            metadata => metadata.map_err(&at)?.len(),
        };
        if length > MAX_HEAD {
            return Ok(Stored::Unreadable);
        }
        let sealed = fs::read(&self.path).map_err(&at)?;
        let opened = self.seal.open(&sealed).ok();
        let head = opened.and_then(|text| SealedHead::parse(str::from_utf8(text.expose()).ok()?));
        Ok(head.map_or(Stored::Unreadable, Stored::Read))
    }

    /// Writes the head, durably.
    pub(super) fn write(&self, head: &SealedHead) -> io::Result<()> {
        let text = SecretBytes::new(head.text().into_bytes());
        let sealed = self.seal.seal(&text).map_err(io::Error::other)?;
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::Error::other("the sealed head has no directory"));
        };
        directory::replace(dir, &name.to_string_lossy(), &sealed)
    }

    /// The name of the file.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl SealedHead {
    /// The number of lines that it vouches for.
    pub(super) fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, Checkpoint::size)
    }

    fn text(&self) -> String {
        let state = match self.state {
            State::Open => "open",
            State::Closed => "closed",
        };
        let head = format!("{FORM}\nstate {state}\nkey {}\n", self.key);
        match &self.checkpoint {
            Some(checkpoint) => format!("{head}\n{checkpoint}"),
            None => head,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(FORM)?.strip_prefix("\nstate ")?;
        let (state, rest) = rest.split_once("\nkey ")?;
        let state = match state {
            "open" => State::Open,
            "closed" => State::Closed,
            _ => return None,
        };
        let (key, rest) = rest.split_once('\n')?;
        let checkpoint = match rest.strip_prefix('\n') {
            Some(checkpoint) => Some(checkpoint.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self {
            state,
            key: key.parse().ok()?,
            checkpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::checkpoint::Cause;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::format::merkle::{Frontier, TreeHash};
    use crate::ledger::format::note::Signer;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::writer::signing::tests::Mirror;

    fn heads() -> Vec<SealedHead> {
        let signer = Signer::of_ledger(&SecretBytes::new(vec![1; 32])).unwrap();
        let key = signer.verifier().clone();
        let mut tree = Frontier::default();
        tree.push(TreeHash::of_leaf(b"line"));
        let checkpoint = Checkpoint {
            origin: key.name().clone(),
            tree,
            head: LineHash::of(b"line"),
            time: Timestamp::from_unix_micros(7),
            cause: Cause::Shutdown,
        };
        let head = |state, checkpoint| SealedHead {
            state,
            key: key.clone(),
            checkpoint,
        };
        vec![
            head(State::Open, None),
            head(State::Open, Some(checkpoint.clone())),
            head(State::Closed, Some(checkpoint)),
        ]
    }

    #[test]
    fn a_head_is_read_back_with_the_key_that_sealed_it_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.head");
        let file = |key| HeadFile::new(&path, &(Arc::new(Mirror(key)) as Arc<dyn Seal>));
        assert!(matches!(file(1).read().unwrap(), Stored::Missing));
        for head in heads() {
            file(1).write(&head).unwrap();
            assert!(matches!(file(1).read().unwrap(), Stored::Read(read) if read == head));
            assert!(matches!(file(2).read().unwrap(), Stored::Unreadable));
        }
        fs::write(&path, vec![0; 100_000]).unwrap();
        assert!(matches!(file(1).read().unwrap(), Stored::Unreadable));
    }

    #[test]
    fn other_texts_are_no_heads() {
        let text = heads()[2].text();
        for bad in [
            text.replace("closed", "shut"),
            text.replace("head 1", "head 2"),
            text.replace("cause", "reason"),
            text.replace("\n\n", "\n"),
            format!("{text}x"),
            String::new(),
        ] {
            assert_eq!(SealedHead::parse(&bad), None, "{bad}");
        }
    }
}
