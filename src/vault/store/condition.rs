//! What a change expects of the object that it changes: that it is still as its maker saw it.

use std::sync::Arc;

use crate::substitution::slug::Slug;
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{BundleId, Group, User};
use crate::vault::record::{BundleRecord, ClientRecord, CredentialRecord, Record};

/// Something that the store keeps under a name, with a revision of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    kind: &'static str,
    id: Arc<str>,
}

impl ObjectName {
    fn of<T: Record>(id: impl Into<Arc<str>>) -> Self {
        Self {
            kind: T::KIND,
            id: id.into(),
        }
    }

    /// A credential.
    pub fn credential(owner: &Principal, slug: &Slug) -> Self {
        Self::of::<CredentialRecord>(format!("{owner}/{slug}"))
    }

    /// A user.
    pub fn user(name: &Principal) -> Self {
        Self::of::<User>(name.shared())
    }

    /// A group.
    pub fn group(name: &GroupName) -> Self {
        Self::of::<Group>(name.shared())
    }

    /// A bundle.
    pub fn bundle(id: &BundleId) -> Self {
        Self::of::<BundleRecord>(id.to_string())
    }

    /// A client.
    pub fn client(name: &ClientName) -> Self {
        Self::of::<ClientRecord>(name.shared())
    }

    /// What it is: `user`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its name in the store.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// That an object has this revision. Checked in the transaction of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The object.
    pub object: ObjectName,
    /// The store's revision with the object's last change.
    pub revision: i64,
}
