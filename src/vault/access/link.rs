//! One-time links, with which somebody sets a password and signs in.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::hash::{SecretHash, hex};
use crate::vault::name::Principal;
use crate::vault::record::Record;

/// How long a link can be used, in seconds.
pub const LIFETIME: i64 = 3600;

/// Which link. There is one for each purpose: a new one replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkId {
    /// Whoever has it becomes an administrator.
    Administrator,
    /// This user sets a password with it.
    User(Principal),
}

/// The text of [`LinkId::Administrator`]. No user has a `/` in the name.
const ADMINISTRATOR: &str = "/administrator";

impl LinkId {
    /// The name under which it is stored.
    pub fn as_str(&self) -> &str {
        match self {
            LinkId::Administrator => ADMINISTRATOR,
            LinkId::User(user) => user.as_str(),
        }
    }

    pub(in crate::vault) fn parse(text: &str) -> Option<Self> {
        if text == ADMINISTRATOR {
            return Some(Self::Administrator);
        }
        Principal::parse(text).ok().map(Self::User)
    }

    /// Whose password is set with it, if that is decided.
    pub fn user(&self) -> Option<&Principal> {
        match self {
            LinkId::Administrator => None,
            LinkId::User(user) => Some(user),
        }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkId::Administrator => f.write_str("for a new administrator"),
            LinkId::User(user) => write!(f, "for {user}"),
        }
    }
}

/// A link that was not used yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    hash: String,
    /// Until when it can be used, unix seconds.
    pub expires: i64,
}

impl Link {
    /// A link that is made now.
    pub fn new(hash: &SecretHash, now: i64) -> Self {
        Self {
            hash: hex(hash),
            expires: now.saturating_add(LIFETIME),
        }
    }

    /// Whether this is the link, and can be used at `now`.
    pub fn matches(&self, hash: &SecretHash, now: i64) -> bool {
        now < self.expires && self.hash == hex(hash)
    }
}

impl Record for Link {
    const KIND: &'static str = "link";
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_known_by_its_hash_for_an_hour() {
        let link = Link::new(&[7; 32], 1000);
        assert!(link.matches(&[7; 32], 1000 + LIFETIME - 1));
        assert!(!link.matches(&[7; 32], 1000 + LIFETIME));
        assert!(!link.matches(&[8; 32], 1000));
        assert!(!format!("{link:?}").contains("0707"));
    }

    #[test]
    fn no_user_has_the_name_of_the_administrators_link() {
        assert!(Principal::parse(ADMINISTRATOR).is_err());
        for id in [
            LinkId::Administrator,
            LinkId::User(Principal::parse("alice").unwrap()),
        ] {
            assert_eq!(LinkId::parse(id.as_str()), Some(id));
        }
    }
}
