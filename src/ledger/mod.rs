//! The usage record: which action used which credential, on disk before the value leaves.
//!
//! [`record`] is the format of a line and [`chain`] ties each line to the one before it; both know
//! bytes alone. [`writer`] owns the file: one thread, one `write` and one `fdatasync` for all that
//! wait at that moment. [`reader`] reads lines back and follows the file as it grows. [`merkle`] and
//! [`note`] are what checkpoints and proofs are made of.

pub mod chain;
pub mod checkpoint;
mod filter;
pub mod layout;
pub mod merkle;
pub mod note;
mod queue;
pub mod reader;
pub mod record;
pub mod stats;
mod storage;
pub mod writer;

pub use layout::CURRENT;
pub use queue::LedgerUnavailable;
pub use stats::Snapshot;
pub use storage::LedgerError;
pub use writer::{Durability, Ledger, Options};
