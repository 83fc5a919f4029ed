//! Files of the data directory: their names, their modes, and how they are put in place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store's database, by default.
pub const DATABASE: &str = "egret.db";
/// The master key, by default.
pub const MASTER_KEY: &str = "master.key";
/// The certificate of the authority, by default.
pub const CA_CERT: &str = "ca.pem";
/// The key of the authority, by default.
pub const CA_KEY: &str = "ca.key";
/// Which authority each client accepted and refused last.
pub const CA_CLIENTS: &str = "ca.clients";
/// What follows the name of a certificate or key in that of the one that takes over from it.
pub const NEXT: &str = ".next";
/// The directory of the ledger.
pub const LEDGER: &str = "ledger";
/// The sealed head of the ledger, outside its directory.
pub const LEDGER_HEAD: &str = "ledger.head";
/// Up to which line a collector has the ledger.
pub const LEDGER_SHIPPED: &str = "ledger.shipped";
/// Which parts of the ledger are stored in a bucket.
pub const LEDGER_STORED: &str = "ledger.stored";
/// The revision of the store that is on record in the ledger.
pub const STORE_REVISION: &str = "store.revision";
/// A directory in which a backup lies that is being put back.
pub const RESTORING: &str = "restore.unfinished";
/// Where the server of the data directory listens.
pub const SERVER: &str = "server.json";

/// A disk is as good as full with less than this.
const LITTLE_SPACE: u64 = 1024 * 1024;

/// Whether the disk of a directory is as good as full. What can be made again is not written then: what is
/// left, and what is kept for changes that take something away, is for these.
pub fn is_disk_full(directory: &Path) -> bool {
    // What cannot be asked counts as full: then it is tried.
    rustix::fs::statvfs(directory).map_or(true, |disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < LITTLE_SPACE
    })
}

/// Where the old content of files is that `egret adopt` changed.
pub fn adopted(data_dir: &Path) -> PathBuf {
    data_dir.join("adopted")
}

/// The key that signs the ledger's checkpoints, in the directory of the ledger. The master key seals
/// it.
const SIGNING_KEY: &str = "signing.key";

/// Whether `data_dir` has something that only its master key opens.
pub fn needs_its_master_key(data_dir: &Path) -> bool {
    data_dir.join(LEDGER).join(SIGNING_KEY).exists() || data_dir.join(STORE_REVISION).exists()
}

/// What follows the name of a file that is on the way to its place.
const PARTIAL: &str = ".new-";

/// A directory that has one of these belongs to Egret.
const OURS: [&str; 4] = [DATABASE, MASTER_KEY, SERVER, LEDGER];

/// The mode of a directory that is closed to other users.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// The mode of a directory that everyone may read.
const PUBLIC_DIRECTORY: u32 = 0o755;
/// The mode of a file that is closed to other users.
pub const PRIVATE: u32 = 0o600;
/// The mode of a file that everyone may read: it holds certificates and nothing else.
pub const PUBLIC: u32 = 0o644;
/// The mode of a script that is closed to other users.
pub const EXECUTABLE: u32 = 0o700;

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

/// Creates `directory` with mode 0755 if it is missing, and checks that other users can read what is
/// in it and cannot replace it.
pub fn public_directory(directory: &Path) -> io::Result<()> {
    let directory = &std::path::absolute(directory)?;
    if !directory.is_dir() {
        fs::create_dir_all(directory)?;
        set_mode(directory, PUBLIC_DIRECTORY)?;
    }
    let mode = fs::metadata(directory)?.permissions().mode();
    if others_can_replace(mode) {
        return Err(io::Error::other(format!(
            "other users can write to it (mode {:04o}) and replace what is in it. Run: \
             chmod go-w '{}'",
            mode & 0o7777,
            directory.display()
        )));
    }
    for ancestor in directory.ancestors() {
        let mode = fs::metadata(ancestor)?.permissions().mode() & 0o7777;
        if mode & 0o005 != 0o005 && (mode & 0o001 == 0 || ancestor == directory) {
            return Err(io::Error::other(format!(
                "other users cannot read it, because {} has mode {mode:04o}; choose a directory \
                 outside of it",
                ancestor.display()
            )));
        }
    }
    Ok(())
}

