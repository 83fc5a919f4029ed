//! Action tokens: the permissions of a client, restricted to one action and signed.
//!
//! A token consists of unreserved characters (RFC 3986 section 2.3), so a proxy URL carries it
//! unencoded.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::label::parse_label;
use super::token::ACTION_PREFIX;
use crate::substitution::slug::Slug;
use crate::vault::keyring::TokenKey;
use crate::vault::model::Client;
use crate::vault::name::{ClientName, Principal};
use crate::vault::people::BundleId;
use crate::vault::token_id::TokenId;

/// The content of an action token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionClaims {
    /// Its name, by which it can be revoked.
    pub id: Option<TokenId>,
    /// The client that it was minted for.
    pub client: ClientName,
    /// Which client of that name: see [`Client::enrolment`].
    pub enrolment: i64,
    /// Whose credentials may be used.
    pub principal: Principal,
    /// What the requests are for.
    pub action: Arc<str>,
    /// Which execution.
    pub run: Option<Arc<str>>,
    /// The only slugs that may be used; `None` is no limit.
    pub slugs: Option<Arc<[Slug]>>,
    /// The only bundle that may be used; `None` is no limit.
    pub bundle: Option<Arc<BundleId>>,
    /// When it stops working, unix seconds.
    pub expires: i64,
    /// Whether the client signed it with its own key.
    pub is_self_signed: bool,
}

/// What an action token is to be for.
#[derive(Clone, Copy, Debug)]
pub struct ActionRequest<'a> {
    /// What the requests are for.
    pub action: &'a str,
    /// Which execution.
    pub run: Option<&'a str>,
    /// The only slugs that may be used; `None` is no limit.
    pub slugs: Option<&'a [Slug]>,
    /// The only bundle that may be used; `None` is no limit but that of the client.
    pub bundle: Option<&'a BundleId>,
    /// When it is to stop working, unix seconds.
    pub expires: i64,
}

/// Why there is no token of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// A control character, or too long.
    #[error("action and run are 1 to 128 printable ASCII characters")]
    Label,
    /// It would reach more than the client.
    #[error("the client is bound to another bundle, and a token is never wider than its client")]
    Bundle,
}

impl ActionClaims {
    /// Claims for one action of `client`, under the name `id`.
    pub fn new(
        client: &Client,
        id: TokenId,
        request: ActionRequest<'_>,
    ) -> Result<Self, InvalidRequest> {
        let label = |text: &str| parse_label(text.as_bytes()).ok_or(InvalidRequest::Label);
        let bundle = request.bundle;
        if bundle.is_some_and(|id| client.bundle.as_ref().is_some_and(|own| **own != *id)) {
            return Err(InvalidRequest::Bundle);
        }
        Ok(Self {
            id: Some(id),
            client: client.name.clone(),
            enrolment: client.enrolment,
            principal: client.principal.clone(),
            action: label(request.action)?,
            run: request.run.map(label).transpose()?,
            slugs: request.slugs.map(Arc::from),
            bundle: bundle.cloned().map(Arc::new),
            expires: request.expires,
            is_self_signed: false,
        })
    }
}

/// The claims as they are signed.
#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<TokenId>,
    client: ClientName,
    enrolment: i64,
    principal: Principal,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slugs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    exp: i64,
}

/// Signs claims: `ega_` payload `.` HMAC-SHA256 over everything before the dot, prefix included.
pub fn mint_action_token(key: &TokenKey, claims: &ActionClaims) -> Zeroizing<String> {
    let payload = Payload {
        jti: claims.id.clone(),
        client: claims.client.clone(),
        enrolment: claims.enrolment,
        principal: claims.principal.clone(),
        action: claims.action.to_string(),
        run: claims.run.as_deref().map(str::to_owned),
        slugs: claims
            .slugs
            .as_ref()
            .map(|s| s.iter().map(|slug| slug.to_string()).collect()),
        bundle: claims.bundle.as_ref().map(ToString::to_string),
        exp: claims.expires,
    };
    let json = serde_json::json!(payload).to_string();
    let mut token = Zeroizing::new(String::with_capacity(json.len() * 2 + 64));
    token.push_str("ega_");
    URL_SAFE_NO_PAD.encode_string(json, &mut token);
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// The claims of a token with a valid signature. The signature is verified before the payload is
/// parsed.
pub(super) fn verify_action_token(token: &[u8], key: &TokenKey) -> Option<ActionClaims> {
    let dot = token.iter().position(|byte| *byte == b'.')?;
    let (signed, signature) = (&token[..dot], &token[dot + 1..]);
    let payload = signed.strip_prefix(ACTION_PREFIX)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !key.verify(signed, &signature) {
        return None;
    }
    let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let slugs = match payload.slugs {
        Some(slugs) => Some(
            slugs
                .iter()
                .map(|s| Slug::parse(s).ok())
                .collect::<Option<_>>()?,
        ),
        None => None,
    };
    let bundle = match payload.bundle {
        Some(bundle) => Some(Arc::new(bundle.parse().ok()?)),
        None => None,
    };
    Some(ActionClaims {
        id: payload.jti,
        client: payload.client,
        enrolment: payload.enrolment,
        principal: payload.principal,
        action: payload.action.into(),
        run: payload.run.map(Arc::from),
        slugs,
        bundle,
        expires: payload.exp,
        is_self_signed: false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::keyring::Keyring;

    fn key(seed: u8) -> TokenKey {
        Keyring::from_master(&[seed; 32]).unwrap().token_key()
    }

    fn claims(action: &str, run: Option<&str>, slugs: Option<Vec<Slug>>) -> ActionClaims {
        ActionClaims {
            id: TokenId::generate(2_000_000_000).ok(),
            client: ClientName::parse("laptop").unwrap(),
            enrolment: 7,
            principal: Principal::parse("alice").unwrap(),
            action: action.into(),
            run: run.map(Into::into),
            slugs: slugs.map(Arc::from),
            bundle: run.map(|_| Arc::new("alice/work".parse().unwrap())),
            expires: 2_000_000_000,
            is_self_signed: false,
        }
    }

    fn unreserved(token: &str) -> bool {
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    }

    proptest! {
        #[test]
        fn a_minted_token_gives_its_claims_back(
            action in "[ -~]{1,128}",
            run in prop::option::of("[ -~]{1,128}"),
            slugs in prop::option::of(prop::collection::vec("[a-z][a-z0-9_-]{0,9}", 0..4)),
        ) {
            let slugs = slugs.map(|all| all.iter().map(|s| Slug::parse(s).unwrap()).collect());
            let claims = claims(&action, run.as_deref(), slugs);
            let token = mint_action_token(&key(1), &claims);
            prop_assert!(unreserved(&token));
            prop_assert_eq!(verify_action_token(token.as_bytes(), &key(1)), Some(claims));
            prop_assert_eq!(verify_action_token(token.as_bytes(), &key(2)), None);
        }

        #[test]
        fn no_byte_of_a_token_can_be_changed(at: prop::sample::Index, byte: u8) {
            let token = mint_action_token(&key(1), &claims("report", None, None));
            let mut changed = token.as_bytes().to_vec();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            prop_assert_eq!(verify_action_token(&changed, &key(1)), None);
        }

        #[test]
        fn arbitrary_bytes_are_no_token(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(verify_action_token(&bytes, &key(1)), None);
            prop_assert_eq!(verify_action_token(&[b"ega_", &bytes[..]].concat(), &key(1)), None);
        }
    }
}
