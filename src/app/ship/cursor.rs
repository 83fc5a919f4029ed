//! Up to which line the collector has the ledger.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::files;

/// The number of the last line that was taken, in a file.
pub(super) struct Cursor {
    path: PathBuf,
    taken: u64,
}

impl Cursor {
    /// The one in a data directory. Without a file nothing was taken.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(files::LEDGER_SHIPPED);
        let taken = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| {
                format!(
                    "{} holds no number; write there the seq of the last line that the collector has",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        Ok(Self { path, taken })
    }

    /// The number of the last line that was taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Notes that lines up to this one were taken.
    pub fn advance(&mut self, taken: u64) -> std::io::Result<()> {
        self.taken = taken;
        files::replace(&self.path, format!("{taken}\n").as_bytes(), files::PRIVATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(dir.path()).unwrap();
        assert_eq!(cursor.taken(), 0);
        cursor.advance(17).unwrap();
        assert_eq!(Cursor::open(dir.path()).unwrap().taken(), 17);
        fs::write(dir.path().join(files::LEDGER_SHIPPED), "x").unwrap();
        assert!(Cursor::open(dir.path()).is_err());
    }
}
