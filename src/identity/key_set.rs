//! The public keys of an issuer, and the JWTs (RFC 7519) that they verify.
//!
//! Issuer, audience, times and signature are checked. Only asymmetric algorithms are accepted, and
//! only those that belong to the type of the key (RFC 8725 section 3.1): the header of a token
//! chooses neither.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::token::looks_like_jwt;

/// How far clocks may differ, in seconds.
pub(super) const SKEW: u64 = 60;

/// Most keys that are taken from a set.
const MOST_KEYS: usize = 100;

/// The public keys of an issuer, from a JWKS (RFC 7517).
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// A text that holds no public key with which JWTs could be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JWKS (RFC 7517) with a public key of type RSA, P-256, P-384 or Ed25519")]
pub struct InvalidKeys;

/// Why a JWT is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// It names a key that is not in the set. The issuer may have new ones.
    #[error("it is signed with a key that the issuer does not publish")]
    UnknownKey,
    /// Its algorithm is none that belongs to its key.
    #[error("its algorithm does not belong to its key")]
    Algorithm,
    /// It is no JWT, of another issuer, for another audience, out of its time, or forged.
    #[error("it is not a valid token of this issuer for this audience at this time")]
    Invalid,
}

impl KeySet {
    /// The keys in the text of a JWKS.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        parse_keys(text).map(Self)
    }

    /// The claims of a JWT, if it is one of `issuer` for `audience` and is valid now. Names are
    /// compared literally.
    pub fn verify(&self, token: &[u8], issuer: &str, audience: &str) -> Result<Value, Unverified> {
        if !looks_like_jwt(token) {
            return Err(Unverified::Invalid);
        }
        let header = decode_header(token).map_err(|_| Unverified::Invalid)?;
        let named = |key: &&Key| key.id == header.kid;
        let key = match &header.kid {
            Some(_) => self.0.iter().find(named),
            None if self.0.len() == 1 => self.0.first(),
            None => None,
        };
        let key = key.ok_or(Unverified::UnknownKey)?;
        if !key.algorithms.contains(&header.alg) {
            return Err(Unverified::Algorithm);
        }
        let mut validation = Validation::new(header.alg);
        validation.algorithms = key.algorithms.clone();
        validation.leeway = SKEW;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let decoded = decode::<Value>(token, &key.key, &validation);
        decoded
            .map(|decoded| decoded.claims)
            .map_err(|_| Unverified::Invalid)
    }
}

/// The usable keys of a set. Others are passed over (RFC 7517 section 5).
fn parse_keys(text: &[u8]) -> Result<Vec<Key>, InvalidKeys> {
    let set: Value = serde_json::from_slice(text).map_err(|_| InvalidKeys)?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(InvalidKeys)?;
    let keys: Vec<Key> = keys.iter().take(MOST_KEYS).filter_map(parse_key).collect();
    if keys.is_empty() {
        return Err(InvalidKeys);
    }
    Ok(keys)
}

fn parse_key(key: &Value) -> Option<Key> {
    let mut jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    if let AlgorithmParameters::EllipticCurve(curve) = &mut jwk.algorithm {
        curve.x = full_length(&curve.x, &curve.curve)?;
        curve.y = full_length(&curve.y, &curve.curve)?;
    }
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let of_type = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
        // A shared secret would let whoever verifies a JWT make one.
        AlgorithmParameters::OctetKey(_) => return None,
        _ => return None,
    };
    let named = jwk.common.key_algorithm.and_then(named_algorithm);
    let algorithms = match (jwk.common.key_algorithm, named) {
        (None, _) => of_type,
        (Some(_), Some(named)) if of_type.contains(&named) => vec![named],
        (Some(_), _) => return None,
    };
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
}

/// A coordinate with the leading zeros that RFC 7518 section 6.2.1.2 asks for. Some issuers leave them
/// out, for one key in 128.
fn full_length(coordinate: &str, curve: &EllipticCurve) -> Option<String> {
    let length = match curve {
        EllipticCurve::P256 => 32,
        EllipticCurve::P384 => 48,
        _ => return None,
    };
    let short = BASE64_URL_SAFE_NO_PAD.decode(coordinate).ok()?;
    let mut full = vec![0; length];
    full.get_mut(length.checked_sub(short.len())?..)?
        .copy_from_slice(&short);
    Some(BASE64_URL_SAFE_NO_PAD.encode(full))
}

fn named_algorithm(named: KeyAlgorithm) -> Option<Algorithm> {
    Some(match named {
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::RS384 => Algorithm::RS384,
        KeyAlgorithm::RS512 => Algorithm::RS512,
        KeyAlgorithm::PS256 => Algorithm::PS256,
        KeyAlgorithm::PS384 => Algorithm::PS384,
        KeyAlgorithm::PS512 => Algorithm::PS512,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::ES384 => Algorithm::ES384,
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_without_its_leading_zeros_is_the_same_number() {
        let of = |length: usize| BASE64_URL_SAFE_NO_PAD.encode(vec![7; length]);
        let whole = of(32);
        assert_eq!(full_length(&whole, &EllipticCurve::P256), Some(whole));
        let mut padded = vec![0, 0];
        padded.extend([7; 46]);
        let padded = BASE64_URL_SAFE_NO_PAD.encode(padded);
        assert_eq!(full_length(&of(46), &EllipticCurve::P384), Some(padded));
        for (length, curve) in [(33, EllipticCurve::P256), (66, EllipticCurve::P521)] {
            assert_eq!(full_length(&of(length), &curve), None);
        }
        assert_eq!(full_length("no base64!", &EllipticCurve::P256), None);
    }
}
