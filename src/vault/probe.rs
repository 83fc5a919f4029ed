//! Tells whether the store can be read, to parts that must not open values.

use std::sync::Arc;

use crate::vault::cache::Vault;

/// Tells whether the vault is up to date. The vault is private to it, so its holder cannot find or
/// open a credential.
#[derive(Clone)]
pub struct StoreProbe(Arc<Vault>);

impl StoreProbe {
    /// A probe of `vault`'s store.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// Whether a request would be decided on the current state of the store now. Otherwise it would
    /// be refused.
    pub async fn is_current(&self) -> bool {
        self.0.refresh().await.is_ok()
    }
}
