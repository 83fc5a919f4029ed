//! What is stored already, in a file.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::files;

/// What is stored. Without its file everything is stored once more, under the same names.
pub(super) struct Progress {
    path: PathBuf,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    /// The first line of the last rotated file that is stored.
    file: u64,
    /// The first line of the file after that, where it is known.
    next: Option<u64>,
    /// Name and ID of the key that signs the checkpoints.
    key: String,
    /// Bytes of the checkpoints' file that are stored.
    checkpoints: u64,
}

impl Progress {
    /// What is noted in a data directory.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(files::LEDGER_STORED);
        let state = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} cannot be read; remove it, and the ledger is stored in the bucket once more",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        Ok(Self { path, state })
    }

    /// The first line of the last rotated file that is stored; 0 if none is.
    pub fn file(&self) -> u64 {
        self.state.file
    }

    /// The line with which the first file begins that is not stored, where that is known.
    pub fn next(&self) -> Option<u64> {
        self.state.next
    }

    /// Name and ID of the key whose checkpoints are counted.
    pub fn key(&self) -> &str {
        &self.state.key
    }

    /// Bytes of the checkpoints' file that are stored.
    pub fn checkpoints(&self) -> u64 {
        self.state.checkpoints
    }

    /// Another key signs: its checkpoints are in a new file.
    pub fn begin_key(&mut self, key: &str) -> io::Result<()> {
        key.clone_into(&mut self.state.key);
        self.state.checkpoints = 0;
        self.write()
    }

    /// Learns from the first lines of all files which one follows the last that is stored.
    pub fn follow(&mut self, firsts: &[u64]) {
        let at = firsts.iter().position(|first| *first == self.state.file);
        if let Some(next) = at.and_then(|at| firsts.get(at + 1)) {
            self.state.next = Some(*next);
        }
    }

    /// The file that begins with this line is stored.
    pub fn stored(&mut self, file: u64, next: Option<u64>) -> io::Result<()> {
        self.state.file = file;
        self.state.next = next;
        self.write()
    }

    /// So many bytes of the checkpoints' file are stored.
    pub fn advance(&mut self, bytes: u64) -> io::Result<()> {
        self.state.checkpoints = bytes;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.state).map_err(io::Error::other)?;
        files::replace(&self.path, &text, files::PRIVATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut progress = Progress::open(dir.path()).unwrap();
        assert_eq!((progress.file(), progress.checkpoints()), (0, 0));
        progress.begin_key("a+b").unwrap();
        progress.stored(21, None).unwrap();
        progress.advance(1000).unwrap();
        let mut progress = Progress::open(dir.path()).unwrap();
        assert_eq!((progress.file(), progress.key()), (21, "a+b"));
        assert_eq!(progress.checkpoints(), 1000);
        progress.begin_key("c+d").unwrap();
        assert_eq!(progress.checkpoints(), 0);
        fs::write(dir.path().join(files::LEDGER_STORED), "x").unwrap();
        assert!(Progress::open(dir.path()).is_err());
    }

    #[test]
    fn it_is_known_which_file_should_come_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut progress = Progress::open(dir.path()).unwrap();
        progress.stored(21, None).unwrap();
        progress.follow(&[1, 21]);
        assert_eq!(progress.next(), None);
        progress.follow(&[1, 21, 41, 61]);
        assert_eq!(progress.next(), Some(41));
        // It stays known when files were dropped.
        progress.follow(&[81]);
        assert_eq!(progress.next(), Some(41));
    }
}
