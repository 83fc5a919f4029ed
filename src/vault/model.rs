//! What the vault holds: credentials and clients.
//!
//! Everything here is metadata or ciphertext. A value in the clear is a
//! [`SecretBytes`](crate::secret::SecretBytes), never one of these types.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::grant::Grant;
use crate::substitution::slug::{Field, Slug};
use crate::vault::name::{ClientName, Principal};
use crate::vault::sealed_value::SealedValue;

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
#[derive(Debug)]
pub struct Credential {
    /// Who owns it.
    pub owner: Principal,
    /// Its public name.
    pub slug: Slug,
    /// The shape of its value.
    pub kind: Kind,
    /// Free text for people.
    pub description: String,
    /// Where it may be used.
    pub grant: Grant,
    /// Active or revoked.
    pub state: State,
    /// The version of the value, numbered from 1 and never reused, also not after a delete.
    pub version: u32,
    /// When it was created, unix seconds.
    pub created: i64,
    /// When its value was last replaced, unix seconds; the time of creation before that.
    pub rotated: i64,
    /// Who else may use it.
    pub shared_with: BTreeSet<Principal>,
    pub(in crate::vault) fields: SealedFields,
    /// The version that was replaced last, as long as the store keeps it (see [`OVERLAP`]). It is
    /// searched for and never used.
    pub(in crate::vault) previous: Option<ReplacedVersion>,
}

/// The sealed values of one version: one nameless value, or one for each field.
pub type SealedFields = Vec<(Option<Field>, SealedValue)>;

/// A version that is no longer in use.
#[derive(Debug)]
pub(in crate::vault) struct ReplacedVersion {
    pub(in crate::vault) version: u32,
    pub(in crate::vault) fields: SealedFields,
}

impl Credential {
    /// Whether its state and its expiry permit a use at `now` (unix seconds).
    pub fn usable(&self, now: i64) -> bool {
        self.state == State::Active && !self.grant.expired(now)
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
}

/// SHA-256 of a client token: all that is stored of it.
pub type TokenHash = [u8; 32];

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
    /// The store's revision at which it was added. It tells this client from an earlier one of that
    /// name, whose action tokens must not become valid again.
    pub enrolment: i64,
    pub(crate) token_hash: TokenHash,
}

impl Client {
    /// Whether its token is valid at `now` (unix seconds).
    pub fn usable(&self, now: i64) -> bool {
        self.expires.is_none_or(|at| now < at)
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