/// Whether others can write to a file or directory with this mode: the group, or everyone.
pub fn others_can_write(mode: u32) -> bool {
    mode & 0o022 != 0
}

/// Whether others can replace what is in a directory with this mode. Under the sticky bit they create
/// what is theirs, and nothing else.
pub fn others_can_replace(mode: u32) -> bool {
    const STICKY: u32 = 0o1000;
    others_can_write(mode) && mode & STICKY == 0
}

/// Whether what belongs to this user is ours, or root's, who could do anything anyway.
pub fn is_trusted(owner: u32) -> bool {
    [rustix::process::geteuid().as_raw(), 0].contains(&owner)
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
    if others_can_write(mode) {
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

/// Creates a file without a name in `directory`, for reading and writing. It is gone once it is closed.
pub fn unnamed(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(PRIVATE);
    let without_name = options
        .clone()
        .custom_flags(libc::O_TMPFILE)
        .open(directory);
    if without_name.is_ok() {
        return without_name;
    }
    // Not every file system can do that.
    let named = partial_name(&directory.join("spool"));
    let file = options.create_new(true).open(&named)?;
    fs::remove_file(&named)?;
    Ok(file)
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

/// Removes what a start or a command that was ended left in `directory` on the way to its place. What
/// is younger than an hour may still be on that way.
pub fn remove_partial_files(directory: &Path) -> io::Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let is_partial = name.to_str().is_some_and(is_partial_name);
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|at| at.elapsed());
        if is_partial && age.is_ok_and(|age| age.is_ok_and(|age| age >= HOUR)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether [`partial_name`] makes such a name.
fn is_partial_name(name: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    name.rsplit_once(PARTIAL)
        .is_some_and(|(_, random)| random.len() == 16 && random.chars().all(is_hex))
}

/// A name in the same directory that no other thread or process uses.
fn partial_name(path: &Path) -> PathBuf {
    // The keys of a hasher are random.
    let random = RandomState::new().hash_one(std::process::id());
    beside(path, &format!("{PARTIAL}{random:016x}"))
}

/// `path` with `suffix` after its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a new name survive a loss of power.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
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
    fn a_public_directory_can_be_read_by_others_and_not_written_to() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/public");
        set_mode(home.path(), 0o700).unwrap();
        let error = public_directory(&directory).unwrap_err().to_string();
        assert!(error.contains("has mode 0700"), "{error}");
        set_mode(home.path(), 0o711).unwrap();
        set_mode(&home.path().join("a"), 0o755).unwrap();
        public_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o755);
        for (loose, word) in [
            (0o775, "chmod go-w"),
            (0o777, "chmod go-w"),
            (0o700, "has mode 0700"),
        ] {
            set_mode(&directory, loose).unwrap();
            let error = public_directory(&directory).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        set_mode(&directory, 0o1777).unwrap();
        public_directory(&directory).unwrap();
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
    fn old_partial_files_are_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let names = [
            "ca.key.new-0123456789abcdef",
            "ca.key.new-0123456789abcdeg",
            "ca.key.new-0123",
            "ca.key",
            "master.key.new-fedcba9876543210",
        ];
        let hours_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
        for name in names {
            let file = File::create(home.path().join(name)).unwrap();
            file.set_modified(hours_ago).unwrap();
        }
        File::create(home.path().join("ca.pem.new-0123456789abcdef")).unwrap();
        remove_partial_files(home.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .flatten()
            .map(|it| it.file_name())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "ca.key",
                "ca.key.new-0123",
                "ca.key.new-0123456789abcdeg",
                "ca.pem.new-0123456789abcdef"
            ]
        );
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
