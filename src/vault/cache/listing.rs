//! Credentials in the order of their names, so that a part of a long list is read without the rest.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;

/// The orders that a list may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// By owner, then by slug.
    Owner,
    /// By slug, then by owner.
    Slug,
}

/// Which credential a part of a list begins after.
pub type Place = (Principal, Slug);

/// A part of the list of credentials.
#[derive(Clone, Copy, Debug)]
pub struct ListPart<'a> {
    /// The order.
    pub order: ListOrder,
    /// Those of this owner alone.
    pub owner: Option<&'a Principal>,
    /// Those after this place alone.
    pub after: Option<&'a Place>,
    /// No more than these.
    pub most: usize,
}

/// All credentials, in each order.
#[derive(Default)]
pub(super) struct Listing(RwLock<Orders>);

#[derive(Default)]
pub(super) struct Orders {
    by_owner: BTreeMap<Principal, BTreeMap<Slug, Arc<Credential>>>,
    by_slug: BTreeMap<(Slug, Principal), Arc<Credential>>,
    /// Those that have an end, a time of rotation or a staged version: what may ask for attention.
    dated: BTreeMap<(Slug, Principal), Arc<Credential>>,
}

impl Listing {
    /// Takes a credential in, in place of the one of its name.
    pub(super) fn put(&self, credential: &Arc<Credential>) {
        let Credential { owner, slug, .. } = &**credential;
        let name = (slug.clone(), owner.clone());
        let mut orders = self.write();
        if is_dated(credential) {
            orders.dated.insert(name.clone(), Arc::clone(credential));
        } else {
            orders.dated.remove(&name);
        }
        orders.by_slug.insert(name, Arc::clone(credential));
        let own = orders.by_owner.entry(owner.clone()).or_default();
        own.insert(slug.clone(), Arc::clone(credential));
    }

    /// Takes a credential out.
    pub(super) fn remove(&self, owner: &Principal, slug: &Slug) {
        let name = (slug.clone(), owner.clone());
        let mut orders = self.write();
        orders.dated.remove(&name);
        orders.by_slug.remove(&name);
        if let Some(own) = orders.by_owner.get_mut(owner) {
            own.remove(slug);
            if own.is_empty() {
                orders.by_owner.remove(owner);
            }
        }
    }

    // Nothing in here panics half way, so that a poisoned lock holds what it should.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Orders> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Orders> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    /// How many there are, or how many of one owner.
    pub(super) fn count(&self, owner: Option<&Principal>) -> usize {
        match owner {
            None => self.by_slug.len(),
            Some(owner) => self.by_owner.get(owner).map_or(0, BTreeMap::len),
        }
    }

    /// Those of a part that fit, in their order. No more are looked at than it takes to find them.
    pub(super) fn first(
        &self,
        part: ListPart<'_>,
        fits: &mut impl FnMut(&Arc<Credential>) -> bool,
    ) -> Vec<Arc<Credential>> {
        match part.owner {
            Some(owner) => take(self.own(owner, part.begin_of(owner)), part, fits),
            None => take(self.all(part.order, part.after), part, fits),
        }
    }

    /// Those that have an end, a time of rotation or a staged version, by slug and owner.
    pub(super) fn dated(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.dated.values()
    }

    /// All of them in this order, after a place.
    fn all<'l>(
        &'l self,
        order: ListOrder,
        after: Option<&Place>,
    ) -> Box<dyn Iterator<Item = &'l Arc<Credential>> + 'l> {
        match (order, after) {
            (ListOrder::Owner, None) => Box::new(self.by_owner.values().flat_map(BTreeMap::values)),
            (ListOrder::Owner, Some((owner, slug))) => {
                let others = (Bound::Excluded(owner), Bound::Unbounded);
                let others = self.by_owner.range::<Principal, _>(others);
                let rest = others.flat_map(|(_, own)| own.values());
                Box::new(self.own(owner, Bound::Excluded(slug)).chain(rest))
            }
            (ListOrder::Slug, None) => Box::new(self.by_slug.values()),
            (ListOrder::Slug, Some((owner, slug))) => {
                let after = Bound::Excluded((slug.clone(), owner.clone()));
                let rest = self.by_slug.range((after, Bound::Unbounded));
                Box::new(rest.map(|(_, credential)| credential))
            }
        }
    }

    /// Those of one owner, by slug.
    fn own<'l>(
        &'l self,
        owner: &Principal,
        from: Bound<&Slug>,
    ) -> impl Iterator<Item = &'l Arc<Credential>> + use<'l> {
        let own = self.by_owner.get(owner);
        let rest = own.map(|own| own.range::<Slug, _>((from, Bound::Unbounded)));
        rest.into_iter().flatten().map(|(_, credential)| credential)
    }
}

/// Whether anything about a credential depends on the time, or waits.
fn is_dated(credential: &Credential) -> bool {
    credential.grant.expires.is_some()
        || credential.rotation_due().is_some()
        || credential.staged_version().is_some()
}

impl ListOrder {
    fn compare(self, one: (&Principal, &Slug), other: (&Principal, &Slug)) -> Ordering {
        match self {
            Self::Owner => one.cmp(&other),
            Self::Slug => (one.1, one.0).cmp(&(other.1, other.0)),
        }
    }
}

impl ListPart<'_> {
    /// Puts credentials in the order of the part, and leaves out those that are not of it.
    pub(super) fn cut(&self, mut all: Vec<Arc<Credential>>) -> Vec<Arc<Credential>> {
        all.retain(|one| self.has(one));
        all.sort_unstable_by(|one, other| self.order.compare(place(one), place(other)));
        all.truncate(self.most);
        all
    }

    fn has(&self, credential: &Credential) -> bool {
        let is_after = |(owner, slug): &Place| {
            let place = place(credential);
            self.order.compare(place, (owner, slug)).is_gt()
        };
        self.owner.is_none_or(|owner| credential.owner == *owner) && self.after.is_none_or(is_after)
    }

    /// From which slug on it has any of an owner.
    fn begin_of(&self, owner: &Principal) -> Bound<&Slug> {
        match self.after {
            Some((of, slug)) if self.order == ListOrder::Slug || of == owner => {
                Bound::Included(slug)
            }
            _ => Bound::Unbounded,
        }
    }
}

fn place(credential: &Credential) -> (&Principal, &Slug) {
    (&credential.owner, &credential.slug)
}

fn take<'l>(
    all: impl Iterator<Item = &'l Arc<Credential>>,
    part: ListPart<'_>,
    fits: &mut impl FnMut(&Arc<Credential>) -> bool,
) -> Vec<Arc<Credential>> {
    let fitting = all.filter(|one| part.has(one) && fits(one));
    fitting.take(part.most).cloned().collect()
}
