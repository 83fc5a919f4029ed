//! The one writer of the ledger, and what it needs: the queue, the files, the checkpoints, recovery.

mod answers;
mod archive;
mod batch;
mod before;
mod checkpoint_file;
mod checkpointer;
mod current;
mod damage;
mod directory;
mod error;
mod identity;
mod in_flight;
mod lock;
mod next_writer;
mod queue;
mod recovery;
mod relay;
mod relayed;
mod resume;
mod sealed_head;
mod sign_on;
pub mod signing;
mod steady_clock;
mod storage;
mod tail;
mod thread;
mod waiter;
mod walk;

pub use archive::Keep;
pub use error::{LedgerError, LedgerUnavailable};
pub use next_writer::{NextWriter, NotFollowed};
pub use relayed::{NoLines, Relayed};
pub use thread::{Durability, Ledger, Options};
