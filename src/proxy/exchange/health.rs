//! Whether upstreams still take the values: after a run of 401 or 403 a credential counts as rejected,
//! until an answer shows that it is not.
//!
//! What an upstream answers is all that is looked at; nothing is sent to find out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;

use crate::clock::unix_seconds;
use crate::ledger::{Entry, Ledger, event};
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::runtime::sync::lock;
use crate::substitution::slug::Slug;
use crate::vault::{Credential, Principal, Vault};

/// So many refusals one after the other, with none but refusals between, make a credential rejected.
const RUN: u32 = 3;
/// Most credentials that are failing and remembered.
const MOST: usize = 16 * 1024;

/// What upstreams said about credentials.
#[derive(Default)]
pub struct CredentialHealth {
    /// How many refusals there were in a row, of those that have any.
    failing: Mutex<HashMap<Name, Run>>,
    /// How many are in there, for a look without the lock.
    count: AtomicU64,
    rejected: AtomicU64,
}

/// Refusals in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    length: u32,
    /// When the first one was, unix seconds.
    since: i64,
}

/// Owner, slug and version.
type Name = (Principal, Slug, u32);

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Rejected,
    Accepted,
    Nothing,
}

impl CredentialHealth {
    /// How many credentials are rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Owners and slugs of those that are rejected, or were before they were replaced.
    pub fn rejected_names(&self) -> Vec<(Principal, Slug)> {
        let failing = lock(&self.failing);
        let rejected = failing.iter().filter(|(_, run)| run.length >= RUN);
        let names = rejected.map(|((owner, slug, _), _)| (owner.clone(), slug.clone()));
        names.collect()
    }

    /// Since when the version of a credential that is in force is rejected, unix seconds; `None` if it is
    /// not.
    pub fn rejected_since(&self, credential: &Credential) -> Option<i64> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let failing = lock(&self.failing);
        let run = failing.get(&name(credential))?;
        (run.length >= RUN).then_some(run.since)
    }

    /// Whether an answer with this status is of interest. For most it is not.
    pub fn is_concerned(&self, status: StatusCode) -> bool {
        is_refusal(status) || self.count.load(Ordering::Relaxed) > 0
    }

    /// Takes note of an answer to a request that used values, or might have.
    pub fn note(&self, outcome: &Outcome, vault: &Vault, ledger: &Ledger, status: StatusCode) {
        let context = &**outcome.context();
        let used = outcome.used().credentials();
        if status == StatusCode::UNAUTHORIZED {
            say(context, &used);
        }
        // One that was replaced meanwhile says nothing about the version in force.
        let kept = used
            .into_iter()
            .filter(|credential| is_kept(credential, vault));
        for credential in kept {
            let change = match is_refusal(status) {
                true => self.refused(&credential),
                false if status.is_success() => self.accepted(&credential),
                false => Change::Nothing,
            };
            let event = match change {
                Change::Rejected => event::REJECTED,
                Change::Accepted => event::ACCEPTED,
                Change::Nothing => continue,
            };
            let line = Entry {
                slug: Some(credential.slug.as_str().into()),
                version: Some(credential.version),
                owner: Some(credential.owner.as_str().into()),
                status: Some(status.as_u16()),
                ..context.entry(event)
            };
            if ledger.append(&line).is_err() {
                tracing::error!(request = %context.id, "the state of a credential could not be recorded");
            }
        }
    }

    /// Forgets versions that are no longer used: nothing will show that they are taken again.
    pub fn forget_replaced(&self, vault: &Vault) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut failing = lock(&self.failing);
        failing.retain(|(owner, slug, version), _| vault.has_version(owner, slug, *version));
        let rejected = failing.values().filter(|run| run.length >= RUN).count();
        self.count.store(failing.len() as u64, Ordering::Relaxed);
        self.rejected.store(rejected as u64, Ordering::Relaxed);
    }

    fn refused(&self, credential: &Credential) -> Change {
        let mut failing = lock(&self.failing);
        let name = name(credential);
        if failing.len() >= MOST && !failing.contains_key(&name) {
            return Change::Nothing;
        }
        let run = failing.entry(name).or_insert_with(|| Run {
            length: 0,
            since: unix_seconds(),
        });
        run.length = run.length.saturating_add(1);
        let is_new = run.length == RUN;
        self.count.store(failing.len() as u64, Ordering::Relaxed);
        match is_new {
            true => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
                Change::Rejected
            }
            false => Change::Nothing,
        }
    }

    fn accepted(&self, credential: &Credential) -> Change {
        let mut failing = lock(&self.failing);
        let run = failing.remove(&name(credential)).unwrap_or_default();
        self.count.store(failing.len() as u64, Ordering::Relaxed);
        match run.length >= RUN {
            true => {
                self.rejected.fetch_sub(1, Ordering::Relaxed);
                Change::Accepted
            }
            false => Change::Nothing,
        }
    }
}

fn name(credential: &Credential) -> Name {
    let Credential {
        owner,
        slug,
        version,
        ..
    } = credential;
    (owner.clone(), slug.clone(), *version)
}

fn is_kept(credential: &Credential, vault: &Vault) -> bool {
    vault.has_version(&credential.owner, &credential.slug, credential.version)
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Says what Egret has put into a request that was answered with 401: the commonest reason is that it
/// was nothing.
fn say(context: &RequestContext, used: &[Arc<Credential>]) {
    let names = used.iter().map(|c| format!("{}@{}", c.slug, c.version));
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        tracing::info!(request = %context.id, destination = %context.origin, "the upstream answered 401, \
            and Egret had put no value into the request: it held no placeholder where one is searched for");
    } else {
        tracing::info!(request = %context.id, destination = %context.origin, put_in = names.join(" "),
            "the upstream answered 401 although Egret had put a value into the request; its `use` line \
            in the ledger says where");
    }
}
