//! Which files are the database's.

use std::path::{Path, PathBuf};

use crate::files;

/// The path of the database file, and of the file beside it that says what is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) database: PathBuf,
    /// Says which revision is in the ledger. It is not in the database, so that an older database
    /// that is put back is noticed.
    pub(super) seen: PathBuf,
}

impl Location {
    /// Reads what follows `sqlite:` in a URL: a path, with or without `//` before it.
    pub fn parse(rest: &str, data_dir: &Path) -> Option<Self> {
        let file = rest.strip_prefix("//").unwrap_or(rest);
        (!file.is_empty()).then(|| Self {
            database: data_dir.join(file),
            seen: data_dir.join(files::STORE_REVISION),
        })
    }

    /// The files of a copy, and where they belong.
    pub fn places(&self) -> [(&'static str, PathBuf); 2] {
        [
            (files::DATABASE, self.database.clone()),
            (files::STORE_REVISION, self.seen.clone()),
        ]
    }

    /// The database with what SQLite keeps beside it, and the revision.
    pub fn files(&self) -> Vec<PathBuf> {
        let beside = ["", "-wal", "-shm", "-journal"].iter().map(|suffix| {
            let mut path = self.database.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        });
        beside.chain([self.seen.clone()]).collect()
    }
}
