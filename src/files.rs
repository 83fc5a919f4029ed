//! Files of the data directory: their names, their modes, and how they are put in place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The store's database, by default.
pub const DATABASE: &str = "egret.db";
/// The master key, by default.
pub const MASTER_KEY: &str = "master.key";
/// The certificate of the authority, by default.
pub const CA_CERT: &str = "ca.pem";
/// The key of the authority, by default.
pub const CA_KEY: &str = "ca.key";
/// The directory of the ledger.
pub const LEDGER: &str = "ledger";
/// Where the server of the data directory listens.
pub const SERVER: &str = "server.json";

/// A directory that has one of these belongs to Egret.
const OURS: [&str; 4] = [DATABASE, MASTER_KEY, SERVER, LEDGER];

/// The mode of a directory that is closed to other users.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// The mode of a file that is closed to other users.
pub const PRIVATE: u32 = 0o600;
/// The mode of a file that everyone may read: it holds certificates and nothing else.
pub const PUBLIC: u32 = 0o644;

/// Creates `directory` with mode 0700 if it is missing, and checks one that exists.
///
/// Other users must not be able to write to it: they could replace the key, the store or the
/// certificate authority. A directory that is Egret's own (it is empty, or has something of Egret's
/// in it) is closed to them altogether. Any other keeps its mode, since it may be shared on
/// purpose, and the files that Egret puts into it are private by themselves.
pub fn private_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    if directory.is_dir() {
        return close_directory(directory);
    }
    if let Some(parent) = directory.parent()
        && !parent.exists()
    {
        fs::create_dir_all(parent)?;
    }
    match fs::create_dir(directory) {
        Ok(()) => set_mode(directory, PRIVATE_DIRECTORY),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn close_directory(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A directory in which everyone may create files, like /tmp, is not Egret's.
    let is_common = mode & 0o1000 != 0;
    let is_ours = OURS.iter().any(|name| directory.join(name).exists());
    if !is_common && (is_ours || fs::read_dir(directory)?.next().is_none()) {
        let closed = set_mode(directory, PRIVATE_DIRECTORY);
        if closed.is_ok() {
            tracing::warn!(
                directory = %directory.display(),
                "other users could look into the directory (mode {mode:04o}); it is 0700 now"
            );
            return Ok(());
        }
    }
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "other users can write to it (mode {mode:04o}) and replace what is in it. Run: \
             chmod go-rwx '{0}'; or choose a directory of Egret's own",
            directory.display()
        )));
    }
    Ok(())
}

/// Closes a file to other users; one that does not exist is left out.
pub fn make_private(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o777 == PRIVATE => Ok(()),
        Ok(_) => set_mode(path, PRIVATE),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Writes a file that must not exist yet. It has its mode before it has any content, whatever the
/// umask, and is on disk when this returns.
pub fn create_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode & PRIVATE)
        .open(path)?;
    // The umask applies to `open` only.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Replaces a file as a whole: a reader finds the old content or the new, never a part, and so does
/// the next start after a crash.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let partial = partial_name(path);
    create_new(&partial, content, mode)
        .and_then(|()| fs::rename(&partial, path))
        .inspect_err(|_| drop(fs::remove_file(&partial)))?;
    sync_directory_of(path)
}

/// Like [`replace`], but keeps a file that exists. Of several processes that create it at once, the
/// first succeeds, and none ever sees a part of it.
pub fn create_once(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let partial = partial_name(path);
    let linked = create_new(&partial, content, mode)
        // A hard link, unlike a rename, does not replace a file.
        .and_then(|()| fs::hard_link(&partial, path));
    let removed = fs::remove_file(&partial);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => removed.and_then(|()| sync_directory_of(path)),
    }
}

/// A name in the same directory that no other thread or process uses.
fn partial_name(path: &Path) -> PathBuf {
    // The keys of a hasher are random.
    let random = RandomState::new().hash_one(std::process::id());
    beside(path, &format!(".new-{random:016x}"))
}

/// `path` with `suffix` after its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a new name survive a loss of power.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_closed_or_refused() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        let open_up = |mode| set_mode(&directory, mode).unwrap();
        private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        for loose in [0o755, 0o777, 0o701] {
            // Empty, so it was made for Egret.
            open_up(loose);
            private_directory(&directory).unwrap();
            assert_eq!(mode(&directory), 0o700);
        }
        fs::write(directory.join("another program's file"), "").unwrap();
        open_up(0o755);
        private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o755, "it may be shared on purpose");
        open_up(0o775);
        let error = private_directory(&directory).unwrap_err().to_string();
        assert!(error.contains("chmod go-rwx"), "{error}");
        assert_eq!(mode(&directory), 0o775);
        fs::write(directory.join(DATABASE), "").unwrap();
        private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        open_up(0o1777);
        assert!(private_directory(&directory).is_err(), "like /tmp");
        assert_eq!(mode(&directory), 0o777);
    }

    #[test]
    fn a_file_is_replaced_with_the_mode_asked_for_and_leaves_no_other() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        for (content, wanted) in [("one", PRIVATE), ("two", PUBLIC), ("three", PRIVATE)] {
            replace(&path, content.as_bytes(), wanted).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(mode(&path), wanted);
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_leaves_no_partial_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"content", PRIVATE).is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_first_to_create_a_file_decides_its_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let contents: Vec<String> = (0..8).map(|number| number.to_string()).collect();
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| create_once(&path, content.as_bytes(), PRIVATE).unwrap());
            }
        });
        let first = fs::read_to_string(&path).unwrap();
        assert!(contents.contains(&first));
        create_once(&path, b"later", PRIVATE).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        assert_eq!(
            (mode(&path), fs::read_dir(home.path()).unwrap().count()),
            (0o600, 1)
        );
    }

    #[test]
    fn a_new_file_replaces_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        create_new(&path, b"one", PUBLIC).unwrap();
        assert_eq!(mode(&path), 0o644);
        assert!(create_new(&path, b"two", PUBLIC).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
}
