//! The master key.

use serde::Serialize;

/// `egret keys status` and `egret keys rotate`.
#[derive(Debug, Serialize)]
pub struct MasterKeys {
    /// Where the master key comes from.
    pub source: String,
    /// The name of the master key under which the store is sealed.
    pub store: String,
    /// The names of all that are loaded, oldest first: two while it is rotated.
    pub loaded: Vec<String>,
    /// The name of that under which the key that signs the ledger is sealed, if there is one.
    pub signing_key: Option<String>,
    /// The name of that under which the head of the ledger is sealed, if there is one.
    pub ledger_head: Option<String>,
    /// The names of all that the running server accepts, if one runs.
    pub server: Option<Vec<String>>,
    /// Whether a rotation has begun and is not over.
    pub rotating: bool,
}
