//! The key that signs checkpoints: made once, kept sealed beside the ledger.
//!
//! The ledger does not know who seals: [`Seal`] is handed in. The public half lies beside the key
//! in the clear, for convenience only; whoever wants proof keeps a copy elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory;
use super::error::LedgerError;
use crate::ledger::format::note::Signer;
use crate::ledger::layout;
use crate::secret::SecretBytes;

/// Length of a seed in bytes (RFC 8032 section 5.1.5).
const SEED: usize = 32;

/// Seals the seed of the signing key, and opens what was sealed.
pub trait Seal: Send + Sync {
    /// The seed, sealed.
    ///
    /// # Errors
    /// Why it cannot be, for people to read.
    fn seal(&self, seed: &SecretBytes) -> Result<Vec<u8>, String>;

    /// The seed that was sealed.
    ///
    /// # Errors
    /// Why it cannot be opened, for people to read, with nothing of the seed.
    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String>;
}

/// What a writer needs that signs.
#[derive(Clone)]
pub struct Signing {
    /// Seals the signing key and the head.
    pub seal: Arc<dyn Seal>,
    /// The file of the sealed head. It lies outside the ledger's directory, so that whoever can
    /// write there alone cannot remove it.
    pub head: PathBuf,
}

/// Follows the seed where a sealed head is kept: one that is missing was then removed.
const KEEPS_HEAD: u8 = 1;

/// The key that signs checkpoints.
pub(super) struct SigningKey {
    pub(super) signer: Signer,
    /// It was made now.
    pub(super) is_new: bool,
    /// A sealed head was written with it before.
    pub(super) keeps_head: bool,
}

/// The key of the ledger in `dir`, made if there is none. The caller holds the lock.
pub(super) fn load_or_create(dir: &Path, seal: &dyn Seal) -> Result<SigningKey, LedgerError> {
    let path = dir.join(layout::SIGNING_KEY);
    let refused = |reason: String| LedgerError::SigningKey {
        path: path.clone(),
        reason,
    };
    let (mut seed, is_new) = match fs::read(&path) {
        Ok(sealed) => (seal.open(&sealed).map_err(&refused)?, false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let seed = new_seed().ok_or_else(|| refused("no randomness".to_owned()))?;
            let sealed = seal.seal(&seed).map_err(&refused)?;
            directory::replace(dir, layout::SIGNING_KEY, &sealed)
                .map_err(LedgerError::at(&path))?;
            (seed, true)
        }
        Err(error) => return Err(LedgerError::at(&path)(error)),
    };
    let keeps_head = seed.expose().get(SEED) == Some(&KEEPS_HEAD);
    if keeps_head {
        seed.truncate(SEED);
    }
    let signer = Signer::of_ledger(&seed).map_err(|error| refused(error.to_string()))?;
    publish(dir, &signer)?;
    Ok(SigningKey {
        signer,
        is_new,
        keeps_head,
    })
}

/// Says, in the sealed file of the key, that a sealed head is kept from here on.
pub(super) fn keep_head(dir: &Path, seal: &dyn Seal) -> Result<(), LedgerError> {
    let path = dir.join(layout::SIGNING_KEY);
    let at = LedgerError::at(&path);
    let refused = |reason: String| LedgerError::SigningKey {
        path: path.clone(),
        reason,
    };
    let seed = seal
        .open(&fs::read(&path).map_err(&at)?)
        .map_err(&refused)?;
    let marked = SecretBytes::new([seed.expose(), &[KEEPS_HEAD]].concat());
    let sealed = seal.seal(&marked).map_err(&refused)?;
    directory::replace(dir, layout::SIGNING_KEY, &sealed).map_err(&at)
}

/// Seals the key of the ledger in `dir` and its head again, after the master key has changed. Does
/// nothing when the ledger has none yet. No server may be starting meanwhile.
///
/// # Errors
/// When one cannot be opened or sealed, or the file system refuses; the old file is then kept.
pub fn reseal(dir: &Path, head: &Path, old: &dyn Seal, new: &dyn Seal) -> Result<(), LedgerError> {
    reseal_file(&dir.join(layout::SIGNING_KEY), old, new)?;
    reseal_file(head, old, new)
}

