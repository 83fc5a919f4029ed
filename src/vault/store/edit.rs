//! A change in progress, as the code that decides about it sees it: the present state, and what is
//! to become of it. A backend reads the one and writes the other, in one transaction.

use std::collections::BTreeMap;

use crate::substitution::slug::Slug;
use crate::vault::model::SealedFields;
use crate::vault::name::{GroupName, Principal};
use crate::vault::people::{Bundle, BundleId, Grantee, Group, User};
use crate::vault::record::{CredentialRecord, Policy};
use crate::vault::rights::Right;
use crate::vault::store::error::StoreError;
use crate::vault::store::outbox::Event;

/// Which credential is to be changed, and what the change needs.
#[derive(Clone, Copy, Debug)]
pub struct CredentialTarget<'a> {
    /// Who owns it.
    pub owner: &'a Principal,
    /// Its slug.
    pub slug: &'a Slug,
    /// What kind of change it is.
    pub right: Right,
    /// Someone whom the store has to know.
    pub with: Option<&'a Grantee>,
}

/// Credentials that go from one owner to another.
#[derive(Debug)]
pub struct Handover<'a> {
    /// Who owns them.
    pub owner: &'a Principal,
    /// Who is to own them.
    pub to: &'a Principal,
    /// Which, and the version that was opened of each.
    pub slugs: Vec<(Slug, u32)>,
    /// Whether the owner's clients act for the other one from now on.
    pub with_clients: bool,
}

/// One credential, and what is to become of it. Without an event nothing is written.
#[derive(Debug)]
pub struct CredentialEdit {
    /// The credential, or what is left of a deleted one; `None` if there never was one.
    pub record: Option<CredentialRecord>,
    /// The time of the change, unix seconds.
    pub now: i64,
    /// The sealed values of a new version.
    pub values: Option<NewVersion>,
    /// It takes something away, beside what its events say: then it has to be possible on a full disk.
    pub takes_away: bool,
    pub(super) events: Vec<PendingEvent>,
}

/// Sealed values with the number of their version.
#[derive(Debug)]
pub struct NewVersion {
    /// The number.
    pub number: u32,
    /// The values.
    pub fields: SealedFields,
}

/// An event that is recorded with the change.
#[derive(Debug)]
pub struct PendingEvent {
    pub(super) event: Event,
    pub(super) version: Option<u32>,
    pub(super) principal: Option<Principal>,
    pub(super) detail: String,
}

impl CredentialEdit {
    pub(super) fn new(record: Option<CredentialRecord>, now: i64) -> Self {
        Self {
            record,
            now,
            values: None,
            takes_away: false,
            events: Vec::new(),
        }
    }

    /// The credential, if it is not deleted.
    pub fn policy(&mut self, target: &CredentialTarget<'_>) -> Result<&mut Policy, StoreError> {
        match &mut self.record {
            Some(CredentialRecord::Live(policy)) => Ok(policy),
            _ => Err(StoreError::NotFound {
                owner: target.owner.clone(),
                slug: target.slug.clone(),
            }),
        }
    }

    /// Records that something was done with a version, with a detail for readers of the ledger.
    pub fn record_event(&mut self, event: Event, version: u32, detail: impl Into<String>) {
        self.events.push(PendingEvent {
            event,
            version: Some(version),
            principal: None,
            detail: detail.into(),
        });
    }

    /// Like [`CredentialEdit::record_event`], about a grantee.
    pub fn record_share(&mut self, event: Event, version: u32, with: &Grantee, detail: String) {
        let principal = match with {
            Grantee::User(user) => Some(user.clone()),
            Grantee::Group(_) | Grantee::Everyone => None,
        };
        self.events.push(PendingEvent {
            event,
            version: Some(version),
            principal,
            detail,
        });
    }
}

/// Which bundle is to be changed, and what the change needs.
#[derive(Clone, Copy, Debug)]
pub struct BundleTarget<'a> {
    /// The bundle.
    pub id: &'a BundleId,
    /// What kind of change it is.
    pub right: Right,
    /// Someone whom the store has to know.
    pub with: Option<&'a Grantee>,
    /// A credential of the same owner that has to exist.
    pub credential: Option<&'a Slug>,
}

/// A bundle, and what is to become of it. Without an event nothing is written.
#[derive(Debug)]
pub struct BundleEdit {
    /// The bundle; `None` if there is none, or if there is to be none any more.
    pub bundle: Option<Bundle>,
    /// The time of the change, unix seconds.
    pub now: i64,
    /// It takes something away, beside what its events say: then it has to be possible on a full disk.
    pub takes_away: bool,
    pub(super) events: Vec<PendingEvent>,
}

impl BundleEdit {
    pub(super) fn new(bundle: Option<Bundle>, now: i64) -> Self {
        Self {
            bundle,
            now,
            takes_away: false,
            events: Vec::new(),
        }
    }

    /// The bundle, if it exists.
    pub fn existing(&mut self, id: &BundleId) -> Result<&mut Bundle, StoreError> {
        let bundle = self.bundle.as_mut();
        bundle.ok_or_else(|| StoreError::BundleNotFound(id.clone()))
    }

    /// Records what was done.
    pub fn record_event(&mut self, event: Event, with: Option<&Grantee>, detail: String) {
        let principal = match with {
            Some(Grantee::User(user)) => Some(user.clone()),
            _ => None,
        };
        self.events.push(PendingEvent {
            event,
            version: None,
            principal,
            detail,
        });
    }
}

/// Users and groups, and what is to become of them. Without an event nothing is written.
#[derive(Debug)]
pub struct PeopleEdit {
    /// All users.
    pub users: BTreeMap<Principal, User>,
    /// All groups.
    pub groups: BTreeMap<GroupName, Group>,
    /// The time of the change, unix seconds.
    pub now: i64,
    /// It takes something away, beside what its events say: then it has to be possible on a full disk.
    pub takes_away: bool,
    pub(super) events: Vec<PendingEvent>,
}

impl PeopleEdit {
    pub(super) fn new(
        users: BTreeMap<Principal, User>,
        groups: BTreeMap<GroupName, Group>,
        now: i64,
    ) -> Self {
        Self {
            users,
            groups,
            now,
            takes_away: false,
            events: Vec::new(),
        }
    }

    /// A user that exists.
    pub fn user(&mut self, name: &Principal) -> Result<&mut User, StoreError> {
        let user = self.users.get_mut(name);
        user.ok_or_else(|| StoreError::UserNotFound(name.clone()))
    }

    /// A group that exists.
    pub fn group(&mut self, name: &GroupName) -> Result<&mut Group, StoreError> {
        let group = self.groups.get_mut(name);
        group.ok_or_else(|| StoreError::GroupNotFound(name.clone()))
    }

    /// Records what was done, about a user if it concerns one.
    pub fn record_event(
        &mut self,
        event: Event,
        principal: Option<&Principal>,
        detail: impl Into<String>,
    ) {
        self.events.push(PendingEvent {
            event,
            version: None,
            principal: principal.cloned(),
            detail: detail.into(),
        });
    }
}
