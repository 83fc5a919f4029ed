//! Asking whether the store can be read, by those who must not open values.

use std::sync::Arc;

use crate::vault::cache::Vault;

/// Tells whether the credentials are known as of now. The vault is private to it: whoever holds a
/// probe cannot find or open a credential.
#[derive(Clone)]
pub struct StoreProbe(Arc<Vault>);

impl StoreProbe {
    /// A probe of `vault`'s store.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// Whether a request would now be decided on what the store holds, rather than be refused.
    pub async fn is_current(&self) -> bool {
        self.0.refresh().await.is_ok()
    }
}
