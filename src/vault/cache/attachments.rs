//! What is put into requests by itself, for requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vault;
use super::offers::Own;
use crate::policy::destination::Destination;
use crate::substitution::slug::Slug;
use crate::vault::attachment::Attachable;
use crate::vault::name::Principal;

impl Vault {
    /// The rules of a principal about a destination, in the order in which they are tried. Where no
    /// principal has any, this reads one number.
    ///
    /// They are the principal's own: a rule of somebody who shares a credential would decide in whose
    /// name another person's requests are made.
    pub fn attachable(&self, principal: &Principal, destination: &Destination) -> Vec<Attachable> {
        let mut found = Vec::new();
        if self.attached.load(Ordering::Acquire) == 0 {
            return found;
        }
        let Some(own) = self.own.get(principal) else {
            return found;
        };
        for credential in own
            .attached
            .iter()
            .filter_map(|slug| own.credentials.get(slug))
        {
            for rule in &credential.attachments {
                if rule.hosts.iter().any(|host| host.matches(destination)) {
                    found.push((Arc::clone(credential), Arc::clone(rule)));
                }
            }
        }
        found.sort_by_key(|(_, rule)| rule.precedence());
        found
    }

    /// Keeps the list of what is attached.
    pub(super) fn note_attached(&self, own: &mut Own, slug: &Slug, is_attached: bool) {
        if is_attached {
            if own.attached.insert(slug.clone()) {
                self.attached.fetch_add(1, Ordering::Release);
            }
        } else if own.attached.remove(slug) {
            self.attached.fetch_sub(1, Ordering::Release);
        }
    }
}
