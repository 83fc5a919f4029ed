//! The store of credentials, clients and pending administrative events.
//!
//! The store moves [`Sealed`](crate::vault::seal::Sealed) blobs and token hashes. It has no key that
//! opens a value, and imports nothing that does: a stolen file, a backup of it, or the memory of a
//! database server holds names and policies, but no value and no token. The key that it has
//! authenticates policy ([`policy_key`](crate::vault::policy_key)).
//!
//! [`Store`] is all that the rest of the program knows. A second kind of store is a module beside
//! `sqlite`, a variant of the enums in `backend` and a scheme in `url`.

pub mod account;
mod backend;
mod changes;
mod condition;
pub mod edit;
mod error;
mod outbox;
mod rekeying;
mod sqlite;
mod url;

pub use backend::{CommitWatch, Store};
pub use changes::{
    Audit, ChangedCredential, Changes, Content, Directory, Freshness, Listing, StoreCopy,
};
pub use condition::{Condition, ObjectName};
pub use error::{StoreError, StoreUnavailable};
pub use outbox::{AdminEvent, Event, Waiting};
pub use rekeying::{Progress, Rekeyed, Reseal, ValueOf};
pub use url::{InvalidStoreUrl, StoreUrl};

#[cfg(test)]
mod tests;
