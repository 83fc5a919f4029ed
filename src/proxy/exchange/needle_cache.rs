//! What must not come back: the values a principal can use, and those that a request used.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::observe::redact;
use crate::proxy::exchange::used::is_public;
use crate::proxy::runtime::sync::lock;
use crate::proxy::runtime::workers::PerWorker;
use crate::scrub::{Needles, is_weak};
use crate::secret::SecretBytes;
use crate::substitution::slug::Reference;
use crate::vault::{Credential, Principal, Vault};

/// From so many values on, what changed is added to what was prepared before. Fewer are prepared anew: that
/// takes no longer, and nothing that is gone is among them.
const MANY: usize = 500;

/// The needles of each principal, made when first asked for and made again when a credential
/// changes. Requests under way keep theirs.
///
/// Each worker has a list of its own, with the same values: holders of a shared list are counted
/// for each request.
#[derive(Default)]
pub struct NeedleCache {
    known: PerWorker<Mutex<Known>>,
    /// How many values were prepared for a request, for tests.
    #[cfg(test)]
    prepared: std::sync::atomic::AtomicUsize,
}

type Known = HashMap<Principal, Prepared>;

/// What is prepared of a principal.
#[derive(Clone)]
struct Prepared {
    /// The generation of the vault that it has everything of.
    generation: u64,
    needles: Arc<Needles>,
    /// What it was made from, and of which generation that is: everything that was there then.
    base: (u64, Arc<Needles>),
    /// Whether it was asked for since it was made anew.
    is_used: bool,
}

impl Prepared {
    fn whole(generation: u64, needles: Arc<Needles>, is_used: bool) -> Self {
        Self {
            generation,
            base: (generation, Arc::clone(&needles)),
            needles,
            is_used,
        }
    }

    /// Of another worker, with a list of its own.
    fn copied(&self) -> Self {
        Self {
            needles: Arc::new(Needles::clone(&self.needles)),
            ..self.clone()
        }
    }
}

impl NeedleCache {
    /// Everything that `principal` can use now, prepared for searching. Where a principal has many
    /// values, some that went out of use a moment ago may be among them still.
    pub fn needles(&self, vault: &Vault, principal: &Principal) -> Arc<Needles> {
        let generation = vault.generation();
        let own = self.known.own();
        if let Some(known) = lock(own).get_mut(principal)
            && known.generation == generation
        {
            known.is_used = true;
            return Arc::clone(&known.needles);
        }
        let made = match self.latest(principal) {
            Some(latest) if latest.generation == generation => latest.copied(),
            Some(latest) => self.followed(vault, principal, generation, &latest),
            None => self.whole(vault, principal, generation),
        };
        let needles = Arc::clone(&made.needles);
        lock(own).insert(principal.clone(), made);
        needles
    }

    /// What some worker has of a principal, of the latest state.
    fn latest(&self, principal: &Principal) -> Option<Prepared> {
        let all = self.known.all();
        let found = all.filter_map(|known| lock(known).get(principal).cloned());
        found.max_by_key(|known| (known.generation, known.base.0))
    }

    /// What is known of an earlier state, with what changed since.
    fn followed(
        &self,
        vault: &Vault,
        principal: &Principal,
        generation: u64,
        known: &Prepared,
    ) -> Prepared {
        let (since, base) = &known.base;
        let changed = match base.count() >= MANY {
            true => vault.live_since(principal, *since),
            false => None,
        };
        let Some(changed) = changed else {
            return self.whole(vault, principal, generation);
        };
        let values = values(vault, &changed);
        self.count(values.len());
        let needles = Arc::new(base.with_more(values));
        redact::know(principal.as_str(), generation, &needles);
        Prepared {
            generation,
            needles,
            base: (*since, Arc::clone(base)),
            is_used: true,
        }
    }

    fn whole(&self, vault: &Vault, principal: &Principal, generation: u64) -> Prepared {
        let needles = Arc::new(prepare(vault, vault.live(principal)));
        self.count(needles.count());
        redact::know(principal.as_str(), generation, &needles);
        Prepared::whole(generation, needles, true)
    }

