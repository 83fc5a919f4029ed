//! What a running proxy reads of a store: whether something was committed, and what.

use crate::substitution::slug::Slug;
use crate::vault::model::{Client, Credential};
use crate::vault::name::Principal;

/// What was committed after some revision, for a running proxy to load.
#[derive(Debug)]
pub struct Changes {
    /// The store's revision with these changes.
    pub revision: i64,
    /// Credentials that were created or changed.
    pub credentials: Vec<Credential>,
    /// Credentials that were deleted.
    pub deleted: Vec<(Principal, Slug)>,
    /// The complete set of clients, if it changed. There are few, and a complete set needs no
    /// tombstones.
    pub clients: Option<Vec<Client>>,
}

/// Whether what was read of a store is still its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was committed since.
    Fresh,
    /// Something was committed, or it cannot be ruled out.
    Stale,
    /// The store was removed or exchanged while it was open: what can be read of it is no longer
    /// what a command writes. Holds a reason for the log.
    Gone(String),
}
