//! Makes a backup.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::error::BackupError;
use super::manifest::{FORMAT, FileEntry, Manifest, StoreState};
use super::names::{AUTHORITIES, CA_KEY_PURPOSE, MANIFEST, MANIFEST_PURPOSE, SEAL, SEALED};
use super::write::{self, Staging};
use crate::ledger::Timestamp;
use crate::ledger::snapshot::Snapshot;
use crate::secret::SecretBytes;
use crate::vault::store::StoreCopy;
use crate::vault::{Keyring, Store};
use crate::{clock, files};

/// How often files of the ledger may be dropped under the copy before it is given up.
const ATTEMPTS: u32 = 3;

/// What a backup is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// The directory of the ledger.
    pub ledger: &'a Path,
    /// Certificate and key of the authority. Those outside of the data directory are left to whoever
    /// issued them.
    pub ca: (&'a Path, &'a Path),
}

/// Makes a backup in `target`, which must not exist or be an empty directory. The answer is what the
/// backup says of itself.
///
/// # Errors
/// When something cannot be read or written. Nothing is left in `target` then.
pub async fn take(
    sources: Sources<'_>,
    store: &Store,
    keyring: &Keyring,
    target: &Path,
) -> Result<Manifest, BackupError> {
    check_target(sources.data_dir, target)?;
    for _ in 0..ATTEMPTS {
        let staging = Staging::beside(target)?;
        let (ledger, head) = (
            sources.ledger.to_owned(),
            sources.data_dir.join(files::LEDGER_HEAD),
        );
        let fix = move || Snapshot::take(&ledger, &head);
        let (copy, snapshot) = store.copy(staging.path(), fix).await?;
        let snapshot = snapshot.map_err(BackupError::at(sources.ledger))?;
        let certificates = Certificates::read(sources, keyring)?;
        let manifest = manifest(copy, &snapshot, keyring);
        let seal = keyring.key_wrap(MANIFEST_PURPOSE);
        let target = target.to_owned();
        let finish = move || {
            let mut manifest = manifest;
            manifest.files = copy_files(&staging, &snapshot, &certificates)?;
            let text = serde_json::to_vec_pretty(&manifest).map_err(|_| BackupError::Crypto)?;
            let digest = digest(&SHA256, &text).as_ref().to_vec();
            let sealed = seal.wrap(&SecretBytes::new(digest));
            let sealed = sealed.map_err(|_| BackupError::Crypto)?;
            for (name, content) in [(SEAL, sealed), (MANIFEST, text)] {
                let written = write::write(staging.path(), name, &mut content.as_slice());
                written.map_err(BackupError::at(&staging.path().join(name)))?;
            }
            staging.place(&target)?;
            Ok(manifest)
        };
        match tokio::task::spawn_blocking(finish).await {
            Ok(Err(BackupError::Dropped)) => {}
            Ok(result) => return result,
            Err(error) => return Err(BackupError::at(sources.ledger)(io::Error::other(error))),
        }
    }
    Err(BackupError::Dropped)
}

/// Checks that a backup in `target` replaces nothing, and is not kept in what it is a backup of.
///
/// # Errors
/// When it does or is, or the file system refuses.
pub fn check_target(data_dir: &Path, target: &Path) -> Result<(), BackupError> {
    let at = BackupError::at(target);
    match fs::read_dir(target) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(BackupError::TargetNotEmpty(target.to_owned()));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(BackupError::TargetNotEmpty(target.to_owned()));
        }
        Err(error) => return Err(at(error)),
    }
    let parent = std::path::absolute(target).map_err(&at)?;
    let parent = parent.parent().map(Path::to_owned).unwrap_or_default();
    let data_dir = fs::canonicalize(data_dir).map_err(BackupError::at(data_dir))?;
    let parent = fs::canonicalize(&parent).map_err(BackupError::at(&parent))?;
    if parent.starts_with(&data_dir) {
        return Err(BackupError::TargetInside(target.to_owned()));
    }
    Ok(())
}

fn manifest(copy: StoreCopy, snapshot: &Snapshot, keyring: &Keyring) -> Manifest {
    Manifest {
        format: FORMAT,
        made: Timestamp::from_unix_micros(clock::unix_micros()).to_string(),
        egret: env!("CARGO_PKG_VERSION").to_owned(),
        master_key: keyring.id().to_string(),
        store: StoreState {
            schema: copy.schema,
            revision: copy.revision,
        },
        ledger: snapshot.position().into(),
        files: Vec::new(),
    }
}

/// What clients trust, and the key of it, sealed.
struct Certificates(Vec<(String, Vec<u8>)>);

impl Certificates {
    fn read(sources: Sources<'_>, keyring: &Keyring) -> Result<Self, BackupError> {
        let (cert, key) = sources.ca;
        let is_own = |path: &Path| path.starts_with(sources.data_dir) && path.exists();
        let seal = keyring.key_wrap(CA_KEY_PURPOSE);
        let mut found = Vec::new();
        for suffix in AUTHORITIES {
            let (cert, key) = (&files::beside(cert, suffix), &files::beside(key, suffix));
            if !is_own(cert) || !is_own(key) {
                continue;
            }
            let certificate = fs::read(cert).map_err(BackupError::at(cert))?;
            let plain = fs::read(key).map_err(BackupError::at(key))?;
            let sealed = seal.wrap(&SecretBytes::new(plain));
            let sealed = sealed.map_err(|_| BackupError::Crypto)?;
            found.push((format!("{}{suffix}", files::CA_CERT), certificate));
            found.push((format!("{}{suffix}{SEALED}", files::CA_KEY), sealed));
        }
        Ok(Self(found))
    }
}

fn copy_files(
    staging: &Staging,
    snapshot: &Snapshot,
    certificates: &Certificates,
) -> Result<Vec<FileEntry>, BackupError> {
    let directory = staging.path();
    let at = BackupError::at(directory);
    let mut entries = Vec::new();
    for name in [files::DATABASE, files::STORE_REVISION] {
        if directory.join(name).exists() {
            entries.push(write::measure(directory, name).map_err(&at)?);
        }
    }
    let head = snapshot.head().map(|head| (files::LEDGER_HEAD, head));
    let certificates = certificates.0.iter();
    let certificates = certificates.map(|(name, content)| (name.as_str(), content.as_slice()));
    for (name, mut content) in head.into_iter().chain(certificates) {
        entries.push(write::write(directory, name, &mut content).map_err(&at)?);
    }
    write::make_directory(&directory.join(files::LEDGER))?;
    let copied = snapshot.each_file(|name, content| {
        let name: PathBuf = Path::new(files::LEDGER).join(name);
        entries.push(write::write(directory, &name.to_string_lossy(), content)?);
        Ok(())
    });
    match copied {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(BackupError::Dropped),
        copied => copied.map(|()| entries).map_err(&at),
    }
}
