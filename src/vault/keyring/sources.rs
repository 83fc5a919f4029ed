//! Where the master key and, while it is rotated, the next one are.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::KeyringError;
use super::source::{self, KeySource, MASTER_KEY};
use crate::files;
use crate::vault::key_ring::KeyId;

/// What follows the name of the master key's file in that of the next one.
const NEXT: &str = ".next";
/// What follows it in that of a former one, before the name of the key.
const FORMER: &str = ".former-";

/// The configured places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySources {
    /// Of the master key.
    pub master: KeySource,
    /// Of the next one, if that is configured. Beside a key file it is the file with `.next` after its
    /// name.
    pub next: Option<KeySource>,
}

impl KeySources {
    /// The file of the next key, where that is a file.
    pub fn next_file(&self, data_dir: &Path) -> Option<PathBuf> {
        match (&self.next, &self.master) {
            (Some(KeySource::File(path)), _) => Some(data_dir.join(path)),
            (None, KeySource::File(path)) => Some(files::beside(&data_dir.join(path), NEXT)),
            _ => None,
        }
    }

    /// All places, that of the next key included.
    pub fn all(&self, data_dir: &Path) -> Vec<KeySource> {
        let next = self.next_file(data_dir).map(KeySource::File);
        let next = next.or_else(|| self.next.clone());
        [self.master.clone()].into_iter().chain(next).collect()
    }

    /// The files that hold keys, present or not, and former keys.
    pub fn files(&self, data_dir: &Path) -> Vec<PathBuf> {
        let sources = self.all(data_dir).into_iter();
        let mut files: Vec<_> = sources
            .filter_map(|source| match source {
                KeySource::File(path) => Some(data_dir.join(path)),
                _ => None,
            })
            .collect();
        let former: Vec<_> = files.iter().flat_map(|path| former_keys(path)).collect();
        files.extend(former);
        files
    }

    /// How the place of the next key is written.
    pub fn next_name(&self, data_dir: &Path) -> String {
        match (&self.next, self.next_file(data_dir)) {
            (Some(source), _) => source.to_string(),
            (None, Some(path)) => format!("file:{}", path.display()),
            (None, None) => "none".to_owned(),
        }
    }

    /// Whether a rotation of a key in a file has begun and is not over.
    pub fn is_rotating(&self, data_dir: &Path) -> bool {
        self.next.is_none() && self.next_file(data_dir).is_some_and(|path| path.exists())
    }

    /// The next key, if there is one. It is never made here.
    pub(super) async fn read_next(
        &self,
        data_dir: &Path,
    ) -> Result<Option<Zeroizing<[u8; MASTER_KEY]>>, KeyringError> {
        let read = match (&self.next, self.next_file(data_dir)) {
            (_, Some(path)) => source::read_present(&path),
            (Some(source), None) => source.read(data_dir).await.map(Some),
            (None, None) => return Ok(None),
        };
        read.map_err(|reason| KeyringError {
            source_name: self.next_name(data_dir),
            reason,
        })
    }

    /// Makes the next key, where it is a file that is not there yet.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make_next(&self, data_dir: &Path) -> io::Result<()> {
        match self.next_file(data_dir) {
            Some(path) => source::create(&path),
            None => Ok(()),
        }
    }

    /// Puts the next key in the place of the master key, whose name is `former`, and keeps that one
    /// beside it: backups that were made under it need it. Returns where; `None` if the operator has to
    /// change the configuration.
    ///
    /// # Errors
    /// When the file system refuses. It can be tried again.
    pub fn promote(&self, data_dir: &Path, former: KeyId) -> io::Result<Option<PathBuf>> {
        let KeySource::File(master) = &self.master else {
            return Ok(None);
        };
        if self.next.is_some() {
            return Ok(None);
        }
        let master = data_dir.join(master);
        let kept = files::beside(&master, &format!("{FORMER}{former}"));
        match fs::hard_link(&master, &kept) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::rename(files::beside(&master, NEXT), &master)?;
        files::sync_directory_of(&master)?;
        Ok(Some(kept))
    }
}

/// The keys that a key file held before.
fn former_keys(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let start = format!("{}{FORMER}", name.to_string_lossy());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Keyring;

    #[tokio::test]
    async fn the_next_key_takes_the_place_of_the_master_key_which_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let sources = KeySources {
            master: KeySource::File("master.key".into()),
            next: None,
        };
        let first = Keyring::load(&sources, home.path()).await.unwrap();
        assert_eq!(first.accepted().len(), 1, "no next key is made by itself");
        sources.make_next(home.path()).unwrap();
        sources.make_next(home.path()).unwrap();
        assert!(sources.is_rotating(home.path()));
        first.take_next(&sources, home.path()).await.unwrap();
        let both = Keyring::load(&sources, home.path()).await.unwrap();
        assert_eq!(first.accepted(), both.accepted());
        let kept = sources.promote(home.path(), both.accepted()[0]).unwrap();
        assert!(sources.files(home.path()).contains(kept.as_ref().unwrap()));
        assert!(!sources.is_rotating(home.path()));
        let second = Keyring::load(&sources, home.path()).await.unwrap();
        assert_eq!(second.accepted(), both.accepted()[1..]);
        let old = KeySources {
            master: KeySource::File(kept.unwrap()),
            next: None,
        };
        let old = Keyring::load(&old, home.path()).await.unwrap();
        assert_eq!(old.id(), first.id());
    }

    #[tokio::test]
    async fn a_next_key_of_another_kind_is_read_and_not_promoted() {
        let home = tempfile::tempdir().unwrap();
        let spelt = "ab".repeat(32);
        let sources = KeySources {
            master: KeySource::File("master.key".into()),
            next: Some(KeySource::Command(format!("echo {spelt}"))),
        };
        sources.make_next(home.path()).unwrap();
        let both = Keyring::load(&sources, home.path()).await.unwrap();
        assert_eq!(both.accepted().len(), 2);
        assert_eq!(sources.promote(home.path(), both.id()).unwrap(), None);
    }
}
