//! The store of credentials, clients and pending administrative events.
//!
//! The store moves [`Sealed`](crate::vault::seal::Sealed) blobs and token hashes. It has no key and
//! imports nothing that opens a value: a stolen file, a backup of it, or the memory of a database
//! server holds names and policies, but no value and no token.
//!
//! [`Store`] is all that the rest of the program knows. A second kind of store is a module beside
//! `sqlite`, a variant of the enums in `backend` and a scheme in `url`.

mod backend;
mod changes;
mod error;
mod outbox;
mod sqlite;
mod url;

pub use backend::{CommitWatch, Store};
pub use changes::{Changes, Freshness};
pub use error::{StoreError, StoreUnavailable};
pub use outbox::{AdminEvent, Event};
pub use url::{InvalidStoreUrl, StoreUrl};

#[cfg(test)]
mod tests;
