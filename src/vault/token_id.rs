//! The names of action tokens, by which one is revoked before its time is over.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use serde::{Deserialize, Serialize};

/// The name of an action token, the claim `jti` (RFC 7519 section 4.1.7). It is no secret.
///
/// Egret's own say until when their token works, so that a revocation is kept as long as it is
/// needed: `6734a1c0-5f1d0c9a7be2`, the time in hexadecimal and a random number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(Arc<str>);

/// A text that names no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is named by 1 to 64 letters, digits and '.', '_', ':', '-'")]
pub struct InvalidTokenId;

/// An action token that does not work although its time is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedToken {
    /// Its name.
    pub id: TokenId,
    /// When it would have stopped working, unix seconds. The entry is dropped after that.
    pub until: i64,
}

/// JWTs of one client of an issuer that do not work although their time is not over. Nothing else is
/// stored of such a client. It is never dropped, because nobody knows for how long an issuer signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedIssued {
    /// Those that were issued until this time (unix seconds) do not work, nor those that do not say when
    /// they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<i64>,
    /// Those of these names do not work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<TokenId>,
}

impl RevokedIssued {
    /// Whether a JWT with this `jti` and `iat` is one of them.
    pub fn covers(&self, id: Option<&TokenId>, issued: Option<i64>) -> bool {
        let is_before = |before: i64| issued.is_none_or(|at| at <= before);
        self.before.is_some_and(is_before) || id.is_some_and(|id| self.ids.contains(id))
    }

    /// Revokes every JWT that was issued until now.
    pub fn revoke_all(&mut self, now: i64) {
        self.before = Some(now);
        self.ids.clear();
    }

    /// Revokes the JWT of this name; `false` if there are too many.
    pub fn revoke(&mut self, id: &TokenId) -> bool {
        if !self.ids.contains(id) {
            if self.ids.len() >= MOST_REVOKED {
                return false;
            }
            self.ids.push(id.clone());
        }
        true
    }
}

/// Most clients of issuers of whom JWTs are revoked.
pub const MOST_REVOKED_CLIENTS: i64 = 10_000;

/// Which action tokens of a client do not work any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The one of that name.
    One(TokenId),
    /// All that were minted until now.
    All,
}

/// Most action tokens of a client that are revoked one by one at a time.
pub const MOST_REVOKED: usize = 1_000;

/// Longest time that a token works which a client signed itself, in seconds, the skew of clocks
/// included.
pub const LONGEST_SELF_SIGNED: i64 = 24 * 60 * 60 + 2 * 60;

impl TokenId {
    /// A new name for a token that works until `expires` (unix seconds).
    pub fn generate(expires: i64) -> Result<Self, Unspecified> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random)?;
        let random = u64::from_be_bytes(random);
        Ok(Self(format!("{expires:x}-{random:016x}").into()))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Until when a token of this name could work: what the name says of Egret's own, and
    /// `longest` for one that a client signed, which can have any name.
    pub(in crate::vault) fn works_until(&self, longest: i64) -> i64 {
        let own = self.0.split_once('-').and_then(|(expires, _)| {
            let expires = i64::from_str_radix(expires, 16);
            expires.ok()
        });
        own.map_or(longest, |expires| expires.max(longest))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = InvalidTokenId;

    fn from_str(text: &str) -> Result<Self, InvalidTokenId> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTokenId)
        }
    }
}

impl TryFrom<String> for TokenId {
    type Error = InvalidTokenId;

    fn try_from(text: String) -> Result<Self, InvalidTokenId> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_until_when_its_token_works() {
        let id = TokenId::generate(2_000_000_000).unwrap();
        assert_ne!(id, TokenId::generate(2_000_000_000).unwrap());
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.works_until(1_900_000_000), 2_000_000_000);
    }

    #[test]
    fn jwts_are_revoked_by_name_and_by_time() {
        let mut revoked = RevokedIssued::default();
        let (one, other): (TokenId, TokenId) = ("one".parse().unwrap(), "other".parse().unwrap());
        assert!(!revoked.covers(None, None));
        assert!(revoked.revoke(&one) && revoked.revoke(&one));
        assert!(revoked.covers(Some(&one), Some(5)) && !revoked.covers(Some(&other), Some(5)));
        revoked.revoke_all(7);
        assert!(revoked.covers(Some(&other), Some(7)) && revoked.covers(None, None));
        assert!(!revoked.covers(Some(&one), Some(8)));
        for number in 0..MOST_REVOKED {
            assert!(revoked.revoke(&format!("n{number}").parse().unwrap()));
        }
        assert!(!revoked.revoke(&one));
    }

    #[test]
    fn a_name_that_a_client_chose_shortens_no_revocation() {
        for text in ["1-0", "run:8841", "zz-1", "-"] {
            let id: TokenId = text.parse().unwrap();
            assert_eq!(id.works_until(1_900_000_000), 1_900_000_000, "{text}");
        }
        for text in ["", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(text.parse::<TokenId>(), Err(InvalidTokenId), "{text}");
        }
    }
}
