//! Why a slug names the credential that it names, for people.

use std::fmt;

use super::{Found, Vault};
use crate::error::Code;
use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;
use crate::vault::people::{BundleId, Share};

/// One credential of a slug, as one user meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who owns it.
    pub owner: Principal,
    /// How it reaches the user: `own`, or with whom it is shared.
    pub through: String,
    /// What becomes of it.
    pub standing: Standing,
}

/// Which credential a slug names for a user, and why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The slug.
    pub slug: Slug,
    /// The user.
    pub user: Principal,
    /// Whether the user is disabled, and may use nothing.
    pub disabled: bool,
    /// Every credential of that slug that reaches the user.
    pub candidates: Vec<Candidate>,
    /// The one that requests use.
    pub found: Found,
}

impl Explained {
    /// The code that a request gets instead of a value.
    pub fn code(&self) -> Option<&'static str> {
        match self.found {
            Found::One(_) => None,
            Found::None => Some(Code::CredentialNotFound.as_str()),
            Found::Ambiguous => Some(Code::CredentialAmbiguous.as_str()),
            Found::Unverified => Some(Code::StoreUnavailable.as_str()),
        }
    }
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests use it, within its limits.
    Used,
    /// The user's own credential of that slug hides it.
    Hidden,
    /// Another one is shared under the same slug, so that neither is used.
    Ambiguous,
    /// It is revoked.
    Revoked,
    /// Its time, or that of the share, is over.
    Expired,
    /// The share was taken back.
    Ended,
    /// Its owner is disabled.
    OwnerDisabled,
    /// Something other than Egret changed it in the store.
    Unverified,
}

impl Standing {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Used => "used",
            Standing::Hidden => "hidden",
            Standing::Ambiguous => "ambiguous",
            Standing::Revoked => "revoked",
            Standing::Expired => "expired",
            Standing::Ended => "ended",
            Standing::OwnerDisabled => "owner_disabled",
            Standing::Unverified => "unverified",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Used => "used",
            Standing::Hidden => "not used: the user's own credential of that slug comes first",
            Standing::Ambiguous => "not used: more than one is shared under that slug",
            Standing::Revoked => "not used: it is revoked",
            Standing::Expired => "not used: its time is over",
            Standing::Ended => "not used: the share was taken back",
            Standing::OwnerDisabled => "not used: its owner is disabled",
            Standing::Unverified => "not used: something other than Egret changed it in the store",
        })
    }
}

impl Vault {
    /// Every slug by which `principal` may name a credential, or that `bundle` has, in their order.
    /// Whether it can be used now, the lookup says.
    pub fn nameable(&self, principal: &Principal, bundle: Option<&BundleId>) -> Vec<Slug> {
        let mut slugs: Vec<Slug> = match bundle {
            Some(bundle) => {
                let directory = self.directory.load();
                let entries = directory.bundle(bundle).map(|bundle| bundle.entries.keys());
                entries.into_iter().flatten().cloned().collect()
            }
            None => self
                .live(principal)
                .iter()
                .map(|it| it.slug.clone())
                .collect(),
        };
        slugs.sort();
        slugs.dedup();
        slugs
    }

    /// Which credential `slug` names for `user` at `now` (unix seconds), and why.
    pub fn explained(&self, user: &Principal, slug: &Slug, now: i64) -> Explained {
        Explained {
            slug: slug.clone(),
            user: user.clone(),
            disabled: self.is_disabled(user),
            candidates: self.explain(user, slug, now),
            found: self.find(user, slug, now),
        }
    }

    /// Every credential of that slug that `principal` owns or is offered at `now` (unix seconds), and
    /// what becomes of it. What is used is what [`Vault::find`] finds.
    pub fn explain(&self, principal: &Principal, slug: &Slug, now: i64) -> Vec<Candidate> {
        let found = self.find(principal, slug, now);
        let mut candidates = Vec::new();
        let mut owns = false;
        if let Some(own) = self.own.get(principal) {
            let verified = own
                .credentials
                .get(slug)
                .map(|credential| state(credential, now));
            let unverified = || {
                own.unverified
                    .contains(slug)
                    .then_some(Standing::Unverified)
            };
            if let Some(standing) = verified.or_else(unverified) {
                owns = true;
                candidates.push(Candidate {
                    owner: principal.clone(),
                    through: "own".to_owned(),
                    standing,
                });
            }
        }
        let directory = self.directory.load();
        let standing = directory.standing(principal);
        for offer in self.offered(&directory, &standing.present, slug) {
            let owner = &offer.credential.owner;
            if owner == principal {
                continue;
            }
            let usable = share_state(&offer.share, now)
                .or_else(|| match state(&offer.credential, now) {
                    Standing::Used => None,
                    other => Some(other),
                })
                .or_else(|| {
                    directory
                        .is_disabled(owner)
                        .then_some(Standing::OwnerDisabled)
                });
            let standing = usable.unwrap_or(match found {
                _ if owns => Standing::Hidden,
                Found::Ambiguous => Standing::Ambiguous,
                _ => Standing::Used,
            });
            candidates.push(Candidate {
                owner: owner.clone(),
                through: offer.share.with.to_string(),
                standing,
            });
        }
        candidates
    }
}

fn state(credential: &Credential, now: i64) -> Standing {
    if credential.usable(now) {
        Standing::Used
    } else if credential.grant.expired(now) {
        Standing::Expired
    } else {
        Standing::Revoked
    }
}

fn share_state(share: &Share, now: i64) -> Option<Standing> {
    if share.ended.is_some() {
        Some(Standing::Ended)
    } else {
        (!share.usable(now)).then_some(Standing::Expired)
    }
}
