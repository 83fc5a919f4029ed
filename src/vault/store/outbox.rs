//! Administrative events that are not in the ledger yet (a transactional outbox).
//!
//! An event is written in the same transaction as the change it reports. A crash therefore never
//! leaves a change without a record, nor a record without a change. The process that writes the
//! ledger reads the events here and removes them once they are durable there, so each is delivered
//! at least once.

use crate::substitution::slug::{Field, Slug};
use crate::vault::name::{ClientName, Principal};

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A credential was added.
    CredentialCreated,
    /// It got a new value.
    CredentialRotated,
    /// It was switched off.
    CredentialRevoked,
    /// It was switched on again.
    CredentialRestored,
    /// It was removed with its ciphertext.
    CredentialDeleted,
    /// Its limits were changed.
    CredentialAllowed,
    /// Another principal may use it.
    CredentialShared,
    /// Another principal may no longer use it.
    CredentialUnshared,
    /// A client was added.
    ClientAdded,
    /// A client was removed.
    ClientRemoved,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 10] = [
        Event::CredentialCreated,
        Event::CredentialRotated,
        Event::CredentialRevoked,
        Event::CredentialRestored,
        Event::CredentialDeleted,
        Event::CredentialAllowed,
        Event::CredentialShared,
        Event::CredentialUnshared,
        Event::ClientAdded,
        Event::ClientRemoved,
    ];

    /// The `event` of the ledger line.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::CredentialCreated => "credential.created",
            Event::CredentialRotated => "credential.rotated",
            Event::CredentialRevoked => "credential.revoked",
            Event::CredentialRestored => "credential.restored",
            Event::CredentialDeleted => "credential.deleted",
            Event::CredentialAllowed => "credential.allowed",
            Event::CredentialShared => "credential.shared",
            Event::CredentialUnshared => "credential.unshared",
            Event::ClientAdded => "client.added",
            Event::ClientRemoved => "client.removed",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// One administrative event waiting for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminEvent {
    /// Its number in the outbox, ascending in the order of the commits.
    pub id: i64,
    /// When the change was made, unix microseconds.
    pub time: i64,
    /// What was changed.
    pub event: Event,
    /// The credential's slug.
    pub slug: Option<Slug>,
    /// The field, where one field was concerned.
    pub field: Option<Field>,
    /// The version in use after the change.
    pub version: Option<u32>,
    /// The credential's owner.
    pub owner: Option<Principal>,
    /// With whom it was shared, or whose credentials the client may use.
    pub principal: Option<Principal>,
    /// The client concerned.
    pub client: Option<ClientName>,
    /// Who did it, `cli:alice`.
    pub actor: String,
    /// A detail for readers; may be empty.
    pub detail: String,
}
