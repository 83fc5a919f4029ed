//! What the vault holds: credentials and clients.
//!
//! Everything here is metadata or ciphertext. A value in the clear is a
//! [`SecretBytes`](crate::secret::SecretBytes), never one of these types.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::policy::attachment::Attachment;
use crate::policy::grant::Grant;
use crate::substitution::slug::{Field, Slug};
use crate::vault::client_proof::ClientProof;
use crate::vault::name::{ClientName, Principal};
use crate::vault::people::{BundleId, Share};
use crate::vault::sealed_value::SealedValue;
use crate::vault::stand_in::StandIn;
use crate::vault::token_id::{RevokedToken, TokenId};

/// Longest description of a credential, in characters.
pub const MAX_DESCRIPTION: usize = 500;

/// How long a replaced value is still searched for in answers, requests and logs, in seconds. An
/// upstream may still echo it: in a page it cached, or to a session that began before.
pub const OVERLAP: i64 = 24 * 60 * 60;

/// What shape a credential's value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One value, written `<<slug>>`.
    Secret,
    /// `<<slug.username>>` and `<<slug.password>>`. A bare `<<slug>>` names no value.
    Login,
    /// Any named fields. A bare `<<slug>>` names no value.
    Fields,
}

impl Kind {
    /// The name used in commands and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "secret",
            Kind::Login => "login",
            Kind::Fields => "fields",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A kind of credential that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kinds of credential are secret, login and fields")]
pub struct InvalidKind;

impl FromStr for Kind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        match text {
            "secret" => Ok(Kind::Secret),
            "login" => Ok(Kind::Login),
            "fields" => Ok(Kind::Fields),
            _ => Err(InvalidKind),
        }
    }
}

/// Whether a credential may be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It may be used.
    Active,
    /// Switched off until it is restored. For a client it does not exist.
    Revoked,
}

impl State {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Revoked => "revoked",
        }
    }
}

/// A credential as the proxy holds it: where it may be used, and its sealed values.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Who owns it.
    pub owner: Principal,
    /// Its public name.
    pub slug: Slug,
    /// The store's revision with its last change.
    pub revision: i64,
    /// The shape of its value.
    pub kind: Kind,
    /// Free text for people.
    pub description: String,
    /// Where it may be used.
    pub grant: Grant,
    /// Active or revoked.
    pub state: State,
    /// Until when the value of a revoked credential is searched for, unix seconds; `None` when that
    /// is over, or when it was never revoked.
    pub searched_until: Option<i64>,
    /// The version of the value, numbered from 1 and never reused, also not after a delete.
    pub version: u32,
    /// When it was created, unix seconds.
    pub created: i64,
    /// When its value was last replaced, unix seconds; the time of creation before that.
    pub rotated: i64,
    /// How old a value may become, in seconds, before it is due to be replaced.
    pub rotate_every: Option<i64>,
    /// Who else may use it, with what limits. Also those whose time is over, as long as the value is
    /// searched for in what they receive.
    pub shares: Vec<Arc<Share>>,
    /// Header fields that are set in its owner's requests by themselves.
    pub attachments: Vec<Arc<Attachment>>,
    /// Texts that mean it in its owner's requests.
    pub stand_ins: Vec<StandIn>,
    /// Every version that is stored, in the order of their numbers.
    pub versions: Vec<Version>,
    pub(in crate::vault) fields: Arc<SealedFields>,
    /// Versions that were replaced, as long as the store keeps them. They are searched for and never
    /// used.
    pub(in crate::vault) replaced: Vec<StoredVersion>,
    /// The version that waits for its promotion.
    pub(in crate::vault) staged: Option<StoredVersion>,
}

/// The sealed values of one version: one nameless value, or one for each field.
pub type SealedFields = Vec<(Option<Field>, SealedValue)>;

/// A stored version that is not in force.
#[derive(Clone, Debug)]
pub(in crate::vault) struct StoredVersion {
    pub(in crate::vault) version: u32,
    pub(in crate::vault) fields: Arc<SealedFields>,
}

/// What a version of a value is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Saved, and not used until it is promoted.
    Staged,
    /// In use.
    Current,
    /// Replaced: searched for in answers, and kept for a rollback if that was asked for.
    Replaced,
}