fn reseal_file(path: &Path, old: &dyn Seal, new: &dyn Seal) -> Result<(), LedgerError> {
    let refused = |reason: String| LedgerError::SigningKey {
        path: path.to_owned(),
        reason,
    };
    let sealed = match fs::read(path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::at(path)(error)),
    };
    let opened = old.open(&sealed).map_err(&refused)?;
    let sealed = new.seal(&opened).map_err(&refused)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default();
    directory::replace(dir, &name.to_string_lossy(), &sealed).map_err(LedgerError::at(path))
}

fn new_seed() -> Option<SecretBytes> {
    let mut seed = vec![0; SEED];
    let filled = aws_lc_rs::rand::fill(&mut seed).is_ok();
    let seed = SecretBytes::new(seed);
    filled.then_some(seed)
}

/// Writes the public half beside the key, if it is not there already.
fn publish(dir: &Path, signer: &Signer) -> Result<(), LedgerError> {
    let path = dir.join(layout::PUBLIC_KEY);
    let line = format!("{}\n", signer.verifier());
    if fs::read(&path).is_ok_and(|found| found == line.as_bytes()) {
        return Ok(());
    }
    directory::replace(dir, layout::PUBLIC_KEY, line.as_bytes()).map_err(LedgerError::at(&path))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Turns bytes round, and knows its own work by a first byte.
    pub(crate) struct Mirror(pub(crate) u8);

    impl Seal for Mirror {
        fn seal(&self, seed: &SecretBytes) -> Result<Vec<u8>, String> {
            let mirrored = seed.expose().iter().map(|byte| !byte);
            Ok([self.0].into_iter().chain(mirrored).collect())
        }

        fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
            let seed = sealed
                .strip_prefix(&[self.0])
                .ok_or("another key sealed it")?;
            Ok(SecretBytes::new(seed.iter().map(|byte| !byte).collect()))
        }
    }

    /// What a writer needs in a test. The head is in the same directory.
    pub(crate) fn signing(dir: &Path, key: u8) -> Signing {
        Signing {
            seal: Arc::new(Mirror(key)),
            head: dir.join("ledger.head"),
        }
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let one = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(one.is_new && !one.keeps_head);
        let two = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(!two.is_new && !two.keeps_head);
        let one = one.signer;
        assert_eq!(one.verifier(), two.signer.verifier());
        keep_head(dir.path(), &Mirror(1)).unwrap();
        let three = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(!three.is_new && three.keeps_head);
        assert_eq!(one.verifier(), three.signer.verifier());
        let public = fs::read_to_string(dir.path().join(layout::PUBLIC_KEY)).unwrap();
        assert_eq!(public, format!("{}\n", one.verifier()));
        let metadata = fs::metadata(dir.path().join(layout::SIGNING_KEY)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        let other = load_or_create(other.path(), &Mirror(1)).unwrap();
        assert_ne!(one.verifier(), other.signer.verifier());
    }

    #[test]
    fn a_key_sealed_with_another_master_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), &Mirror(1)).unwrap();
        let before = fs::read(dir.path().join(layout::SIGNING_KEY)).unwrap();
        let error = load_or_create(dir.path(), &Mirror(2)).err().unwrap();
        assert!(matches!(error, LedgerError::SigningKey { .. }), "{error}");
        assert_eq!(
            fs::read(dir.path().join(layout::SIGNING_KEY)).unwrap(),
            before
        );
    }

    #[test]
    fn a_key_sealed_anew_is_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let head = dir.path().join("head");
        reseal(dir.path(), &head, &Mirror(1), &Mirror(2)).unwrap();
        let one = load_or_create(dir.path(), &Mirror(1)).unwrap();
        let sealed = Mirror(1).seal(&SecretBytes::new(b"head".to_vec())).unwrap();
        fs::write(&head, sealed).unwrap();
        assert!(reseal(dir.path(), &head, &Mirror(3), &Mirror(2)).is_err());
        reseal(dir.path(), &head, &Mirror(1), &Mirror(2)).unwrap();
        let two = load_or_create(dir.path(), &Mirror(2)).unwrap();
        assert_eq!(one.signer.verifier(), two.signer.verifier());
        assert!(!two.is_new);
        let opened = Mirror(2).open(&fs::read(&head).unwrap()).unwrap();
        assert_eq!(opened.expose(), b"head");
    }
}
