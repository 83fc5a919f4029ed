//! The usage record: which action used which credential, on disk before the value leaves.
//!
//! [`record`] is the format of a line and [`chain`] ties each line to the one before it; both know
//! bytes alone. [`writer`] owns the file: one thread, one `write` and one `fdatasync` for all that
//! wait at that moment. [`reader`] reads lines back and follows the file as it grows. [`merkle`] and
//! [`note`] are what checkpoints and proofs are made of.
//!
//! [`history`] is the files in order, [`view`] a line read without copying. On them stand
//! [`verify`], which checks it all and knows nothing of the writer, [`proof`], which proves a line
//! to someone else, [`export`], and [`usage`], the index that answers who used what.

mod archive;
pub mod chain;
pub mod checkpoint;
mod checkpoints;
mod directory;
pub mod export;
mod filter;
#[cfg(test)]
mod fixture;
pub mod history;
pub mod layout;
pub mod lines;
pub mod merkle;
mod notary;
pub mod note;
mod opening;
pub mod proof;
mod queue;
pub mod reader;
pub mod record;
mod resume;
#[cfg(test)]
mod scale;
pub mod signing;
pub mod stats;
mod storage;
mod tail;
mod unfinished;
pub mod usage;
pub mod verify;
pub mod view;
mod walk;
pub mod writer;

pub use archive::Keep;
pub use layout::CURRENT;
pub use queue::LedgerUnavailable;
pub use stats::Snapshot;
pub use storage::LedgerError;
pub use writer::{Durability, Ledger, Options};
