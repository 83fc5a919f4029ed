//! Administrative events that are not in the ledger yet (a transactional outbox).
//!
//! An event is written in the same transaction as the change it reports. A crash therefore never
//! leaves a change without a record, nor a record without a change. The process that writes the
//! ledger reads the events here and removes them once they are durable there, so each is delivered
//! at least once.

use crate::substitution::slug::{Field, Slug};
use crate::vault::name::{CallerName, Principal};

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
    /// It got a value that waits for its promotion.
    CredentialStaged,
    /// The value that waited is in force.
    CredentialPromoted,
    /// The value before is in force again.
    CredentialRolledBack,
    /// A version's value was erased.
    CredentialDestroyed,
    /// Another user owns it.
    CredentialHandedOver,
    /// Another principal may use it.
    CredentialShared,
    /// Another principal may no longer use it.
    CredentialUnshared,
    /// It is put into requests by itself.
    CredentialAttached,
    /// It is no longer put into those requests.
    CredentialDetached,
    /// A text means it from now on.
    StandInAdded,
    /// A text no longer means it.
    StandInRevoked,
    /// A user was added.
    UserAdded,
    /// A user got another name for people or another role.
    UserChanged,
    /// A user, with clients and shares, was switched off.
    UserDisabled,
    /// A user was switched on again.
    UserEnabled,
    /// A group was added.
    GroupAdded,
    /// A group was removed.
    GroupRemoved,
    /// A user was put into a group.
    GroupJoined,
    /// A user was taken out of a group.
    GroupLeft,
    /// A bundle was added.
    BundleAdded,
    /// A credential was put into a bundle or taken out.
    BundleChanged,
    /// Others may use what is in a bundle.
    BundleShared,
    /// Others may no longer use what is in a bundle.
    BundleUnshared,
    /// A bundle was removed.
    BundleRemoved,
    /// A client asked for the owner's yes.
    ApprovalAsked,
    /// The owner said yes.
    ApprovalGranted,
    /// The owner said no.
    ApprovalDenied,
    /// A yes for one request was used up.
    ApprovalUsed,
    /// A question or an answer was taken away.
    ApprovalRemoved,
    /// A client asked for a credential that is not there.
    RequestAsked,
    /// Its owner declined.
    RequestDeclined,
    /// Its owner saved it.
    RequestAnswered,
    /// A rule about where clients may go was added.
    EgressAdded,
    /// A rule about where clients may go was removed.
    EgressRemoved,
    /// The operator took the store as it is.
    StoreAccepted,
    /// It was sealed again under another master key.
    StoreRekeyed,
    /// Another certificate authority was made, or its time was changed.
    AuthorityRotated,
    /// The former certificate authority was forgotten.
    AuthorityRetired,
    /// A backup was made.
    StoreBackedUp,
    /// The store was put back from a backup.
    StoreRestored,
    /// A one-time link was made, for a user or for a new administrator.
    UserInvited,
    /// A user signed in.
    UserSignedIn,
    /// Every session of a user was ended.
    UserSignedOut,
    /// A user got another password.
    UserPasswordChanged,
    /// The operator took the password of a user away.
    UserReset,
    /// Someone at the identity provider is a user from now on.
    UserLinked,
    /// A personal API token was made.
    TokenCreated,
    /// A personal API token was revoked.
    TokenRevoked,
    /// A client was added.
    ClientAdded,
    /// A client acts for another user.
    ClientChanged,
    /// A client was removed.
    ClientRemoved,
    /// An isolated program has a connection to a host that it was allowed, into which nobody looks.
    TunnelOpened,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 58] = [
        Event::CredentialCreated,
        Event::CredentialRotated,
        Event::CredentialRevoked,
        Event::CredentialRestored,
        Event::CredentialDeleted,
        Event::CredentialAllowed,
        Event::CredentialStaged,
        Event::CredentialPromoted,
        Event::CredentialRolledBack,
        Event::CredentialDestroyed,
        Event::CredentialHandedOver,
        Event::CredentialShared,
        Event::CredentialUnshared,
        Event::CredentialAttached,
        Event::CredentialDetached,
        Event::StandInAdded,
        Event::StandInRevoked,
        Event::UserAdded,
        Event::UserChanged,
        Event::UserDisabled,
        Event::UserEnabled,
        Event::GroupAdded,
        Event::GroupRemoved,
        Event::GroupJoined,
        Event::GroupLeft,
        Event::BundleAdded,
        Event::BundleChanged,
        Event::BundleShared,
        Event::BundleUnshared,
        Event::BundleRemoved,
        Event::ApprovalAsked,
        Event::ApprovalGranted,
        Event::ApprovalDenied,
        Event::ApprovalUsed,
        Event::ApprovalRemoved,
        Event::RequestAsked,
        Event::RequestDeclined,
        Event::RequestAnswered,
        Event::EgressAdded,
        Event::EgressRemoved,
        Event::StoreAccepted,
        Event::StoreRekeyed,
        Event::AuthorityRotated,
        Event::AuthorityRetired,
        Event::StoreBackedUp,
        Event::StoreRestored,
        Event::UserInvited,
        Event::UserSignedIn,
        Event::UserSignedOut,
        Event::UserPasswordChanged,
        Event::UserReset,
        Event::UserLinked,
        Event::TokenCreated,
        Event::TokenRevoked,
        Event::ClientAdded,
        Event::ClientChanged,
        Event::ClientRemoved,
        Event::TunnelOpened,
    ];

    /// Whether it always takes something away: a right, or a thing that takes up space. Where it depends on
    /// what was changed, the change says so itself.
    pub fn takes_away(self) -> bool {
        match self {
            Event::CredentialRevoked
            | Event::CredentialDeleted
            | Event::CredentialDestroyed
            | Event::CredentialUnshared
            | Event::CredentialDetached
            | Event::StandInRevoked
            | Event::UserDisabled
            | Event::UserSignedOut
            | Event::UserPasswordChanged
            | Event::UserReset
            | Event::GroupRemoved
            | Event::GroupLeft
            | Event::BundleUnshared
            | Event::BundleRemoved
            | Event::ApprovalDenied
            | Event::ApprovalRemoved
            | Event::EgressRemoved
            | Event::TokenRevoked
            | Event::ClientRemoved => true,
            Event::CredentialCreated
            | Event::CredentialRotated
            | Event::CredentialRestored
            | Event::CredentialAllowed
            | Event::CredentialStaged
            | Event::CredentialPromoted
            | Event::CredentialRolledBack
            | Event::CredentialHandedOver
            | Event::CredentialShared
            | Event::CredentialAttached
            | Event::StandInAdded
            | Event::UserAdded
            | Event::UserChanged
            | Event::UserEnabled
            | Event::UserInvited
            | Event::UserSignedIn
            | Event::UserLinked
            | Event::GroupAdded
            | Event::GroupJoined
            | Event::BundleAdded
            | Event::BundleChanged
            | Event::BundleShared
            | Event::ApprovalAsked
            | Event::ApprovalGranted
            | Event::ApprovalUsed
            | Event::RequestAsked
            | Event::RequestDeclined
            | Event::RequestAnswered
            | Event::EgressAdded
            | Event::StoreAccepted
            | Event::StoreRekeyed
            | Event::AuthorityRotated
            | Event::AuthorityRetired
            | Event::StoreBackedUp
            | Event::StoreRestored
            | Event::TokenCreated
            | Event::ClientAdded
            | Event::ClientChanged
            | Event::TunnelOpened => false,
        }
    }

    /// The `event` of the ledger line.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::CredentialCreated => "credential.created",
            Event::CredentialRotated => "credential.rotated",
            Event::CredentialRevoked => "credential.revoked",
            Event::CredentialRestored => "credential.restored",
            Event::CredentialDeleted => "credential.deleted",
            Event::CredentialAllowed => "credential.allowed",
            Event::CredentialStaged => "credential.staged",
            Event::CredentialPromoted => "credential.promoted",
            Event::CredentialRolledBack => "credential.rolled_back",
            Event::CredentialDestroyed => "credential.destroyed",
            Event::CredentialHandedOver => "credential.handed_over",
            Event::CredentialShared => "credential.shared",
            Event::CredentialUnshared => "credential.unshared",
            Event::CredentialAttached => "credential.attached",
            Event::CredentialDetached => "credential.detached",
            Event::StandInAdded => "credential.stand_in_added",
            Event::StandInRevoked => "credential.stand_in_revoked",
            Event::UserAdded => "user.added",
            Event::UserChanged => "user.changed",
            Event::UserDisabled => "user.disabled",
            Event::UserEnabled => "user.enabled",
            Event::GroupAdded => "group.added",
            Event::GroupRemoved => "group.removed",
            Event::GroupJoined => "group.joined",
            Event::GroupLeft => "group.left",
            Event::BundleAdded => "bundle.added",
            Event::BundleChanged => "bundle.changed",
            Event::BundleShared => "bundle.shared",
            Event::BundleUnshared => "bundle.unshared",
            Event::BundleRemoved => "bundle.removed",
            Event::ApprovalAsked => "approval.asked",
            Event::ApprovalGranted => "approval.granted",
            Event::ApprovalDenied => "approval.denied",
            Event::ApprovalUsed => "approval.used",
            Event::ApprovalRemoved => "approval.removed",
            Event::RequestAsked => "request.asked",
            Event::RequestDeclined => "request.declined",
            Event::RequestAnswered => "request.answered",
            Event::EgressAdded => "egress.added",
            Event::EgressRemoved => "egress.removed",
            Event::StoreAccepted => "store.accepted",
            Event::StoreRekeyed => "store.rekeyed",
            Event::AuthorityRotated => "ca.rotated",
            Event::AuthorityRetired => "ca.retired",
            Event::StoreBackedUp => "store.backed_up",
            Event::StoreRestored => "store.restored",
            Event::UserInvited => "user.invited",
            Event::UserSignedIn => "user.signed_in",
            Event::UserSignedOut => "user.signed_out",
            Event::UserPasswordChanged => "user.password_changed",
            Event::UserReset => "user.reset",
            Event::UserLinked => "user.linked",
            Event::TokenCreated => "token.created",
            Event::TokenRevoked => "token.revoked",
            Event::ClientAdded => "client.added",
            Event::ClientChanged => "client.changed",
            Event::ClientRemoved => "client.removed",
            Event::TunnelOpened => "tunnel.opened",
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
    /// The store's revision with the change; `None` for one that an earlier Egret made.
    pub revision: Option<i64>,
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
    pub client: Option<CallerName>,
    /// Who did it, `cli:alice`.
    pub actor: String,
    /// A detail for readers; may be empty.
    pub detail: String,
}

/// Events that wait for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Those that Egret wrote, in the order of the commits.
    pub events: Vec<AdminEvent>,
    /// The numbers of those that it did not write, or that were changed.
    pub unverified: Vec<i64>,
    /// Some are missing, or were added.
    pub is_incomplete: bool,
}

impl Waiting {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.unverified.is_empty() && !self.is_incomplete
    }
}
