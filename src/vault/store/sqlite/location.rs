//! Which file is the database.

use std::path::{Path, PathBuf};

/// The path of the database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub(super) PathBuf);

impl Location {
    /// Reads what follows `sqlite:` in a URL: a path, with or without `//` before it.
    pub fn parse(rest: &str, data_dir: &Path) -> Option<Self> {
        let file = rest.strip_prefix("//").unwrap_or(rest);
        (!file.is_empty()).then(|| Self(data_dir.join(file)))
    }
}
