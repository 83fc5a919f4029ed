//! Who may use which credential under which slug, computed when something changes and not for each
//! request.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;

use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;
use crate::vault::people::{Grantee, Share};

/// What one principal owns.
#[derive(Default)]
pub(super) struct Own {
    pub(super) credentials: HashMap<Slug, Arc<Credential>>,
    /// Credentials whose entry in the store was not written by Egret.
    pub(super) unverified: HashSet<Slug>,
    /// Credentials that are attached to requests.
    pub(super) attached: BTreeSet<Slug>,
}

/// A credential that is offered to a grantee.
#[derive(Clone)]
pub(super) struct Offered {
    pub(super) credential: Arc<Credential>,
    pub(super) share: Arc<Share>,
}

/// Shared credentials by grantee and slug. A share with a group is one entry, however many users the
/// group has.
#[derive(Default)]
pub(super) struct Offers(DashMap<Grantee, HashMap<Slug, Vec<Offered>>>);

impl Offers {
    /// Takes in every share of a credential.
    pub(super) fn add(&self, credential: &Arc<Credential>) {
        for share in &credential.shares {
            let mut slugs = self.0.entry(share.with.clone()).or_default();
            let offers = slugs.entry(credential.slug.clone()).or_default();
            offers.push(Offered {
                credential: Arc::clone(credential),
                share: Arc::clone(share),
            });
        }
    }

    /// Takes every share of a credential out.
    pub(super) fn remove(&self, credential: &Credential) {
        for share in &credential.shares {
            let Some(mut slugs) = self.0.get_mut(&share.with) else {
                continue;
            };
            if let Some(offers) = slugs.get_mut(&credential.slug) {
                offers.retain(|offer| offer.credential.owner != credential.owner);
                if offers.is_empty() {
                    slugs.remove(&credential.slug);
                }
            }
        }
    }

    /// Everything that is offered to one of `grantees` under `slug`.
    pub(super) fn under(&self, grantees: &[Grantee], slug: &Slug) -> Vec<Offered> {
        let mut found = Vec::new();
        for grantee in grantees {
            let slugs = self.0.get(grantee);
            let offers = slugs.as_ref().and_then(|slugs| slugs.get(slug));
            found.extend(offers.into_iter().flatten().cloned());
        }
        found
    }

    /// Everything that is or was offered to one of `grantees`, each credential once, and none that
    /// `principal` owns.
    pub(super) fn all(&self, grantees: &[Grantee], principal: &Principal) -> Vec<Arc<Credential>> {
        let mut found: Vec<Arc<Credential>> = Vec::new();
        let mut known = HashSet::new();
        for grantee in grantees {
            let Some(slugs) = self.0.get(grantee) else {
                continue;
            };
            for offer in slugs.values().flatten() {
                let owner = &offer.credential.owner;
                if owner != principal && known.insert(Arc::as_ptr(&offer.credential)) {
                    found.push(Arc::clone(&offer.credential));
                }
            }
        }
        found
    }
}
