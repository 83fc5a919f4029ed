//! What must not come back: the values a principal can use, and those that a request used.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;

use super::lock;
use super::scrubbing::is_same;
use crate::observe::redact;
use crate::scrub::Needles;
use crate::secret::SecretBytes;
use crate::substitution::slug::Reference;
use crate::vault::{Credential, Principal, Vault};

/// The needles of each principal, made when first asked for and made anew when a credential
/// changes. Requests under way keep theirs.
#[derive(Default)]
pub struct Watchlist(DashMap<Principal, (u64, Arc<Needles>)>);

impl Watchlist {
    /// Everything that `principal` can use now, prepared for searching.
    pub fn needles(&self, vault: &Vault, principal: &Principal) -> Arc<Needles> {
        let generation = vault.generation();
        if let Some(kept) = self.0.get(principal)
            && kept.0 == generation
        {
            return Arc::clone(&kept.1);
        }
        let needles = Arc::new(prepare(vault, vault.live(principal)));
        redact::know(principal.as_str(), generation, &needles);
        let entry = (generation, Arc::clone(&needles));
        self.0.insert(principal.clone(), entry);
        needles
    }

    /// The values of all principals, prepared for searching. Opens every one of them: not for the
    /// request path.
    pub fn everyone(&self, vault: &Vault) -> Arc<Needles> {
        match vault.only_owner() {
            // The same values; and they are ready when the first request comes.
            Some(owner) => self.needles(vault, &owner),
            None => Arc::new(prepare(vault, vault.all_live())),
        }
    }

    /// Lets go of what was prepared before `generation`: it may hold values that are gone from the
    /// store, and a principal who asks for nothing any more would keep them in memory.
    pub fn forget_before(&self, generation: u64) {
        self.0.retain(|_, (made, _)| *made >= generation);
    }
}

fn prepare(vault: &Vault, credentials: Vec<Arc<Credential>>) -> Needles {
    let values = credentials.iter().flat_map(|credential| {
        vault
            .open_all(credential)
            .map(|(field, value)| {
                let slug = credential.slug.clone();
                let name = Reference { slug, field }.to_string();
                (name, value)
            })
            .collect::<Vec<_>>()
    });
    Needles::new(values)
}

/// What one request has used. A body that streams adds to it on the way.
#[derive(Default)]
pub struct Used {
    recorded: AtomicBool,
    values: Mutex<Vec<(String, Arc<SecretBytes>)>>,
    /// How many values there are, for a look without the lock.
    count: AtomicUsize,
    ignored: Mutex<Vec<String>>,
}

impl Used {
    /// A line of this request is on record, so a result must follow.
    pub fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// Whether a line of this request is on record.
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    /// A value is about to be sent, and may be echoed.
    pub fn add(&self, reference: &Reference, value: Arc<SecretBytes>) {
        let mut values = lock(&self.values);
        // A connection of many messages may send the same value for ever.
        if values.iter().any(|(_, known)| is_same(known, &value)) {
            return;
        }
        values.push((reference.to_string(), value));
        self.count.store(values.len(), Ordering::Release);
    }

    /// How many different values were sent so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// A placeholder travels literally.
    pub fn ignore(&self, reference: &Reference) {
        lock(&self.ignored).push(reference.to_string());
    }

    /// The placeholders of a streamed body that travelled literally.
    pub fn ignored(&self) -> Vec<String> {
        lock(&self.ignored).clone()
    }

    /// The values that were sent so far.
    pub fn values(&self) -> Vec<(String, Arc<SecretBytes>)> {
        lock(&self.values).clone()
    }
}
