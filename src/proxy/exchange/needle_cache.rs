//! What must not come back: the values a principal can use, and those that a request used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::observe::redact;
use crate::proxy::exchange::used::is_public;
use crate::proxy::runtime::sync::lock;
use crate::proxy::runtime::workers::PerWorker;
use crate::scrub::{Needles, is_weak};
use crate::substitution::slug::Reference;
use crate::vault::{Credential, Principal, Vault};

/// The needles of each principal, made when first asked for and made again when a credential
/// changes. Requests under way keep theirs.
///
/// Each worker has a list of its own, with the same values: holders of a shared list are counted
/// for each request.
#[derive(Default)]
pub struct NeedleCache(PerWorker<Mutex<Known>>);

/// With the generation of the vault that they were made of.
type Known = HashMap<Principal, (u64, Arc<Needles>)>;

impl NeedleCache {
    /// Everything that `principal` can use now, prepared for searching.
    pub fn needles(&self, vault: &Vault, principal: &Principal) -> Arc<Needles> {
        let generation = vault.generation();
        let known = |known: &Mutex<Known>| {
            let known = lock(known);
            let (made, needles) = known.get(principal)?;
            (*made == generation).then(|| Arc::clone(needles))
        };
        let own = self.0.own();
        if let Some(needles) = known(own) {
            return needles;
        }
        let needles = match self.0.all().find_map(known) {
            Some(others) => Arc::new(Needles::clone(&others)),
            None => {
                let needles = Arc::new(prepare(vault, vault.live(principal)));
                redact::know(principal.as_str(), generation, &needles);
                needles
            }
        };
        let entry = (generation, Arc::clone(&needles));
        lock(own).insert(principal.clone(), entry);
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
        let all = self.0.all();
        all.for_each(|known| lock(known).retain(|_, (made, _)| *made >= generation));
    }
}

/// The values of `credentials` that are secret. One that is a common word, or repeats the same few
/// characters, is searched for only where a request has sent it, as a short one is: ordinary pages
/// would be rewritten, and ordinary requests refused.
fn prepare(vault: &Vault, credentials: Vec<Arc<Credential>>) -> Needles {
    let values = credentials.iter().flat_map(|credential| {
        let named = vault.open_all(credential).map(|(field, value)| {
            let slug = credential.slug.clone();
            (Reference { slug, field }, value)
        });
        let secret = named.filter(|(name, value)| !is_public(name) && !is_weak(value));
        secret
            .map(|(name, value)| (name.to_string(), value))
            .collect::<Vec<_>>()
    });
    Needles::new(values)
}
