//! Writes the files of a backup, with their digests, and puts directories in place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::error::BackupError;
use super::manifest::FileEntry;
use crate::files;

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// A directory that is filled beside its place, and removed again unless it gets there.
pub(super) struct Staging {
    path: PathBuf,
    is_placed: bool,
}

impl Staging {
    /// Beside `target`, under a name that no other process uses.
    pub(super) fn beside(target: &Path) -> Result<Self, BackupError> {
        let random = RandomState::new().hash_one(std::process::id());
        Self::at(files::beside(target, &format!(".new-{random:016x}")))
    }

    /// At this path, which must not exist.
    pub(super) fn at(path: PathBuf) -> Result<Self, BackupError> {
        make_directory(&path)?;
        Ok(Self {
            path,
            is_placed: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the directory, durably. `target` may be an empty directory.
    pub(super) fn place(mut self, target: &Path) -> Result<(), BackupError> {
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_tree(&self.path)
            .and_then(|()| fs::rename(&self.path, target))
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(BackupError::at(target))?;
        self.is_placed = true;
        Ok(())
    }

    /// Leaves the directory where it is.
    pub(super) fn keep(&mut self) {
        self.is_placed = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A directory that is closed to other users.
pub(super) fn make_directory(path: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(BackupError::at(path))
}

/// Makes the names in a directory, and in those in it, survive a loss of power.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// Copies `content` into a new file, durably; what it holds, under `name`.
pub(super) fn write(directory: &Path, name: &str, content: &mut dyn Read) -> io::Result<FileEntry> {
    let path = directory.join(name);
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(files::PRIVATE);
    let mut file = options.open(path)?;
    let entry = read(name, content, |piece| file.write_all(piece))?;
    file.sync_all()?;
    Ok(entry)
}

/// The entry of a file that is there.
pub(super) fn measure(directory: &Path, name: &str) -> io::Result<FileEntry> {
    read(name, &mut File::open(directory.join(name))?, |_| Ok(()))
}

fn read(
    name: &str,
    content: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<FileEntry> {
    let (mut digest, mut size) = (Context::new(&SHA256), 0);
    let mut piece = vec![0; PIECE];
    loop {
        match content.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                digest.update(&piece[..length]);
                size += length as u64;
                take(&piece[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(FileEntry {
        name: name.to_owned(),
        size,
        sha256: hex(digest.finish().as_ref()),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
