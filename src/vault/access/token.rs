//! Personal API tokens: a program that acts for a user on the admin side.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hash::{SecretHash, hex};
use crate::vault::name::Principal;
use crate::vault::record::Record;

/// Longest name of a token, in characters.
pub const MAX_NAME: usize = 100;
/// Most tokens of one user.
pub const MOST_TOKENS: usize = 100;
/// Longest lifetime of a token, in seconds.
pub const MAX_LIFETIME: i64 = 366 * 24 * 3600;

/// What may be done with a token, within what its user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See what is the user's own, and what is shared with the user.
    Read,
    /// See the usage record and what belongs to others, too, as far as the role permits.
    Audit,
    /// Change things, too.
    Manage,
}

impl Scope {
    /// The name used in commands and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Audit => "audit",
            Scope::Manage => "manage",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A scope that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scopes are read, audit and manage")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        [Scope::Read, Scope::Audit, Scope::Manage]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(InvalidScope)
    }
}

/// The public name of a token: 16 hexadecimal digits, which are a part of the token and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiTokenId(String);

/// A text that is the name of no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a token has 16 hexadecimal digits")]
pub struct InvalidApiTokenId;

impl ApiTokenId {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, InvalidApiTokenId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidApiTokenId)
        }
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiTokenId {
    type Err = InvalidApiTokenId;

    fn from_str(text: &str) -> Result<Self, InvalidApiTokenId> {
        Self::parse(text)
    }
}

impl fmt::Display for ApiTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A personal API token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its public name.
    pub id: ApiTokenId,
    /// What the store keeps under it.
    pub record: TokenRecord,
    /// When it was last used, unix seconds, to within a minute. It is a note for people, and not
    /// authenticated.
    pub used: Option<i64>,
}

/// What is stored of a token under its id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// For whom it acts.
    pub user: Principal,
    /// What it is for, in the words of the user.
    pub name: String,
    /// What may be done with it.
    pub scope: Scope,
    hash: String,
    /// When it was made, unix seconds.
    pub created: i64,
    /// When it stops working, unix seconds.
    pub expires: i64,
}

impl TokenRecord {
    /// A token that is made now.
    pub fn new(
        user: &Principal,
        name: &str,
        scope: Scope,
        hash: &SecretHash,
        lifetime: Lifetime,
    ) -> Self {
        Self {
            user: user.clone(),
            name: name.to_owned(),
            scope,
            hash: hex(hash),
            created: lifetime.from,
            expires: lifetime.until,
        }
    }

    /// Whether it can be used at `now` (unix seconds).
    pub fn is_usable(&self, now: i64) -> bool {
        now < self.expires
    }

    /// Whether this is the token, and can be used at `now` (unix seconds).
    pub fn matches(&self, hash: &SecretHash, now: i64) -> bool {
        now < self.expires && self.hash == hex(hash)
    }
}

/// From when until when a token works, unix seconds.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Its beginning.
    pub from: i64,
    /// Its end.
    pub until: i64,
}

impl Record for TokenRecord {
    const KIND: &'static str = "token";
}

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("user", &self.user)
            .field("scope", &self.scope)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_until_it_expires() {
        let alice = Principal::parse("alice").unwrap();
        let lifetime = Lifetime {
            from: 10,
            until: 20,
        };
        let token = TokenRecord::new(&alice, "ci", Scope::Read, &[7; 32], lifetime);
        assert!(token.matches(&[7; 32], 19) && !token.matches(&[7; 32], 20));
        assert!(!token.matches(&[8; 32], 19));
        assert!(!format!("{token:?}").contains("0707"));
    }

    #[test]
    fn a_wider_scope_includes_the_narrower_ones() {
        assert!(Scope::Manage > Scope::Audit && Scope::Audit > Scope::Read);
        assert_eq!("manage".parse(), Ok(Scope::Manage));
        assert!("admin".parse::<Scope>().is_err());
    }

    #[test]
    fn ids_have_sixteen_digits() {
        assert!(ApiTokenId::parse("0123456789abcdef").is_ok());
        for bad in [
            "",
            "0123456789ABCDEF",
            "0123456789abcde",
            "0123456789abcdeg",
        ] {
            assert!(ApiTokenId::parse(bad).is_err(), "{bad}");
        }
    }
}