impl Phase {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Staged => "staged",
            Phase::Current => "current",
            Phase::Replaced => "replaced",
        }
    }
}

/// One version of a value, without the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// What it is there for.
    pub phase: Phase,
    /// When it was saved, unix seconds.
    pub created: i64,
    /// When a replaced version is erased, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<i64>,
    /// Whether `rollback` may put it in force again.
    #[serde(default)]
    pub rollback: bool,
}

impl Credential {
    /// Whether its state and its expiry permit a use at `now` (unix seconds).
    pub fn usable(&self, now: i64) -> bool {
        self.state == State::Active && !self.grant.expired(now)
    }

    /// Whether its values are searched for in what its users send and receive: as long as it may be
    /// used, and for a time after it was revoked.
    pub fn searched(&self) -> bool {
        self.state == State::Active || self.searched_until.is_some()
    }

    /// The same credential with the value that waits for its promotion, if there is one.
    pub fn with_staged_value(&self) -> Option<Credential> {
        let staged = self.staged.as_ref()?;
        Some(Credential {
            version: staged.version,
            fields: Arc::clone(&staged.fields),
            staged: None,
            ..self.clone()
        })
    }

    /// The number of the version that waits for its promotion.
    pub fn staged_version(&self) -> Option<u32> {
        self.staged.as_ref().map(|staged| staged.version)
    }

    /// When its value is due to be replaced, unix seconds.
    pub fn rotation_due(&self) -> Option<i64> {
        self.rotate_every
            .map(|every| self.rotated.saturating_add(every))
    }

    /// Whether `<<slug.field>>`, or `<<slug>>` for `None`, names a value of this credential.
    pub fn has_field(&self, field: Option<&Field>) -> bool {
        self.sealed_value(field).is_some()
    }

    /// The names of its fields; none for a credential with one bare value.
    pub fn field_names(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter_map(|(name, _)| name.as_ref())
    }

    /// What a placeholder can name: `None` for a bare value, or each field.
    pub fn references(&self) -> impl Iterator<Item = Option<&Field>> {
        self.fields.iter().map(|(name, _)| name.as_ref())
    }

    pub(in crate::vault) fn sealed_value(&self, field: Option<&Field>) -> Option<&SealedValue> {
        self.fields
            .iter()
            .find(|(name, _)| name.as_ref() == field)
            .map(|(_, value)| value)
    }
}

/// A credential that is to be added, without its value.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// Who will own it.
    pub owner: Principal,
    /// Its public name.
    pub slug: Slug,
    /// The shape of its value.
    pub kind: Kind,
    /// Free text for people, at most [`MAX_DESCRIPTION`] characters.
    pub description: String,
    /// Where it may be used; at least one host.
    pub grant: Grant,
    /// How old a value may become, in seconds, before it is due to be replaced.
    pub rotate_every: Option<i64>,
}

/// A program that may send requests for one principal.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: ClientName,
    /// Whose credentials it may use.
    pub principal: Principal,
    /// When it was added, unix seconds.
    pub created: i64,
    /// When its token stops working, unix seconds.
    pub expires: Option<i64>,
    /// The store's revision at which it was added, or at which all of its action tokens were revoked.
    /// It tells this client from an earlier one of that name, whose action tokens must not become
    /// valid again.
    pub enrolment: i64,
    /// The only bundle that it may use; `None` for everything of its principal.
    pub bundle: Option<Arc<BundleId>>,
    /// Whether it is a probe: it uses the value that waits for its promotion, where there is one.
    pub is_probe: bool,
    /// How it proves who it is.
    pub proof: ClientProof,
    /// Tokens that the client signed itself until this time (unix seconds) do not work.
    pub revoked_before: Option<i64>,
    /// Action tokens that do not work any more, in the order in which they were revoked.
    pub revoked: Vec<RevokedToken>,
}

impl Client {
    /// Whether its token is valid at `now` (unix seconds).
    pub fn usable(&self, now: i64) -> bool {
        self.expires.is_none_or(|at| now < at)
    }

    /// Whether an action token of that name was revoked.
    pub fn revoked(&self, id: &TokenId) -> bool {
        self.revoked.iter().any(|token| token.id == *id)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("principal", &self.principal)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
