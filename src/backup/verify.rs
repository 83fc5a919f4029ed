//! Reads a backup, and checks that it is as it was written, under this master key.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::error::BackupError;
use super::manifest::{FORMAT, Manifest, is_plain};
use super::names::{MANIFEST, MANIFEST_PURPOSE, SEAL};
use super::write;
use crate::files;
use crate::vault::Keyring;

/// The largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;

/// A backup whose manifest was read.
#[derive(Debug)]
pub struct Backup {
    pub(super) directory: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    text: Vec<u8>,
}

impl Backup {
    /// Reads the manifest of the backup in `directory`.
    ///
    /// # Errors
    /// When there is none, or a newer Egret wrote it.
    pub fn read(directory: &Path) -> Result<Self, BackupError> {
        let none = || BackupError::NotABackup(directory.to_owned());
        let file = File::open(directory.join(MANIFEST)).map_err(|_| none())?;
        let mut text = Vec::new();
        let read = file.take(MAX_MANIFEST).read_to_end(&mut text);
        read.map_err(BackupError::at(&directory.join(MANIFEST)))?;
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|_| none())?;
        let format = value["format"].as_u64().ok_or_else(none)?;
        if format > u64::from(FORMAT) {
            let version = value["egret"].as_str().unwrap_or_default();
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
            return Err(BackupError::Newer(
                version.chars().filter(is_plain).collect(),
            ));
        }
        let manifest = serde_json::from_value(value).map_err(|_| none())?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            text,
        })
    }

    /// Checks the manifest under the master key, and every file against the manifest.
    ///
    /// # Errors
    /// When the key is another one, or anything differs.
    pub fn verify(&self, keyring: &Keyring) -> Result<(), BackupError> {
        let loaded = keyring.id().to_string();
        if self.manifest.master_key != loaded {
            return Err(BackupError::OtherKey {
                backup: self.manifest.master_key.chars().take(16).collect(),
                loaded,
            });
        }
        self.verify_seal(keyring)?;
        let mut expected = BTreeSet::from([MANIFEST.to_owned(), SEAL.to_owned()]);
        for entry in &self.manifest.files {
            let changed = |what: &str| BackupError::Changed(format!("{} {what}", entry.name));
            if !is_plain(&entry.name) {
                return Err(BackupError::Changed("a name in its manifest".to_owned()));
            }
            let found = write::measure(&self.directory, &entry.name);
            match found {
                Ok(found) if found == *entry => {}
                Ok(_) => return Err(changed("is not what was written")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(changed("is missing"));
                }
                Err(error) => {
                    return Err(BackupError::at(&self.directory.join(&entry.name))(error));
                }
            }
            expected.insert(entry.name.clone());
        }
        match self.names()?.difference(&expected).next() {
            Some(name) => Err(BackupError::Changed(format!("{name} was added"))),
            None => Ok(()),
        }
    }

    fn verify_seal(&self, keyring: &Keyring) -> Result<(), BackupError> {
        let changed = || BackupError::Changed("its manifest is not what was written".to_owned());
        let wrap = keyring.key_wrap(MANIFEST_PURPOSE);
        let sealed = fs::read(self.directory.join(SEAL)).map_err(|_| changed())?;
        let written = wrap.unwrap(&sealed).map_err(|_| changed())?;
        if written.expose() == digest(&SHA256, &self.text).as_ref() {
            Ok(())
        } else {
            Err(changed())
        }
    }

    /// Every file that is there.
    fn names(&self) -> Result<BTreeSet<String>, BackupError> {
        let mut names = BTreeSet::new();
        for (prefix, directory) in [
            ("", self.directory.clone()),
            ("ledger/", self.directory.join(files::LEDGER)),
        ] {
            let at = BackupError::at(&directory);
            let entries = match fs::read_dir(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(&at)?,
            };
            for entry in entries {
                let name = entry.map_err(&at)?.file_name();
                let name = format!("{prefix}{}", name.to_string_lossy());
                if name != files::LEDGER {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }
}
