//! Action tokens that a client signs itself: JWTs (RFC 7519) with EdDSA, verified with the public
//! key that the client registered. No secret of such a client is stored here.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode};
use serde::{Deserialize, Deserializer};

use super::action_token::ActionClaims;
use super::label::parse_label;
use super::token::looks_like_jwt;
use crate::clock;
use crate::substitution::slug::Slug;
use crate::vault::client_proof::{ClientProof, PublicKey};
use crate::vault::model::Client;
use crate::vault::name::ClientName;
use crate::vault::token_id::{LONGEST_SELF_SIGNED, TokenId};

/// How far the clocks of client and proxy may differ, in seconds.
const SKEW: u64 = 60;

/// What a client signs. Unknown claims are refused: one that narrows must not be ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    #[serde(rename = "aud")]
    _audience: serde::de::IgnoredAny,
    iat: i64,
    exp: i64,
    #[serde(default, rename = "nbf")]
    _not_before: Option<i64>,
    #[serde(default)]
    jti: Option<TokenId>,
    #[serde(default, rename = "sub")]
    _subject: Option<String>,
    action: String,
    #[serde(default)]
    run: Option<String>,
    #[serde(default, deserialize_with = "slugs")]
    slugs: Option<Vec<Slug>>,
    #[serde(default)]
    bundle: Option<String>,
}

fn slugs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Slug>>, D::Error> {
    let slugs = Option::<Vec<String>>::deserialize(deserializer)?;
    let parse = |slug: &String| Slug::parse(slug).map_err(serde::de::Error::custom);
    slugs
        .map(|slugs| slugs.iter().map(parse).collect())
        .transpose()
}

/// The claims of a token for `audience` that the client signed which its `iss` names. `client` finds
/// a client by name.
///
/// The signature is verified before anything but `iss` is believed. The claims are bound to the
/// client of this moment: when it is removed, or its action tokens are revoked, they are worth
/// nothing, although the key may be the same again later.
pub(super) fn verify(
    token: &[u8],
    audience: &str,
    client: impl FnOnce(&ClientName) -> Option<Arc<Client>>,
) -> Option<ActionClaims> {
    if !looks_like_jwt(token) {
        return None;
    }
    let client = client(&named_issuer(token)?)?;
    let ClientProof::Key(key) = &client.proof else {
        return None;
    };
    let claims = decode::<Claims>(token, &decoding_key(key)?, &validation(audience)).ok()?;
    read(claims.claims, &client)
}

/// The client that the token says it is of.
fn named_issuer(token: &[u8]) -> Option<ClientName> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let Issuer { iss } = dangerous::insecure_decode_claims(token).ok()?;
    ClientName::parse(&iss).ok()
}

fn decoding_key(key: &PublicKey) -> Option<DecodingKey> {
    DecodingKey::from_ed_components(&key.base64url()).ok()
}

fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.leeway = SKEW;
    validation.validate_nbf = true;
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

fn read(claims: Claims, client: &Client) -> Option<ActionClaims> {
    let skew = i64::try_from(SKEW).ok()?;
    let expires = claims.exp.checked_add(skew)?;
    // A key that signed for ever once would be as good as a token that is stored.
    let longest = claims.iat.checked_add(LONGEST_SELF_SIGNED)?;
    // One that was signed for later would outlive the revocation of all that were signed until now.
    let latest = clock::unix_seconds().checked_add(skew)?;
    let is_revoked = client.revoked_before.is_some_and(|at| claims.iat <= at);
    if claims.iss != client.name.as_str() || expires > longest || claims.iat > latest || is_revoked
    {
        return None;
    }
    let run = match &claims.run {
        Some(run) => Some(parse_label(run.as_bytes())?),
        None => None,
    };
    let bundle = match &claims.bundle {
        Some(bundle) => Some(Arc::new(bundle.parse().ok()?)),
        None => None,
    };
    Some(ActionClaims {
        id: claims.jti,
        client: client.name.clone(),
        enrolment: client.enrolment,
        principal: client.principal.clone(),
        action: parse_label(claims.action.as_bytes())?,
        run,
        slugs: claims.slugs.map(Arc::from),
        bundle,
        expires,
        is_self_signed: true,
    })
}
