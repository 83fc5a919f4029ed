//! The old content of files, in Egret's directory until it is removed. It holds the keys as they were.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::file::Opened;
use crate::cli::when;
use crate::files;

/// Most attempts at a name that is free.
const ATTEMPTS: u32 = 1_000;

/// Keeps what a file holds. Where Egret keeps its own things no isolated program sees it, and no
/// repository takes it in.
pub(super) fn keep(data_dir: &Path, file: &Opened) -> anyhow::Result<PathBuf> {
    let directory = files::adopted(data_dir);
    files::private_directory(&directory).context("cannot make the directory for old files")?;
    let path = file.path.to_string_lossy();
    let name = path.trim_start_matches('/').replace('/', "-");
    let time = when::now();
    for number in 0..ATTEMPTS {
        let kept = directory.join(format!("{time}-{number}-{name}"));
        match files::create_new(&kept, file.content(), files::PRIVATE) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("cannot keep the old file"),
        }
    }
    anyhow::bail!("cannot find a name for the old file");
}

/// Removes all that was kept, and says how many files that were.
pub(super) fn remove(data_dir: &Path) -> anyhow::Result<u64> {
    let directory = files::adopted(data_dir);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).context("cannot look for old files"),
    };
    let mut removed = 0;
    for entry in entries {
        fs::remove_file(entry?.path()).context("cannot remove an old file")?;
        removed += 1;
    }
    fs::remove_dir(&directory)?;
    Ok(removed)
}
