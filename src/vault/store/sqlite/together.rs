//! The transaction in which several changes are made, between two of them.

use std::fmt;
use std::sync::Arc;

use sqlx::{Sqlite, Transaction};
use tokio::sync::Mutex;

use crate::vault::policy_key::{Head, PolicyKey};
use crate::vault::store::error::{StoreError, StoreUnavailable};

/// The transaction between two of its changes.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Mutex<Option<Parts>>>);

/// A change without the one who makes it.
pub(super) struct Parts {
    pub(super) transaction: Transaction<'static, Sqlite>,
    pub(super) key: PolicyKey,
    pub(super) revision: i64,
    pub(super) head: Head,
    pub(super) time: i64,
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Together")
    }
}

impl Together {
    /// The transaction, for the next change. A change that failed did not give it back.
    pub(super) async fn take(&self) -> Result<Parts, StoreError> {
        let parts = self.0.lock().await.take();
        Ok(parts.ok_or_else(|| StoreUnavailable::new("an earlier change failed"))?)
    }

    pub(super) async fn put(&self, parts: Parts) {
        *self.0.lock().await = Some(parts);
    }
}
