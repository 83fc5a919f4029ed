//! A backup of a data directory, made while a server uses it, and put back elsewhere.
//!
//! ```text
//! backup/
//!   manifest.json    which files with which digests, of which Egret, and where the ledger ended
//!   manifest.seal    the digest of the manifest, sealed with the master key
//!   egret.db  store.revision  ledger.head  ledger/…
//!   ca.pem  ca.key.sealed  and those of the authority that takes over
//! ```
//!
//! The master key is not in it, and whoever has a backup without it can open nothing: values, the
//! signing key and the head of the ledger are sealed in the data directory too, and the key of the
//! certificate authority, which is not, is sealed here.
//!
//! A backup is put in place as a whole: it is written beside its place, and renamed. So is what is
//! restored, after everything was verified; see [`Restore`].

mod error;
mod lost;
mod manifest;
mod names;
mod restore;
mod take;
mod verify;
mod write;

pub use error::BackupError;
pub use lost::{Lost, each_use};
pub use manifest::Manifest;
pub use restore::{Places, Restore, Restored, was_interrupted};
pub use take::{Sources, check_target, take};
pub use verify::Backup;
