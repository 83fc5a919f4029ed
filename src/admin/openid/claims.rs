//! The claims of an ID token whose signature, issuer, audience and times are right (OpenID Connect
//! Core 1.0 section 3.1.3.7).

use std::collections::BTreeSet;

use serde_json::Value;

/// How far clocks may differ, in seconds.
const SKEW: i64 = 60;
/// Longest subject (OpenID Connect Core 1.0 section 2).
const MAX_SUBJECT: usize = 255;
/// Most groups that are read of a token.
const MOST_GROUPS: usize = 1000;

/// What an ID token says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) subject: String,
    /// When the person proved to be the person, unix seconds.
    pub(super) authenticated: Option<i64>,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("the token names no subject")]
    Subject,
    #[error("the token was not made for this sign-in (nonce)")]
    Nonce,
    #[error("the token was made for another client (azp)")]
    AuthorizedParty,
    #[error("the token is from the future, or has no time (iat)")]
    IssuedAt,
    #[error("the token does not say when the person signed in (auth_time), or it was too long ago")]
    Proof,
}

/// What a token has to agree with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// Since when the person has to have signed in, if it matters.
    pub(super) since: Option<i64>,
    pub(super) now: i64,
}

/// Checks what is left to check.
pub(super) fn check(claims: &Value, expected: &Expected<'_>) -> Result<Claims, ClaimError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject = text("sub").filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT);
    let subject = subject.ok_or(ClaimError::Subject)?;
    if text("nonce") != Some(expected.nonce) {
        return Err(ClaimError::Nonce);
    }
    let has_others = claims
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|audience| audience.len() > 1);
    let party = claims.get("azp");
    let is_ours = party.and_then(Value::as_str) == Some(expected.client_id);
    if (has_others || party.is_some()) && !is_ours {
        return Err(ClaimError::AuthorizedParty);
    }
    let issued = claims.get("iat").and_then(seconds);
    if issued.is_none_or(|at| at > expected.now + SKEW) {
        return Err(ClaimError::IssuedAt);
    }
    let authenticated = claims.get("auth_time").and_then(seconds);
    let authenticated = authenticated.map(|at| at.min(expected.now));
    if let Some(since) = expected.since
        && authenticated.is_none_or(|at| at < since - SKEW)
    {
        return Err(ClaimError::Proof);
    }
    Ok(Claims {
        subject: subject.to_owned(),
        authenticated,
    })
}

/// The texts of a claim that is a text or a list.
pub(super) fn texts(claims: &Value, name: &str) -> BTreeSet<String> {
    match claims.get(name) {
        Some(Value::String(one)) => BTreeSet::from([one.clone()]),
        Some(Value::Array(all)) => {
            let texts = all.iter().filter_map(Value::as_str);
            texts.take(MOST_GROUPS).map(str::to_owned).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// A `NumericDate`, which may have a fraction.
fn seconds(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)] // It saturates.
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'static> = Expected {
        client_id: "egret",
        nonce: "n",
        since: None,
        now: 1000,
    };

    fn with(name: &str, value: Value) -> Result<Claims, ClaimError> {
        let mut claims = json!({"sub": "s", "nonce": "n", "aud": "egret", "iat": 990});
        claims[name] = value;
        check(&claims, &EXPECTED)
    }

    #[test]
    fn each_claim_has_to_agree() {
        assert!(with("x", json!(1)).is_ok());
        assert!(with("azp", json!("egret")).is_ok());
        for (name, value, error) in [
            ("sub", json!(""), ClaimError::Subject),
            ("sub", json!(7), ClaimError::Subject),
            ("sub", json!("x".repeat(256)), ClaimError::Subject),
            ("nonce", json!("m"), ClaimError::Nonce),
            ("nonce", json!(null), ClaimError::Nonce),
            ("azp", json!("other"), ClaimError::AuthorizedParty),
            ("azp", json!(null), ClaimError::AuthorizedParty),
            (
                "aud",
                json!(["egret", "other"]),
                ClaimError::AuthorizedParty,
            ),
            ("iat", json!(1061), ClaimError::IssuedAt),
            ("iat", json!("990"), ClaimError::IssuedAt),
        ] {
            assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
        }
        assert!(with("iat", json!(1060)).is_ok());
    }

    #[test]
    fn a_proof_is_recent_and_said() {
        let expected = Expected {
            since: Some(900),
            ..EXPECTED
        };
        let at = |time: Value| {
            let claims = json!({"sub": "s", "nonce": "n", "iat": 990, "auth_time": time});
            check(&claims, &expected)
        };
        assert_eq!(at(json!(950)).unwrap().authenticated, Some(950));
        assert_eq!(at(json!(9999)).unwrap().authenticated, Some(1000));
        assert_eq!(at(json!(800)), Err(ClaimError::Proof));
        assert_eq!(at(json!(null)), Err(ClaimError::Proof));
    }

    #[test]
    fn groups_are_a_text_or_a_list() {
        let claims = json!({"one": "a", "all": ["b", 1, "a"], "none": 1});
        assert_eq!(texts(&claims, "one").len(), 1);
        assert_eq!(texts(&claims, "all").len(), 2);
        assert!(texts(&claims, "none").is_empty() && texts(&claims, "no").is_empty());
    }
}
