//! The files of the repository, without what is built from them.

use std::path::{Path, PathBuf};

/// Directories that hold nothing of the project's own.
const BUILT: &[&str] = &[".git", "target", "node_modules"];

/// The top of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository, relative to [`root`] and in order.
pub fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    let mut relative: Vec<_> = found
        .iter()
        .map(|path| path.strip_prefix(root()).expect("below the top").to_owned())
        .collect();
    relative.sort();
    assert!(relative.len() > 100, "the repository was not found");
    relative
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        let is_built = BUILT.iter().any(|built| entry.file_name() == *built);
        if kind.is_dir() && !is_built {
            walk(&entry.path(), found);
        } else if kind.is_file() && !is_built {
            found.push(entry.path());
        }
    }
}
