//! What of the vault is only counted: how fresh it is, and how many credentials there are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Own, Vault};
use crate::substitution::slug::Slug;
use crate::vault::model::{Credential, State};
use crate::vault::name::Principal;
use crate::vault::store::Freshness;

impl Vault {
    /// Whether what is in memory is what the store holds.
    pub fn is_up_to_date(&self) -> bool {
        self.watch.check() == Freshness::Fresh
    }

    /// When a change of the store was last taken over, unix seconds.
    pub fn read_at(&self) -> i64 {
        self.read_at.load(Ordering::Relaxed)
    }

    /// How often a change of the store could not be taken over.
    pub fn read_failures(&self) -> u64 {
        self.read_failures.load(Ordering::Relaxed)
    }

    /// How many credentials are not revoked.
    pub fn active(&self) -> u64 {
        let is_active = |credential: &&Arc<Credential>| credential.state == State::Active;
        let of = |own: &Own| own.credentials.values().filter(is_active).count() as u64;
        self.own.iter().map(|own| of(&own)).sum()
    }

    /// Whether a version is in force, or waits for its promotion, of a credential that is not revoked.
    pub fn has_version(&self, owner: &Principal, slug: &Slug, version: u32) -> bool {
        let own = self.own.get(owner);
        let credential = own.as_ref().and_then(|own| own.credentials.get(slug));
        credential.is_some_and(|credential| {
            let is_kept =
                credential.version == version || credential.staged_version() == Some(version);
            is_kept && credential.state == State::Active
        })
    }

    /// How many active credentials are due to be rotated at `now` (unix seconds).
    pub fn due(&self, now: i64) -> u64 {
        let is_due = |credential: &&Arc<Credential>| {
            let due = credential.rotation_due().is_some_and(|at| at <= now);
            due && credential.state == State::Active
        };
        let of = |own: &Own| own.credentials.values().filter(is_due).count() as u64;
        self.own.iter().map(|own| of(&own)).sum()
    }

    /// How many clients that can be used at `now` were added before `time`.
    pub fn clients_before(&self, time: i64, now: i64) -> usize {
        let directory = self.directory.load();
        let clients = directory.clients.all();
        clients
            .filter(|client| client.created < time && client.usable(now))
            .count()
    }
}
