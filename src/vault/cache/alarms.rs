//! What was changed in the store by something that is not Egret: logged, counted, and reported once
//! to the ledger.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::substitution::slug::Slug;
use crate::vault::name::Principal;
use crate::vault::store::{Audit, StoreUnavailable};

/// Something in the store that does not verify, and is not used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// A credential.
    Credential(Principal, Slug),
    /// A user, a group or a client: `client ci`.
    Entry(String),
    /// The store as a whole.
    Store,
}

#[derive(Default)]
pub(super) struct Alarms {
    known: Mutex<BTreeSet<Alarm>>,
    fresh: Mutex<Vec<Alarm>>,
    /// Whether `fresh` holds something: each request asks.
    is_fresh: AtomicBool,
    count: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alarms {
    /// Takes note of whether a credential's entry verifies.
    pub(super) fn credential(&self, owner: &Principal, slug: &Slug, unverified: bool) {
        let alarm = Alarm::Credential(owner.clone(), slug.clone());
        if unverified {
            tracing::error!(
                %owner, %slug,
                "a credential was changed in the database by something that is not Egret; it is not used"
            );
        }
        self.set(alarm, unverified);
    }

    /// Takes note of the entries of the directory that do not verify.
    pub(super) fn directory(&self, unverified: &[String]) {
        let gone: Vec<Alarm> = lock(&self.known)
            .iter()
            .filter(|alarm| matches!(alarm, Alarm::Entry(name) if !unverified.contains(name)))
            .cloned()
            .collect();
        gone.into_iter().for_each(|alarm| self.set(alarm, false));
        for entry in unverified {
            tracing::error!(
                entry = ?entry,
                "an entry was changed in the database by something that is not Egret; it is not used"
            );
            self.set(Alarm::Entry(entry.clone()), true);
        }
    }

    /// Takes note of whether the store as a whole is usable. The caller logs the reason.
    pub(super) fn store_is_usable(&self, result: Result<&(), &StoreUnavailable>) {
        self.set(
            Alarm::Store,
            result.is_err_and(StoreUnavailable::is_alarming),
        );
    }

    /// Whether the entries that do not verify are those that are known already.
    pub(super) fn are(&self, audit: &Audit) -> bool {
        let known = lock(&self.known);
        let mut others = audit.credentials.len() + audit.entries.len();
        known.iter().all(|alarm| {
            let is_found = match alarm {
                Alarm::Credential(owner, slug) => {
                    audit.credentials.contains(&format!("{owner}/{slug}"))
                }
                Alarm::Entry(name) => audit.entries.contains(name),
                Alarm::Store => return true,
            };
            others = others.saturating_sub(1);
            is_found
        }) && others == 0
    }

    fn set(&self, alarm: Alarm, raised: bool) {
        let mut known = lock(&self.known);
        if raised {
            if known.insert(alarm.clone()) {
                lock(&self.fresh).push(alarm);
                self.is_fresh.store(true, Ordering::Release);
            }
        } else {
            known.remove(&alarm);
        }
        self.count.store(known.len() as u64, Ordering::Relaxed);
    }

    /// Alarms that nobody has taken yet.
    pub(super) fn take(&self) -> Vec<Alarm> {
        if !self.is_fresh.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.is_fresh.store(false, Ordering::Release);
        std::mem::take(&mut *lock(&self.fresh))
    }

    /// How many there are now.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