    #[cfg(test)]
    fn count(&self, values: usize) {
        self.prepared
            .fetch_add(values, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(not(test))]
    fn count(&self, _: usize) {}

    /// The values of all principals, prepared for searching, and with them those of each principal that
    /// asked for some since this was called before. Opens every one of them: not for the request path.
    pub fn everyone(&self, vault: &Vault) -> Arc<Needles> {
        let only = vault.only_owner();
        let mut all = None;
        let mut principals = self.used();
        principals.extend(only.clone());
        for principal in principals {
            // Read first: what changes meanwhile is followed from here on.
            let generation = vault.generation();
            let needles = Arc::new(prepare(vault, vault.live(&principal)));
            let made = Prepared::whole(generation, Arc::clone(&needles), false);
            if only.as_ref() == Some(&principal) {
                // The same values; and they are ready when the first request comes.
                all = Some(needles);
            }
            lock(self.known.own()).insert(principal, made);
        }
        all.unwrap_or_else(|| Arc::new(prepare(vault, vault.all_live())))
    }

    /// The values that changed after `generation`, whosever they are, prepared for searching; `None` if it
    /// is not known any more which those are. Opens them: not for the request path.
    pub fn changed(&self, vault: &Vault, generation: u64) -> Option<Arc<Needles>> {
        let changed = vault.all_live_since(generation)?;
        Some(Arc::new(prepare(vault, changed)))
    }

    /// The principals that asked for theirs since they were made.
    fn used(&self) -> BTreeSet<Principal> {
        let all = self.known.all();
        let used = all.flat_map(|known| {
            let known = lock(known);
            let used = known.iter().filter(|(_, prepared)| prepared.is_used);
            used.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        used.collect()
    }

    /// Lets go of what was made from a state before `generation`: it may hold values that are gone from
    /// the store, and a principal who asks for nothing any more would keep them in memory.
    pub fn forget_before(&self, generation: u64) {
        let all = self.known.all();
        all.for_each(|known| lock(known).retain(|_, made| made.base.0 >= generation));
    }
}

/// The values of `credentials` that are secret. One that is a common word, or repeats the same few
/// characters, is searched for only where a request has sent it, as a short one is: ordinary pages
/// would be rewritten, and ordinary requests refused.
fn prepare(vault: &Vault, credentials: Vec<Arc<Credential>>) -> Needles {
    Needles::new(values(vault, &credentials))
}

/// The values of `credentials` that are searched for everywhere, with their names.
fn values(vault: &Vault, credentials: &[Arc<Credential>]) -> Vec<(String, Arc<SecretBytes>)> {
    let values = credentials.iter().flat_map(|credential| {
        let named = vault.open_all(credential).map(|(field, value)| {
            let slug = credential.slug.clone();
            (Reference { slug, field }, value)
        });
        named.filter(|(name, value)| !is_public(name) && !is_weak(value))
    });
    values
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::vault::fixture::*;
    use crate::vault::rotation::Retention;
    use crate::vault::{GroupName, Registrar};

    const OWNED: usize = MANY + 20;

    /// Alice owns many, and bob one.
    async fn filled(fixture: &Fixture) -> Registrar {
        let registrar = fixture.registrar().await;
        registrar.add_users(&["carol"]).await;
        let together = registrar.together(&actor(), None).await.unwrap();
        for number in 0..OWNED {
            let name = format!("key-{number}");
            together.add_secret("alice", &name, &value(number)).await;
        }
        together.add_secret("bob", "bobs", "what bob keeps 1").await;
        together.finish(&actor()).await.unwrap();
        registrar
    }

    fn value(number: usize) -> String {
        format!("value {number:05} of alice")
    }

    fn finds(needles: &Needles, text: &str) -> bool {
        !needles.find(text.as_bytes()).is_empty()
    }

    #[tokio::test]
    async fn one_change_among_many_prepares_one() {
        let fixture = Fixture::new();
        let registrar = filled(&fixture).await;
        let (alice, key) = (principal("alice"), slug("key-7"));
        let (cache, vault) = (NeedleCache::default(), fixture.vault().await);
        // What alice receives is searched for these, and how many values that took.
        let mut before = 0;
        let mut now = async || {
            vault.refresh().await.unwrap();
            let needles = cache.needles(&vault, &alice);
            let prepared = cache.prepared.load(Ordering::Relaxed);
            (needles, prepared - std::mem::replace(&mut before, prepared))
        };
        let (needles, prepared) = now().await;
        assert_eq!(prepared, OWNED);
        assert!(finds(&needles, &value(OWNED - 1)));
        assert_eq!(now().await.1, 0, "nothing changed");

        registrar
            .add_secret("alice", "new", "a newer value 1")
            .await;
        let (needles, prepared) = now().await;
        assert_eq!(prepared, 1);
        for text in ["a newer value 1", &value(0), &value(7)] {
            assert!(finds(&needles, text), "{text}");
        }
        let (keep, value_2) = (Retention::default(), secret("another value 2"));
        let rotated = registrar
            .rotate(&actor(), &alice, &key, value_2, keep)
            .await;
        rotated.unwrap();
        let (needles, prepared) = now().await;
        // Two that are new since everything was prepared, and the one that is still looked for.
        assert_eq!(prepared, 3);
        for text in ["a newer value 1", "another value 2", &value(7)] {
            assert!(finds(&needles, text), "{text}");
        }
        let (bob, bobs) = (principal("bob"), slug("bobs"));
        let shared = registrar.share(&actor(), &bob, &bobs, &with("alice")).await;
        shared.unwrap();
        let (needles, prepared) = now().await;
        assert_eq!(prepared, 4);
        assert!(finds(&needles, "what bob keeps 1"));
        // Somebody else's is none of alice's.
        registrar
            .add_secret("carol", "carols", "what carol has 1")
            .await;
        let (needles, prepared) = now().await;
        assert_eq!(prepared, 4);
        assert!(!finds(&needles, "what carol has 1"));
        // Nor is a user, but a group may be.
        registrar.add_users(&["dave"]).await;
        assert_eq!(now().await.1, 4);
        // The log has to know everybody's.
        let changed = cache.changed(&vault, 1).unwrap();
        for text in ["a newer value 1", "what carol has 1", "what bob keeps 1"] {
            assert!(finds(&changed, text), "{text}");
        }
        assert!(!finds(&changed, &value(0)));
        let ops = GroupName::parse("ops").unwrap();
        registrar.add_group(&actor(), &ops, "").await.unwrap();
        let joined = registrar.join_group(&actor(), &ops, &alice).await;
        joined.unwrap();
        assert!(now().await.1 > OWNED, "anything may be hers now");
    }

    #[tokio::test]
    async fn what_is_deleted_is_gone_once_everything_is_made_anew() {
        let fixture = Fixture::new();
        let registrar = filled(&fixture).await;
        let (alice, key) = (principal("alice"), slug("key-7"));
        let (cache, vault) = (NeedleCache::default(), fixture.vault().await);
        let first = Arc::downgrade(&cache.needles(&vault, &alice));
        registrar.delete(&actor(), &alice, &key).await.unwrap();
        vault.refresh().await.unwrap();
        // A request that comes first does not wait until everything is prepared.
        assert!(finds(&cache.needles(&vault, &alice), &value(8)));
        let generation = vault.generation();
        cache.everyone(&vault);
        cache.forget_before(generation);
        assert!(first.upgrade().is_none(), "nobody holds what is gone");
        let prepared = cache.prepared.load(Ordering::Relaxed);
        let needles = cache.needles(&vault, &alice);
        assert!(!finds(&needles, &value(7)) && finds(&needles, &value(8)));
        let again = cache.prepared.load(Ordering::Relaxed);
        assert_eq!(again, prepared, "it was ready");
        // A principal who asked for nothing since keeps nothing in memory.
        let kept = Arc::downgrade(&needles);
        drop(needles);
        for _ in 0..2 {
            registrar
                .add_secret("bob", "other", "what bob has 22")
                .await;
            vault.refresh().await.unwrap();
            let generation = vault.generation();
            cache.everyone(&vault);
            cache.forget_before(generation);
            let (bob, other) = (principal("bob"), slug("other"));
            registrar.delete(&actor(), &bob, &other).await.unwrap();
        }
        assert!(kept.upgrade().is_none());
        assert!(cache.latest(&alice).is_none());
    }
}
