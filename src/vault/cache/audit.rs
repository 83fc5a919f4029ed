//! The store as a whole, looked through beside the requests. Requests load what a commit of Egret
//! changed; a row that something else edited, added or removed has no part in that, and would count
//! only from the next start on.

use std::sync::atomic::Ordering;

use super::Vault;
use crate::vault::store::StoreUnavailable;

impl Vault {
    /// Verifies every row of the store. What does not verify is not used from then on, and an alarm is
    /// raised; where rows are missing or were added, nothing is used until they are as they were.
    ///
    /// It costs time in proportion to the store, on no request's way.
    ///
    /// # Errors
    /// When the store cannot be read, or is not what Egret wrote last.
    pub async fn audit(&self) -> Result<(), StoreUnavailable> {
        let found = self.store.audit().await;
        let mut loaded = self.loaded.lock().await;
        match found {
            Ok(audit) if loaded.foreign.is_none() && self.alarms.are(&audit) => Ok(()),
            Ok(_) => {
                loaded.foreign = None;
                let all = self.watch.catch_up(self.load_all(&mut loaded)).await;
                self.alarms.store_is_usable(all.as_ref());
                all
            }
            Err(error) => {
                if error.is_alarming() {
                    loaded.foreign = Some(error.clone());
                    // Each request asks for the reason from now on.
                    self.watch.forget();
                    self.alarms.store_is_usable(Err(&error));
                }
                Err(error)
            }
        }
    }

    /// How often something was loaded. Between two equal numbers, nothing was committed.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }
}
