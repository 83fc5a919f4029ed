//! The one writer of the ledger, and what it needs: the queue, the files, the checkpoints, recovery.

mod archive;
mod batch;
mod checkpoint_file;
mod checkpointer;
mod directory;
mod in_flight;
mod queue;
mod recovery;
mod resume;
pub mod signing;
mod storage;
mod tail;
mod thread;
mod waiter;
mod walk;

pub use archive::Keep;
pub use queue::LedgerUnavailable;
pub use storage::LedgerError;
pub use thread::{Durability, Ledger, Options};
