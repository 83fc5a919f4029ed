//! Which file a name or a descriptor leads to. A directory may be deleted and made again, a backup
//! put in the place of a file, a lock removed: what has the same name is then another file, and
//! nothing of it may be cut, renamed or added to.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// The device and the inode of a file, which stay for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Checks that the path leads to the open file.
pub(super) fn check(file: &File, path: &Path) -> io::Result<()> {
    let replaced = |what: &str| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        io::Error::other(format!("the ledger's file {name} was {what} while in use"))
    };
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(replaced("deleted")),
        named => named?,
    };
    if FileId::of(&named) != FileId::of(&file.metadata()?) {
        return Err(replaced("replaced"));
    }
    Ok(())
}

/// Gives the file another name, under which there may be none: `rename` would silently replace it.
pub(super) fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that do not know the flag, such as NFS.
        Err(Errno::INVAL | Errno::NOSYS) if to.try_exists()? => Err(Errno::EXIST.into()),
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_of_the_same_name_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "1").unwrap();
        let file = File::open(&path).unwrap();
        check(&file, &path).unwrap();
        fs::write(dir.path().join("b"), "1").unwrap();
        fs::rename(dir.path().join("b"), &path).unwrap();
        let error = check(&file, &path).unwrap_err().to_string();
        assert!(error.contains("replaced"), "{error}");
        fs::remove_file(&path).unwrap();
        let error = check(&file, &path).unwrap_err().to_string();
        assert!(error.contains("deleted"), "{error}");
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "a").unwrap();
        fs::write(path("b"), "b").unwrap();
        assert!(rename_to_free_name(&path("a"), &path("b")).is_err());
        assert_eq!(fs::read(path("b")).unwrap(), b"b");
        rename_to_free_name(&path("a"), &path("c")).unwrap();
        assert_eq!(fs::read(path("c")).unwrap(), b"a");
    }
}
