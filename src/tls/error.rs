//! Why there is no certificate authority.

use std::io;
use std::path::{Path, PathBuf};

/// The authority could not be loaded or created. The texts hold nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a certificate, but not its key, which cannot be made again.
    #[error(
        "{cert} exists but its key {key} does not; restore the key from a backup, \
         or move the certificate away to have a new authority made, which clients then have to trust"
    )]
    KeyMissing {
        /// The file that exists.
        cert: PathBuf,
        /// The file that does not.
        key: PathBuf,
    },
    /// A file does not hold the PEM certificate or key that it should.
    #[error(
        "{path} is not a usable PEM file of an ECDSA P-256 authority; restore it from a backup, \
         or move certificate and key away to have a new authority made, which clients then have to \
         trust"
    )]
    Unusable {
        /// The file concerned.
        path: PathBuf,
    },
    /// A file has nothing in it, as after a start that was interrupted.
    #[error("{path} is empty; remove it, and the next start makes it")]
    Empty {
        /// The file concerned.
        path: PathBuf,
    },
    /// The certificate was made for another key.
    #[error(
        "{cert} was not made for the key in {key}; restore the one that belongs to the other from a \
         backup, or move both away to have a new authority made, which clients then have to trust"
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The program was built with a faulty `certs/profile.toml`.
    #[error("certs/profile.toml, which this program was built with, is not a certificate profile")]
    Profile,
    /// The cryptography library refused.
    #[error("cannot make a certificate")]
    Crypto,
}

impl AuthorityError {
    /// What the system said of a file.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        AuthorityError::File {
            path: path.into(),
            source,
        }
    }
}
