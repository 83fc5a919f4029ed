//! Identities that programs have already: JWTs (RFC 7519) of configured issuers.
//!
//! A JWT is a bearer token like a client's own: whoever has it is the client until it expires.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::key_set::{InvalidKeys, KeySet, SKEW};
use super::label::parse_label;
use crate::vault::name::{BundleName, ISSUED_PREFIX, Principal};
use crate::vault::people::BundleId;
use crate::vault::token_id::TokenId;

/// Whose JWTs are accepted, and what their claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRules {
    /// The `iss` that a JWT has to have.
    pub name: String,
    /// The `aud` that it has to have.
    pub audience: String,
    /// Whose credentials it may use.
    pub principal: PrincipalRule,
    /// The claim that names the client.
    pub client_claim: String,
    /// The claim that names the action.
    pub action_claim: Option<String>,
    /// The only bundle that it may use.
    pub bundle: Option<BundleRule>,
    /// What comes before the claim in the name of a client, with a colon after it. Where there are
    /// several issuers, each has another.
    pub label: Option<String>,
}

/// Whose credentials a JWT may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalRule {
    /// Those of this principal.
    Fixed(Principal),
    /// Those of the principal that this claim names.
    Claim(String),
}

/// Which bundle is the only one that a JWT may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleRule {
    /// This one.
    Fixed(BundleId),
    /// The one that this claim names: `owner/name`, or one of the principal by its name.
    Claim(String),
}

/// An issuer with its public keys.
#[derive(Debug)]
pub struct Issuer {
    rules: Arc<IssuerRules>,
    keys: ArcSwap<KeySet>,
}

/// What a JWT with a valid signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuedClaims {
    rules: Arc<IssuerRules>,
    /// `jwt:` and the claim.
    pub(super) client: Arc<str>,
    pub(super) principal: Principal,
    pub(super) action: Option<Arc<str>>,
    /// The only bundle that may be used; `None` is no limit.
    pub(super) bundle: Option<Arc<BundleId>>,
    /// Its name, if it has one by which it can be revoked.
    pub(super) id: Option<TokenId>,
    /// When it was issued, unix seconds, if it says so.
    pub(super) issued: Option<i64>,
    /// When it stops to be accepted, unix seconds, the skew of clocks included.
    pub(super) expires: i64,
}

impl Issuer {
    /// An issuer whose public keys are in the text of a JWKS.
    pub fn new(rules: IssuerRules, keys: &[u8]) -> Result<Self, InvalidKeys> {
        Ok(Self {
            rules: Arc::new(rules),
            keys: ArcSwap::from_pointee(KeySet::parse(keys)?),
        })
    }

    /// An issuer whose public keys are not known yet. It verifies nothing until they are.
    pub fn without_keys(rules: IssuerRules) -> Self {
        Self {
            rules: Arc::new(rules),
            keys: ArcSwap::default(),
        }
    }

    /// Takes over the keys of another.
    pub fn take_keys_of(&self, other: &Issuer) {
        self.keys.store(other.keys.load_full());
    }

    /// Takes other keys in the place of the present ones. On an error these stay.
    pub fn replace_keys(&self, keys: &[u8]) -> Result<(), InvalidKeys> {
        self.keys.store(Arc::new(KeySet::parse(keys)?));
        Ok(())
    }

    /// Whether these are claims of this issuer under the rules of today.
    pub(super) fn made(&self, claims: &IssuedClaims) -> bool {
        Arc::ptr_eq(&self.rules, &claims.rules) || self.rules == claims.rules
    }

    /// What a JWT says, if it is one of this issuer for this audience and is valid now.
    pub(super) fn verify(&self, token: &[u8]) -> Option<IssuedClaims> {
        let keys = self.keys.load();
        let verified = keys.verify(token, &self.rules.name, &self.rules.audience);
        let claims = verified.ok()?;
        self.read(&claims)
    }

    fn read(&self, claims: &Value) -> Option<IssuedClaims> {
        let text = |name: &str| claim(claims, name)?.as_str();
        let named = text(&self.rules.client_claim)?;
        let client = match &self.rules.label {
            Some(label) => format!("{ISSUED_PREFIX}{label}:{named}"),
            None => format!("{ISSUED_PREFIX}{named}"),
        };
        let principal = match &self.rules.principal {
            PrincipalRule::Fixed(principal) => principal.clone(),
            PrincipalRule::Claim(name) => Principal::parse(text(name)?).ok()?,
        };
        let action = match &self.rules.action_claim {
            Some(name) => Some(parse_label(text(name)?.as_bytes())?),
            None => None,
        };
        let bundle = match &self.rules.bundle {
            Some(BundleRule::Fixed(bundle)) => Some(bundle.clone()),
            Some(BundleRule::Claim(name)) => Some(bundle(text(name)?, &principal)?),
            None => None,
        };
        let expires = seconds(claim(claims, "exp")?)?.saturating_add_unsigned(SKEW);
        Some(IssuedClaims {
            rules: Arc::clone(&self.rules),
            client: parse_label(client.as_bytes())?,
            principal,
            action,
            bundle: bundle.map(Arc::new),
            id: text("jti").and_then(|id| id.parse().ok()),
            issued: claim(claims, "iat").and_then(seconds),
            expires,
        })
    }
}

/// The bundle that a claim names.
fn bundle(text: &str, principal: &Principal) -> Option<BundleId> {
    if text.contains('/') {
        return text.parse().ok();
    }
    let (owner, name) = (principal.clone(), BundleName::parse(text).ok()?);
    Some(BundleId { owner, name })
}

/// A claim at the top level, or by a JSON pointer (RFC 6901).
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') {
        claims.pointer(name)
    } else {
        claims.get(name)
    }
}

/// A `NumericDate`, which may have a fraction (RFC 7519 section 2).
fn seconds(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)] // It saturates.
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests;
