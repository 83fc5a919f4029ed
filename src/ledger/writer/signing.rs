//! The key that signs checkpoints: made once, kept sealed beside the ledger.
//!
//! The ledger does not know who seals: [`Seal`] is handed in. The public half lies beside the key
//! in the clear, for convenience only; whoever wants proof keeps a copy elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::directory;
use super::storage::LedgerError;
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

/// The key of the ledger in `dir`, made if there is none, and whether it is new. The caller holds
/// the lock.
pub(super) fn load_or_create(dir: &Path, seal: &dyn Seal) -> Result<(Signer, bool), LedgerError> {
    let path = dir.join(layout::SIGNING_KEY);
    let refused = |reason: String| LedgerError::SigningKey {
        path: path.clone(),
        reason,
    };
    let (seed, is_new) = match fs::read(&path) {
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
    let signer = Signer::of_ledger(&seed).map_err(|error| refused(error.to_string()))?;
    publish(dir, &signer)?;
    Ok((signer, is_new))
}

/// Seals the key of the ledger in `dir` anew, after the master key has changed. Does nothing when
/// the ledger has no key yet. No server may be starting meanwhile.
///
/// # Errors
/// When the key cannot be opened or sealed, or the file system refuses; the old file is then kept.
pub fn reseal(dir: &Path, old: &dyn Seal, new: &dyn Seal) -> Result<(), LedgerError> {
    let path = dir.join(layout::SIGNING_KEY);
    let refused = |reason: String| LedgerError::SigningKey {
        path: path.clone(),
        reason,
    };
    let sealed = match fs::read(&path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::at(&path)(error)),
    };
    let seed = old.open(&sealed).map_err(&refused)?;
    let sealed = new.seal(&seed).map_err(&refused)?;
    directory::replace(dir, layout::SIGNING_KEY, &sealed).map_err(LedgerError::at(&path))
}

fn new_seed() -> Option<SecretBytes> {
    let mut seed = vec![0; SEED];
    let filled = aws_lc_rs::rand::fill(&mut seed).is_ok();
    let seed = SecretBytes::new(seed);
    filled.then_some(seed)
}

/// Writes the public half beside the key, if it is not what stands there.
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

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (one, is_new) = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(is_new);
        let (two, is_new) = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(!is_new);
        assert_eq!(one.verifier(), two.verifier());
        let public = fs::read_to_string(dir.path().join(layout::PUBLIC_KEY)).unwrap();
        assert_eq!(public, format!("{}\n", one.verifier()));
        let metadata = fs::metadata(dir.path().join(layout::SIGNING_KEY)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        let (other, _) = load_or_create(other.path(), &Mirror(1)).unwrap();
        assert_ne!(one.verifier(), other.verifier());
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
        reseal(dir.path(), &Mirror(1), &Mirror(2)).unwrap();
        let (one, _) = load_or_create(dir.path(), &Mirror(1)).unwrap();
        assert!(reseal(dir.path(), &Mirror(3), &Mirror(2)).is_err());
        reseal(dir.path(), &Mirror(1), &Mirror(2)).unwrap();
        let (two, is_new) = load_or_create(dir.path(), &Mirror(2)).unwrap();
        assert_eq!((one.verifier(), is_new), (two.verifier(), false));
    }
}
