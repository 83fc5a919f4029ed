//! Which credential a slug means for a principal: one's own, then exactly one share, as far as the
//! operator's floor permits.

use std::sync::Arc;

use super::directory::DirectoryIndex;
use super::offers::Offered;
use super::{Found, Usable, Vault};
use crate::policy::destination::Destination;
use crate::policy::floor::{Floor, FloorViolation};
use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;
use crate::vault::people::{BundleId, Grantee, Share};

impl Vault {
    /// Finds the credential that `slug` names for `principal` at `now` (unix seconds): one that the
    /// principal owns, or else one that is shared with it.
    ///
    /// An own credential hides a shared one of that slug even while it is revoked or expired:
    /// revoking a credential must end its use, not substitute another value for it.
    pub fn find(&self, principal: &Principal, slug: &Slug, now: i64) -> Found {
        if let Some(own) = self.own.get(principal) {
            if let Some(credential) = own.credentials.get(slug) {
                if !credential.usable(now) {
                    return Found::None;
                }
                return Found::One(Usable {
                    credential: Arc::clone(credential),
                    shares: Vec::new(),
                });
            }
            if own.unverified.contains(slug) {
                return Found::Unverified;
            }
        }
        self.find_shared(principal, slug, now)
    }

    /// The only credential of that slug that is shared with `principal`. Which limits its shares
    /// have does not matter here: a share that does not permit a request is named in the refusal,
    /// and does not make room for another credential in silence.
    pub(super) fn find_shared(&self, principal: &Principal, slug: &Slug, now: i64) -> Found {
        let directory = self.directory.load();
        let standing = directory.standing(principal);
        let mut found: Option<Usable> = None;
        for offer in self.offered(&directory, &standing.present, slug) {
            let (credential, share) = (offer.credential, offer.share);
            let is_offered = credential.owner != *principal
                && credential.usable(now)
                && share.usable(now)
                && !directory.is_disabled(&credential.owner);
            if !is_offered {
                continue;
            }
            match &mut found {
                Some(usable) if Arc::ptr_eq(&usable.credential, &credential) => {
                    usable.shares.push(share);
                }
                Some(_) => return Found::Ambiguous,
                None => {
                    let shares = vec![share];
                    found = Some(Usable { credential, shares });
                }
            }
        }
        found.map_or(Found::None, Found::One)
    }

    /// Everything that is offered to one of `grantees` under `slug`, by itself or in a bundle.
    pub(super) fn offered(
        &self,
        directory: &DirectoryIndex,
        grantees: &[Grantee],
        slug: &Slug,
    ) -> Vec<Offered> {
        let mut offers = self.offers.under(grantees, slug);
        for offer in directory.offered(grantees, Some(slug)) {
            let own = self.own.get(&offer.owner);
            let credential = own
                .as_ref()
                .and_then(|own| own.credentials.get(&offer.slug));
            offers.extend(credential.map(|credential| Offered {
                credential: Arc::clone(credential),
                share: Arc::clone(&offer.share),
            }));
        }
        offers
    }

    /// Every credential that is or was offered to one of `grantees`, and that `principal` does not own.
    pub(super) fn offered_at_all(
        &self,
        directory: &DirectoryIndex,
        grantees: &[Grantee],
        principal: &Principal,
    ) -> Vec<Arc<Credential>> {
        let mut all = self.offers.all(grantees, principal);
        for offer in directory.offered(grantees, None) {
            let own = self
                .own
                .get(&offer.owner)
                .filter(|_| offer.owner != *principal);
            let credential = own
                .as_ref()
                .and_then(|own| own.credentials.get(&offer.slug));
            let is_known = |c: &Arc<Credential>| all.iter().any(|known| Arc::ptr_eq(known, c));
            let fresh = credential
                .filter(|credential| !is_known(credential))
                .cloned();
            all.extend(fresh);
        }
        all
    }

    /// Finds the credential that `slug` names in a bundle, for a client that is bound to it. Nothing
    /// else can be named then.
    pub fn find_in_bundle(
        &self,
        principal: &Principal,
        id: &BundleId,
        slug: &Slug,
        now: i64,
    ) -> Found {
        let directory = self.directory.load();
        let Some(bundle) = directory.bundle(id) else {
            return Found::None;
        };
        let shares: Vec<_> = if id.owner == *principal {
            Vec::new()
        } else {
            let standing = directory.standing(principal);
            let reaches =
                |share: &&Share| standing.present.contains(&share.with) && share.usable(now);
            let shares = bundle.shares.iter().filter(reaches);
            shares.cloned().map(Arc::new).collect()
        };
        let permitted = id.owner == *principal || !shares.is_empty();
        let Some(slug) = bundle.entries.get(slug).filter(|_| permitted) else {
            return Found::None;
        };
        if directory.is_disabled(&id.owner) {
            return Found::None;
        }
        match self.find(&id.owner, slug, now) {
            Found::One(Usable { credential, .. }) if credential.owner == id.owner => {
                Found::One(Usable { credential, shares })
            }
            Found::Unverified => Found::Unverified,
            _ => Found::None,
        }
    }

    /// Puts the operator's floor in force from the next request on.
    pub fn set_floor(&self, floor: Floor) {
        self.floor.store(Arc::new(floor));
    }

    /// Whether the operator's floor permits a use at `now` (unix seconds), through the shares that it
    /// leaves.
    pub fn check_floor(
        &self,
        usable: &mut Usable,
        destination: &Destination,
        now: i64,
    ) -> Result<(), FloorViolation> {
        let floor = self.floor.load();
        if floor.is_absent() {
            return Ok(());
        }
        let credential = &usable.credential;
        let (owner, grant) = (credential.owner.as_str(), &credential.grant);
        floor.check_use(owner, grant, credential.rotated, destination, now)?;
        if !floor.share_with_everyone && !usable.shares.is_empty() {
            usable
                .shares
                .retain(|share| share.with != Grantee::Everyone);
            if usable.shares.is_empty() {
                return Err(FloorViolation::Everyone);
            }
        }
        Ok(())
    }

    /// Whether a user may do nothing.
    pub fn is_disabled(&self, principal: &Principal) -> bool {
        self.directory.load().is_disabled(principal)
    }

    /// Whether one of the credentials that `principal` can use at that time is like this.
    pub fn any_usable(
        &self,
        principal: &Principal,
        now: i64,
        mut is_it: impl FnMut(&Credential) -> bool,
    ) -> bool {
        if let Some(own) = self.own.get(principal) {
            let mut credentials = own.credentials.values();
            // What an unverified one permits is not known; a request that names it is refused.
            if !own.unverified.is_empty() || credentials.any(|c| c.usable(now) && is_it(c)) {
                return true;
            }
        }
        let directory = self.directory.load();
        let standing = directory.standing(principal);
        let shared = self.offered_at_all(&directory, &standing.present, principal);
        shared.iter().any(|c| c.usable(now) && is_it(c))
    }
}
