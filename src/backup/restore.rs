//! Puts a backup back.
//!
//! Everything is written into the directory `restore.unfinished` of the data directory, opened and
//! checked there, and then renamed to its place, name by name. While that directory is there, no store
//! of that data directory can be opened: a restore that was killed between two renames is started
//! again, and removes what the one before has put in place.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::BackupError;
use super::lost::Lost;
use super::names::{AUTHORITIES, CA_KEY_PURPOSE, SEALED};
use super::verify::Backup;
use super::write::{self, Staging};
use crate::files;
use crate::vault::store::Event;
use crate::vault::{Actor, Keyring, Store, StoreUrl};

/// Where the parts of a data directory belong.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// The store.
    pub store: &'a StoreUrl,
    /// Certificate and key of the authority.
    pub ca: (&'a Path, &'a Path),
    /// What may be in the data directory already: the master key and the configuration.
    pub allowed: &'a [PathBuf],
}

/// What came of a restore.
#[derive(Debug)]
pub struct Restored {
    /// Entries of the store that do not verify, and are not used.
    pub unverified: Vec<String>,
    /// Whether certificate and key of the authority were in the backup and belong into the data
    /// directory.
    pub has_authority: bool,
    /// The store is older than what is on record, and has to be accepted before it is used.
    pub must_be_accepted: bool,
}

/// A restore that may begin: the data directory has nothing to lose, and nobody else restores.
pub struct Restore<'a> {
    places: Places<'a>,
    /// Locked.
    _directory: File,
}

/// Whether a restore into this data directory did not come to its end.
pub fn was_interrupted(data_dir: &Path) -> bool {
    data_dir.join(files::RESTORING).exists()
}

impl<'a> Restore<'a> {
    /// Checks that the data directory has nothing but what is allowed, and makes it if it is missing.
    ///
    /// # Errors
    /// When it has something, or a part of it belongs elsewhere.
    pub fn prepare(places: Places<'a>) -> Result<Self, BackupError> {
        let data_dir = places.data_dir;
        let at = BackupError::at(data_dir);
        for (_, target) in places.store.places() {
            if !target.starts_with(data_dir) {
                return Err(BackupError::Elsewhere {
                    path: target.to_owned(),
                    directory: data_dir.to_owned(),
                });
            }
        }
        files::private_directory(data_dir).map_err(&at)?;
        let directory = File::open(data_dir).map_err(&at)?;
        if let Err(TryLockError::WouldBlock) = directory.try_lock() {
            let error = io::Error::other("another restore is writing into it");
            return Err(at(error));
        }
        let restore = Self {
            places,
            _directory: directory,
        };
        if was_interrupted(data_dir) {
            restore.clear().map_err(&at)?;
        }
        restore.check_empty()?;
        Ok(restore)
    }

