//! Users, groups, and with whom a credential is shared.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::share_limits::ShareLimits;
use crate::substitution::slug::Slug;
use crate::vault::name::{BundleName, GroupName, InvalidName, Principal};

/// Longest display name or description, in characters.
pub const MAX_DISPLAY_NAME: usize = 100;

/// The name that means every user. No user and no group can have it.
pub const EVERYONE: &str = "everyone";

/// Most users of a group, groups of a store, and credentials of a bundle.
pub const MOST_MEMBERS: usize = 10_000;

/// What a user may do with what belongs to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May add users and groups, and revoke, disable and delete what belongs to others. May not use,
    /// read, rotate, widen or share it.
    Administrator,
    /// Owns credentials and uses what is shared.
    #[default]
    Member,
    /// Sees everything but values, and changes nothing.
    Auditor,
}

impl Role {
    /// The name used in commands and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Administrator => "administrator",
            Role::Member => "member",
            Role::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A role that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the roles are administrator, member and auditor")]
pub struct InvalidRole;

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        [Role::Administrator, Role::Member, Role::Auditor]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(InvalidRole)
    }
}

/// A person or a service that owns credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user is disabled: clients do not work, and what the user shares is not offered.
    #[serde(default)]
    pub disabled: bool,
    /// When the user was added, unix seconds.
    pub created: i64,
}

impl User {
    /// Whether this user may administer.
    pub fn is_active_administrator(&self) -> bool {
        self.role == Role::Administrator && !self.disabled
    }

    /// A member, as commands add one that they meet for the first time.
    pub fn member(created: i64) -> Self {
        Self {
            display_name: String::new(),
            role: Role::Member,
            disabled: false,
            created,
        }
    }
}

/// A user in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Since when, unix seconds.
    pub since: i64,
    /// When it ended. It is kept until the values of the group's shares are no longer searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Until when it holds, if the identity provider gave it; `None` for one that was given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped_until: Option<i64>,
}

impl Membership {
    /// A membership that begins now.
    pub fn new(since: i64, mapped_until: Option<i64>) -> Self {
        Self {
            since,
            ended: None,
            mapped_until,
        }
    }

    /// Whether it holds, and was given by the identity provider.
    pub fn is_mapped(&self) -> bool {
        self.ended.is_none() && self.mapped_until.is_some()
    }
}

/// Users with whom a credential can be shared at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// A remark for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The users in it.
    pub members: BTreeMap<Principal, Membership>,
    /// When it was added, unix seconds.
    pub created: i64,
}

impl Group {
    /// The users that are in the group now.
    pub fn present(&self) -> impl Iterator<Item = &Principal> {
        let present = |membership: &Membership| membership.ended.is_none();
        let members = self.members.iter();
        members.filter_map(move |(user, membership)| present(membership).then_some(user))
    }
}

/// With whom something is shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grantee {
    /// One user.
    User(Principal),
    /// The users of a group.
    Group(GroupName),
    /// Every user.
    Everyone,
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grantee::User(user) => f.pad(user.as_str()),
            Grantee::Group(group) => f.pad(&format!("group:{group}")),
            Grantee::Everyone => f.pad(EVERYONE),
        }
    }
}

/// A text that names no one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("share with a user (bob), a group (group:ops) or everyone; {0}")]
pub struct InvalidGrantee(#[from] InvalidName);

impl FromStr for Grantee {
    type Err = InvalidGrantee;

    fn from_str(text: &str) -> Result<Self, InvalidGrantee> {
        match text.split_once(':') {
            Some(("group", name)) => Ok(Grantee::Group(GroupName::parse(name)?)),
            None if text == EVERYONE => Ok(Grantee::Everyone),
            _ => Ok(Grantee::User(Principal::parse(text)?)),
        }
    }
}

impl Serialize for Grantee {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grantee {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Permission for others to use a credential, never to read or change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Who may use it.
    pub with: Grantee,
    /// What they may do of what the owner may.
    #[serde(default, skip_serializing_if = "ShareLimits::is_empty")]
    pub limits: ShareLimits,
    /// When it stops, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Since when, unix seconds.
    pub created: i64,
    /// When it was taken back. It is kept until the value is no longer searched for in what those
    /// users receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
}

impl Share {
    /// Whether it permits a use at `now` (unix seconds).
    pub fn usable(&self, now: i64) -> bool {
        self.ended.is_none() && self.until.is_none_or(|at| now < at)
    }
}

/// Which bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId {
    /// Who owns it.
    pub owner: Principal,
    /// Its name.
    pub name: BundleName,
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for BundleId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (owner, name) = text.split_once('/').ok_or(InvalidName)?;
        Ok(Self {
            owner: Principal::parse(owner)?,
            name: BundleName::parse(name)?,
        })
    }
}

/// Credentials of one owner under one name: shared as one, and chosen as one by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// By which slug a request names which credential of the owner.
    pub entries: BTreeMap<Slug, Slug>,
    /// With whom it is shared.
    pub shares: Vec<Share>,
    /// When it was added, unix seconds.
    pub created: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantee_is_a_user_a_group_or_everyone() {
        for text in ["bob", "group:ops", "everyone"] {
            let grantee: Grantee = text.parse().unwrap();
            assert_eq!(grantee.to_string(), text);
        }
        for text in ["", "group:", "group:A", "user:bob", "a b", "Everyone"] {
            assert!(text.parse::<Grantee>().is_err(), "{text}");
        }
        assert_eq!("everyone".parse(), Ok(Grantee::Everyone));
    }

    #[test]
    fn a_share_ends_when_it_is_taken_back_or_its_time_is_over() {
        let share = Share {
            with: Grantee::Everyone,
            limits: ShareLimits::default(),
            until: Some(100),
            created: 0,
            ended: None,
        };
        assert!(share.usable(99) && !share.usable(100));
        let ended = Share {
            ended: Some(50),
            ..share
        };
        assert!(!ended.usable(99));
    }

    #[test]
    fn unknown_members_of_stored_people_are_refused() {
        assert!(
            serde_json::from_str::<User>(r#"{"role":"member","created":1,"quota":3}"#).is_err()
        );
        let user = serde_json::from_str::<User>(r#"{"role":"member","created":1}"#).unwrap();
        assert_eq!(user, User::member(1));
    }
}
