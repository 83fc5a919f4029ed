//! Tells whether the store can be read, to parts that must not open values.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::vault::cache::Vault;

/// Longest time for the store's answer. A probe gives up soon, and then learns nothing.
const ANSWER: Duration = Duration::from_secs(2);

/// Tells whether the vault is up to date. The vault is private to it, so its holder cannot find or
/// open a credential.
#[derive(Clone)]
pub struct StoreProbe(Arc<Vault>);

impl StoreProbe {
    /// A probe of `vault`'s store.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// How many entries of the store were changed by something that is not Egret, and are not used.
    pub fn unverified(&self) -> u64 {
        self.0.unverified()
    }

    /// Whether what is in memory is what the store holds.
    pub fn is_up_to_date(&self) -> bool {
        self.0.is_up_to_date()
    }

    /// When a change of the store was last taken over, unix seconds.
    pub fn read_at(&self) -> i64 {
        self.0.read_at()
    }

    /// How often a change of the store could not be taken over.
    pub fn read_failures(&self) -> u64 {
        self.0.read_failures()
    }

    /// How many credentials are not revoked.
    pub fn active(&self) -> u64 {
        self.0.active()
    }

    /// How many credentials are due to be rotated.
    pub fn due(&self) -> u64 {
        self.0.due(clock::unix_seconds())
    }

    /// How many clients that can be used now were added before `time`, in unix seconds.
    pub fn clients_before(&self, time: i64) -> usize {
        self.0.clients_before(time, clock::unix_seconds())
    }

    /// Whether a request would be decided on the current state of the store now, and a change could be
    /// made and would be seen. Requests ask memory whether there was a change, so a store that does not answer
    /// shows only when it is asked.
    pub async fn is_current(&self) -> bool {
        let store = self.0.store();
        let ask = async {
            self.0.refresh().await.is_ok()
                && store.ping().await.is_ok()
                && store.can_commit().await.is_ok()
        };
        tokio::time::timeout(ANSWER, ask).await.unwrap_or(false)
    }
}