    /// Removes what a restore before has left.
    fn clear(&self) -> io::Result<()> {
        for (_, target) in self.targets() {
            let removed = if target.is_dir() {
                fs::remove_dir_all(target)
            } else {
                fs::remove_file(target)
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir_all(self.places.data_dir.join(files::RESTORING))
    }

    fn check_empty(&self) -> Result<(), BackupError> {
        let at = BackupError::at(self.places.data_dir);
        for entry in fs::read_dir(self.places.data_dir).map_err(&at)? {
            let path = entry.map_err(&at)?.path();
            let is_allowed = self.places.allowed.iter().any(|it| it.starts_with(&path));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !is_allowed && name != "lost+found" {
                return Err(BackupError::DataNotEmpty {
                    directory: self.places.data_dir.to_owned(),
                    found: name.into_owned(),
                });
            }
        }
        Ok(())
    }

    /// Verifies the backup and puts it in place. Where the lost machine's ledger has later changes, the
    /// store counts as older than what is on record.
    ///
    /// # Errors
    /// When anything is not as it was written. The data directory is as it was then.
    pub async fn run(
        self,
        backup: &Backup,
        keyring: &Keyring,
        actor: &Actor,
        lost: Option<&Lost>,
    ) -> Result<Restored, BackupError> {
        backup.verify(keyring)?;
        let mut staging = Staging::at(self.places.data_dir.join(files::RESTORING))?;
        let has_authority = self.copy(backup, keyring, staging.path())?;
        let (unverified, must_be_accepted) =
            admit(backup, keyring, actor, staging.path(), lost).await?;
        write::sync_tree(staging.path()).map_err(BackupError::at(staging.path()))?;
        // From here on it can only be completed or started again.
        staging.keep();
        self.place(staging.path())?;
        Ok(Restored {
            unverified,
            has_authority,
            must_be_accepted,
        })
    }

    /// Copies the files, and checks each again while it is read. Whether there is an authority.
    fn copy(
        &self,
        backup: &Backup,
        keyring: &Keyring,
        staging: &Path,
    ) -> Result<bool, BackupError> {
        let at = BackupError::at(staging);
        write::make_directory(&staging.join(files::LEDGER))?;
        let (cert, key) = self.places.ca;
        let is_own = |path: &Path| path.starts_with(self.places.data_dir);
        let takes_authority = is_own(cert) && is_own(key);
        let mut has_authority = false;
        for entry in &backup.manifest.files {
            let source = backup.directory.join(&entry.name);
            let changed =
                || BackupError::Changed(format!("{} is not what was written", entry.name));
            if let Some(name) = entry.name.strip_suffix(SEALED) {
                if takes_authority {
                    let sealed = fs::read(&source).map_err(BackupError::at(&source))?;
                    let wrap = keyring.key_wrap(CA_KEY_PURPOSE);
                    let plain = wrap.unwrap(&sealed).map_err(|_| changed())?;
                    write::write(staging, name, &mut plain.expose()).map_err(&at)?;
                    has_authority = true;
                }
                continue;
            }
            if entry.name.starts_with(files::CA_CERT) && !takes_authority {
                continue;
            }
            let mut file = File::open(&source).map_err(BackupError::at(&source))?;
            let copied = write::write(staging, &entry.name, &mut file).map_err(&at)?;
            if copied != *entry {
                return Err(changed());
            }
        }
        Ok(has_authority)
    }

    /// The names of what is put in place, and where.
    fn targets(&self) -> Vec<(String, PathBuf)> {
        let data_dir = self.places.data_dir;
        let (cert, key) = self.places.ca;
        let store = self.places.store.places().into_iter();
        let mut targets: Vec<_> = store
            .map(|(name, target)| (name.to_owned(), target))
            .collect();
        for name in [files::LEDGER_HEAD, files::LEDGER] {
            targets.push((name.to_owned(), data_dir.join(name)));
        }
        if cert.starts_with(data_dir) && key.starts_with(data_dir) {
            for suffix in AUTHORITIES {
                for (name, path) in [(files::CA_CERT, cert), (files::CA_KEY, key)] {
                    targets.push((format!("{name}{suffix}"), files::beside(path, suffix)));
                }
            }
        }
        targets
    }

    fn place(&self, staging: &Path) -> Result<(), BackupError> {
        let data_dir = self.places.data_dir;
        for (name, target) in self.targets() {
            let source = staging.join(name);
            if source.exists() {
                fs::rename(&source, &target).map_err(BackupError::at(&target))?;
            }
        }
        let sync = || File::open(data_dir)?.sync_all();
        sync()
            .and_then(|()| fs::remove_dir(staging))
            .and_then(|()| sync())
            .map_err(BackupError::at(data_dir))
    }
}

/// Opens the store in `staging`, checks it, and puts on record that it was restored. Returns the
/// entries that do not verify, and whether it has to be accepted first.
async fn admit(
    backup: &Backup,
    keyring: &Keyring,
    actor: &Actor,
    staging: &Path,
    lost: Option<&Lost>,
) -> Result<(Vec<String>, bool), BackupError> {
    let url = format!("sqlite:{}", files::DATABASE);
    let url = StoreUrl::parse(&url, staging);
    let url = url.map_err(|_| BackupError::NotABackup(staging.to_owned()))?;
    let store = Store::open(&url, keyring.policy_keys()).await?;
    let admitted = async {
        let unverified = store.check().await?;
        let manifest = &backup.manifest;
        let detail = format!(
            "from the backup of {}; store at change {}; ledger at line {}",
            manifest.made, manifest.store.revision, manifest.ledger.seq
        );
        store
            .note_event(actor, Event::StoreRestored, &detail)
            .await?;
        let last = lost.and_then(|lost| lost.last_change);
        if let Some(last) = last {
            // The event above has one number itself.
            let needed = last.max(manifest.store.revision.saturating_add(2));
            store.expect_revision(needed).await?;
        }
        Ok((unverified, last.is_some()))
    };
    let admitted = admitted.await;
    store.close().await;
    admitted
}
