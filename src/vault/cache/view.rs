//! The credentials that one principal can use.

use std::collections::HashMap;
use std::sync::Arc;

use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;

/// The credentials that one principal owns, and those that are shared with it.
#[derive(Default)]
pub(super) struct View {
    pub(super) own: HashMap<Slug, Arc<Credential>>,
    /// Several owners may share a credential of one slug.
    pub(super) shared: HashMap<Slug, Vec<Arc<Credential>>>,
}

impl View {
    pub(super) fn put_shared(&mut self, credential: &Arc<Credential>) {
        let offers = self.shared.entry(credential.slug.clone()).or_default();
        match offers
            .iter_mut()
            .find(|offer| offer.owner == credential.owner)
        {
            Some(offer) => *offer = Arc::clone(credential),
            None => offers.push(Arc::clone(credential)),
        }
    }

    pub(super) fn drop_shared(&mut self, owner: &Principal, slug: &Slug) {
        if let Some(offers) = self.shared.get_mut(slug) {
            offers.retain(|offer| offer.owner != *owner);
            if offers.is_empty() {
                self.shared.remove(slug);
            }
        }
    }
}
