//! Where credentials, clients and pending administrative events are kept.
//!
//! The store moves [`Sealed`](crate::vault::seal::Sealed) blobs and token hashes. It has no key
//! and imports nothing that opens a value; whoever steals the file, a backup of it, or the
//! database server's memory has names and policies, but no value and no token.

mod error;
mod outbox;
pub mod sqlite;

pub use error::{Changes, StoreError, StoreUnavailable};
pub use outbox::{AdminEvent, Event};
pub use sqlite::Store;
