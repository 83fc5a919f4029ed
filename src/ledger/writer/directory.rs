//! How files come into the ledger's directory so that they survive a loss of power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::identity;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout;

/// A file to append to, private, made if it is not there.
pub(super) fn open_for_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Makes new names in the directory survive a loss of power.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts a file in place as a whole: a crash leaves the old one, if there was one, or the new one.
pub(super) fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let partial = dir.join(format!("{name}.new"));
    let written = || {
        // What a crash left of an earlier try must not lend its mode.
        remove_if_there(&partial)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, dir.join(name))
    };
    written().inspect_err(|_| drop(fs::remove_file(&partial)))?;
    sync(dir)
}

/// Copies bytes that were torn, or do not follow, into a file of their own, durable before they
/// are cut from the ledger.
pub(super) fn set_aside(
    dir: &Path,
    bytes: &mut dyn Read,
    now: Timestamp,
) -> Result<PathBuf, LedgerError> {
    // With a clock that went back, the name may be taken.
    let mut micros = now.unix_micros();
    loop {
        let path = dir.join(format!("torn-{micros}.jsonl"));
        let mut options = OpenOptions::new();
        let file = options.create_new(true).write(true).mode(0o600).open(&path);
        let written = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                micros += 1;
                continue;
            }
            file => file.and_then(|mut file| {
                io::copy(bytes, &mut file)?;
                file.flush()?;
                file.sync_all()
            }),
        };
        written
            .and_then(|()| sync(dir))
            .inspect_err(|_| drop(fs::remove_file(&path)))
            .map_err(LedgerError::at(&path))?;
        return Ok(path);
    }
}

/// Gives a whole file the name of one that was set aside.
pub(super) fn set_aside_file(
    dir: &Path,
    file: &Path,
    now: Timestamp,
) -> Result<PathBuf, LedgerError> {
    let is_packed = file.extension().is_some_and(|extension| extension == "zst");
    let extension = if is_packed { "jsonl.zst" } else { "jsonl" };
    let mut micros = now.unix_micros();
    loop {
        let path = dir.join(format!("torn-{micros}.{extension}"));
        match identity::rename_to_free_name(file, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => micros += 1,
            renamed => {
                renamed
                    .and_then(|()| sync(dir))
                    .map_err(LedgerError::at(&path))?;
                return Ok(path);
            }
        }
    }
}

/// Removes a file that may be there.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes what an interrupted rotation or compression left.
pub(super) fn tidy(dir: &Path) -> io::Result<()> {
    remove_if_there(&dir.join(layout::NEXT))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let whole = name.and_then(|name| name.strip_suffix(".new"));
        if whole.is_some_and(|name| layout::parse_name(name).is_some()) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key.new"), b"left by a crash").unwrap();
        for content in [&b"one"[..], b"two"] {
            replace(dir.path(), "key", content).unwrap();
            let path = dir.path().join("key");
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_set_aside_never_takes_the_place_of_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_unix_micros(7);
        let one = set_aside(dir.path(), &mut &b"one"[..], now).unwrap();
        let two = set_aside(dir.path(), &mut &b"two"[..], now).unwrap();
        assert_eq!(one.file_name().unwrap(), "torn-7.jsonl");
        assert_eq!(
            (fs::read(one).unwrap(), fs::read(two).unwrap()),
            (b"one".to_vec(), b"two".to_vec())
        );
    }

    #[test]
    fn tidying_touches_nothing_but_what_was_left_half_done() {
        let dir = tempfile::tempdir().unwrap();
        let kept = [
            "00000000000000000001.jsonl",
            "current.jsonl",
            "mine.new",
            "torn-1.jsonl",
        ];
        for name in kept
            .iter()
            .chain(&["next.jsonl", "00000000000000000001.jsonl.zst.new"])
        {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        tidy(dir.path()).unwrap();
        let left = fs::read_dir(dir.path()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, kept);
    }
}
