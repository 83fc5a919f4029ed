//! The transaction in which several changes are made, between two of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{self, Arc, MutexGuard, PoisonError};

use sqlx::{Sqlite, Transaction};
use tokio::sync::Mutex;

use crate::vault::name::{GroupName, Principal};
use crate::vault::people::{Group, User};
use crate::vault::policy_key::{Head, PolicyKey};
use crate::vault::store::error::{StoreError, StoreUnavailable};

/// The transaction between two of its changes.
#[derive(Clone, Default)]
pub(super) struct Together(Arc<Shared>);

#[derive(Default)]
struct Shared {
    parts: Mutex<Option<Parts>>,
    has_erased: AtomicBool,
    people: sync::Mutex<Option<People>>,
}

/// All users and groups.
#[derive(Clone)]
pub(super) struct People {
    pub(super) users: BTreeMap<Principal, User>,
    pub(super) groups: BTreeMap<GroupName, Group>,
}

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
        let parts = self.0.parts.lock().await.take();
        Ok(parts.ok_or_else(|| StoreUnavailable::new("an earlier change failed"))?)
    }

    pub(super) async fn put(&self, parts: Parts) {
        *self.0.parts.lock().await = Some(parts);
    }

    /// Remembers that a change erased values: the log still holds them after the last one.
    pub(super) fn note_erased(&self) {
        self.0.has_erased.store(true, Ordering::Relaxed);
    }

    fn people(&self) -> MutexGuard<'_, Option<People>> {
        self.0.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users and groups, as the change before left them. Read for each of a thousand changes, they
    /// would take a thousand times as long.
    pub(super) fn take_people(&self) -> Option<People> {
        self.people().take()
    }

    /// Keeps the users and groups for the next change. `None` if they are no longer known.
    pub(super) fn keep_people(&self, people: Option<People>) {
        *self.people() = people;
    }

    pub(super) fn has_erased(&self) -> bool {
        self.0.has_erased.load(Ordering::Relaxed)
    }
}
