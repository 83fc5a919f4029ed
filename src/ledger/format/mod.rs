//! The definitions of the format: lines, chain, tree, notes and checkpoints. They know bytes alone.

pub mod chain;
pub mod checkpoint;
pub(in crate::ledger) mod encoded;
pub mod merkle;
pub mod note;
pub mod record;
pub mod record_ref;

pub use encoded::Draft;
