//! From one generation to the next: what changed lately, for a principal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vault;
use super::directory::DirectoryIndex;
use super::recent::Name;
use crate::vault::model::Credential;
use crate::vault::name::Principal;

impl Vault {
    /// Those of [`Vault::live`] that changed after `generation`, with all the others there were at that
    /// time; `None` if that is not known any more. What was live and is no longer is not told.
    pub fn live_since(
        &self,
        principal: &Principal,
        generation: u64,
    ) -> Option<Vec<Arc<Credential>>> {
        let names = self.recent.since(generation)?;
        let directory = self.directory.load();
        let standing = directory.standing(principal);
        let bundled: HashSet<_> = directory
            .offered(&standing.searched, None)
            .map(|offer| (&offer.owner, &offer.slug))
            .collect();
        let reaches = |credential: &Credential| {
            let mut shares = credential.shares.iter();
            credential.owner == *principal
                || shares.any(|share| standing.searched.contains(&share.with))
                || bundled.contains(&(&credential.owner, &credential.slug))
        };
        let found = names.iter().filter_map(|(owner, slug)| {
            let own = self.own.get(owner)?;
            own.credentials.get(slug).cloned()
        });
        let live = found.filter(|one| one.searched() && reaches(one));
        Some(live.collect())
    }

    /// Those of [`Vault::all_live`] that changed after `generation`; `None` if that is not known any more.
    pub fn all_live_since(&self, generation: u64) -> Option<Vec<Arc<Credential>>> {
        let names = self.recent.since(generation)?;
        let found = names.iter().filter_map(|(owner, slug)| {
            let own = self.own.get(owner)?;
            own.credentials.get(slug).cloned()
        });
        Some(found.filter(|one| one.searched()).collect())
    }

    /// Remembers what is going to be another generation, and makes it one. `directory` is what the
    /// directory was before, if it is another one now.
    pub(super) fn advance(&self, names: Vec<Name>, directory: Option<&DirectoryIndex>) {
        let next = self.generation.load(Ordering::Acquire) + 1;
        match directory {
            Some(before) if !before.reaches_the_same(&self.directory.load()) => {
                self.recent.forget(next);
            }
            _ => self.recent.note(next, names),
        }
        self.generation.store(next, Ordering::Release);
    }
}
