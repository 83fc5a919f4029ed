//! Tokens are made here by hand, with another library than the one that verifies them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::unix_seconds;

enum Signer {
    Ed(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn all() -> Vec<Self> {
        vec![Self::ed(), Self::p256(), Self::rsa()]
    }

    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": text(key.public_key().as_ref())})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
                       "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Rsa(key) => {
                let modulus = key.public_key().modulus();
                let exponent = key.public_key().exponent();
                json!({"kty": "RSA", "kid": id, "alg": "RS256", "use": "sig",
                       "n": text(modulus.big_endian_without_leading_zero()),
                       "e": text(exponent.big_endian_without_leading_zero())})
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::P256(key) => key
                .sign(&random, signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.sign(
            &json!({"alg": self.algorithm(), "kid": id, "typ": "JWT"}),
            claims,
        )
    }
}

const NAME: &str = "https://kubernetes.default.svc.cluster.local";

fn rules() -> IssuerRules {
    IssuerRules {
        name: NAME.to_owned(),
        audience: "egret".to_owned(),
        principal: PrincipalRule::Claim("/kubernetes.io/namespace".to_owned()),
        client_claim: "sub".to_owned(),
        action_claim: None,
        bundle: None,
        label: None,
    }
}

fn issuer_of(rules: IssuerRules, keys: &[Value]) -> Issuer {
    Issuer::new(rules, json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// As Kubernetes makes them.
fn service_account() -> Value {
    let now = unix_seconds();
    json!({
        "aud": ["egret"],
        "exp": now + 3600,
        "iat": now,
        "iss": NAME,
        "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
        "kubernetes.io": {
            "namespace": "build",
            "pod": {"name": "ci-7d9f", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
            "serviceaccount": {"name": "ci", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"}
        },
        "nbf": now,
        "sub": "system:serviceaccount:build:ci"
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = service_account();
    change(&mut claims);
    claims
}

#[test]
fn a_token_of_the_issuer_names_client_and_principal() {
    for signer in Signer::all() {
        let issuer = issuer_of(rules(), &[signer.jwk("one")]);
        let claims = issuer
            .verify(signer.token("one", &service_account()).as_bytes())
            .unwrap_or_else(|| panic!("{}", signer.algorithm()));
        assert_eq!(&*claims.client, "jwt:system:serviceaccount:build:ci");
        assert_eq!(claims.principal, Principal::parse("build").unwrap());
        assert_eq!(claims.action, None);
        assert!(claims.expires > unix_seconds() + 3600);
        assert!(issuer.made(&claims));
        let other = issuer_of(
            IssuerRules {
                audience: "other".to_owned(),
                ..rules()
            },
            &[signer.jwk("one")],
        );
        assert!(!other.made(&claims));
    }
}

#[test]
fn claims_name_the_action_and_a_fixed_principal_needs_none() {
    let signer = Signer::ed();
    let rules = IssuerRules {
        principal: PrincipalRule::Fixed(Principal::parse("ops").unwrap()),
        client_claim: "/kubernetes.io/serviceaccount/name".to_owned(),
        action_claim: Some("job".to_owned()),
        ..rules()
    };
    let issuer = issuer_of(rules, &[signer.jwk("one")]);
    let named = with(|claims| claims["job"] = "nightly".into());
    let claims = issuer
        .verify(signer.token("one", &named).as_bytes())
        .unwrap();
    assert_eq!(
        (&*claims.client, claims.action.as_deref()),
        ("jwt:ci", Some("nightly"))
    );
    let unnamed = signer.token("one", &service_account());
    assert_eq!(issuer.verify(unnamed.as_bytes()), None);
}

#[test]
fn a_claim_or_the_configuration_names_the_bundle() {
    let signer = Signer::ed();
    let work: BundleId = "build/work".parse().unwrap();
    let bundle = |rule: BundleRule, claim: Value| {
        let rules = IssuerRules {
            bundle: Some(rule),
            ..rules()
        };
        let issuer = issuer_of(rules, &[signer.jwk("one")]);
        let token = signer.token("one", &with(|claims| claims["environment"] = claim));
        Some(issuer.verify(token.as_bytes())?.bundle.expect("a bundle"))
    };
    let claimed = |claim: Value| bundle(BundleRule::Claim("environment".to_owned()), claim);
    let fixed = bundle(BundleRule::Fixed(work.clone()), Value::Null);
    assert_eq!(fixed.as_deref(), Some(&work));
    for name in ["work", "build/work"] {
        assert_eq!(claimed(name.into()).as_deref(), Some(&work), "{name}");
    }
    let other = claimed("alice/work".into()).unwrap();
    assert_eq!(other.owner.as_str(), "alice");
    // Without a limit that can be read there is no token, rather than no limit.
    for claim in [
        Value::Null,
        json!(""),
        json!("A B"),
        json!("a/b/c"),
        json!(["work"]),
        json!(7),
    ] {
        assert_eq!(claimed(claim.clone()), None, "{claim}");
    }
}

#[test]
fn a_label_tells_the_clients_of_two_issuers_apart() {
    let signer = Signer::ed();
    let rules = IssuerRules {
        label: Some("cluster-1".to_owned()),
        ..rules()
    };
    let issuer = issuer_of(rules, &[signer.jwk("one")]);
    let token = signer.token("one", &service_account());
    let claims = issuer.verify(token.as_bytes()).unwrap();
    assert_eq!(
        &*claims.client,
        "jwt:cluster-1:system:serviceaccount:build:ci"
    );
}

#[test]
fn another_issuer_audience_time_or_key_is_refused() {
    let now = unix_seconds();
    let signer = Signer::p256();
    let issuer = issuer_of(rules(), &[signer.jwk("one"), Signer::p256().jwk("two")]);
    let is_accepted = |claims: &Value| {
        issuer
            .verify(signer.token("one", claims).as_bytes())
            .is_some()
    };
    assert!(is_accepted(&service_account()));
    assert!(is_accepted(&with(|claims| claims["aud"] = "egret".into())));
    assert!(
        is_accepted(&with(|claims| claims["exp"] = (now - 30).into())),
        "within the skew"
    );
    for (what, claims) in [
        (
            "issuer",
            with(|claims| claims["iss"] = "https://evil.example".into()),
        ),
        (
            "no issuer",
            with(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))),
        ),
        ("audience", with(|claims| claims["aud"] = json!(["api"]))),
        (
            "no audience",
            with(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
        ),
        ("expired", with(|claims| claims["exp"] = (now - 120).into())),
        (
            "no expiry",
            with(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ),
        ("early", with(|claims| claims["nbf"] = (now + 600).into())),
        ("client", with(|claims| claims["sub"] = "a\nb".into())),
        (
            "client of another type",
            with(|claims| claims["sub"] = 7.into()),
        ),
        (
            "principal",
            with(|claims| claims["kubernetes.io"]["namespace"] = "Not A Name!".into()),
        ),
        (
            "no principal",
            with(|claims| drop(claims["kubernetes.io"].take())),
        ),
    ] {
        assert!(!is_accepted(&claims), "{what}");
    }
    let claims = service_account();
    for (what, token) in [
        (
            "another key of that name",
            Signer::p256().token("one", &claims),
        ),
        ("the other key's name", signer.token("two", &claims)),
        ("an unknown name", signer.token("three", &claims)),
        (
            "no name where there are two",
            signer.sign(&json!({"alg": "ES256"}), &claims),
        ),
        (
            "no signature",
            signer.sign(&json!({"alg": "none", "kid": "one"}), &claims),
        ),
        (
            "an algorithm of another key type",
            signer.sign(&json!({"alg": "RS256", "kid": "one"}), &claims),
        ),
        (
            "a symmetric algorithm",
            signer.sign(&json!({"alg": "HS256", "kid": "one"}), &claims),
        ),
    ] {
        assert_eq!(issuer.verify(token.as_bytes()), None, "{what}");
    }
}

/// The public key as the secret of an HMAC, the classic confusion (RFC 8725 section 2.1).
#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = Signer::rsa();
    let mut jwk = signer.jwk("one");
    jwk.as_object_mut().unwrap().remove("alg");
    let issuer = issuer_of(rules(), &[jwk.clone()]);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "HS256", "kid": "one"});
    let signed = format!("{}.{}", encode(&header), encode(&service_account()));
    for secret in [
        jwk["n"].as_str().unwrap().as_bytes(),
        jwk.to_string().as_bytes(),
    ] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(issuer.verify(token.as_bytes()), None);
    }
}

#[test]
fn keys_are_exchanged_and_unusable_ones_passed_over() {
    let (old, new) = (Signer::ed(), Signer::p256());
    let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});
    let unknown = json!({"kty": "later", "kid": "l"});
    let issuer = issuer_of(rules(), &[secret.clone(), unknown.clone(), old.jwk("old")]);
    let claims = service_account();
    let [before, after] = [old.token("old", &claims), new.token("new", &claims)];
    assert!(issuer.verify(before.as_bytes()).is_some());
    assert!(issuer.verify(after.as_bytes()).is_none());
    for text in [
        "",
        "{}",
        "{\"keys\": []}",
        &json!({"keys": [secret, unknown]}).to_string(),
    ] {
        assert_eq!(
            issuer.replace_keys(text.as_bytes()),
            Err(InvalidKeys),
            "{text}"
        );
    }
    assert!(issuer.verify(before.as_bytes()).is_some(), "the keys stay");
    let keys = json!({"keys": [new.jwk("new")]}).to_string();
    issuer.replace_keys(keys.as_bytes()).unwrap();
    assert!(issuer.verify(before.as_bytes()).is_none());
    assert!(issuer.verify(after.as_bytes()).is_some());
    // A set of one key needs no name.
    let unnamed = new.sign(&json!({"alg": "ES256"}), &claims);
    assert!(issuer.verify(unnamed.as_bytes()).is_some());
}

proptest! {
    #[test]
    fn no_byte_of_a_token_can_be_changed(at: prop::sample::Index, byte in "[A-Za-z0-9._-]") {
        let signer = Signer::ed();
        let issuer = issuer_of(rules(), &[signer.jwk("one")]);
        let token = signer.token("one", &service_account());
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != byte);
        let changed = format!("{}{byte}{}", &token[..at], &token[at + 1..]);
        // The last character of a part has bits that are not used.
        let is_same = |a: &str, b: &str| URL_SAFE_NO_PAD.decode(a).ok() == URL_SAFE_NO_PAD.decode(b).ok();
        let unchanged = changed.split('.').count() == 3
            && changed.split('.').zip(token.split('.')).all(|(a, b)| is_same(a, b));
        prop_assert_eq!(issuer.verify(changed.as_bytes()).is_some(), unchanged);
    }

    #[test]
    fn arbitrary_bytes_are_no_token(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let issuer = issuer_of(rules(), &[Signer::ed().jwk("one")]);
        prop_assert_eq!(issuer.verify(&bytes), None);
        prop_assert_eq!(issuer.verify(&[b"eyJ", &bytes[..]].concat()), None);
        prop_assert_eq!(issuer.verify(&[b"eyJhbGciOiJFZERTQSJ9.", &bytes[..], b"."].concat()), None);
    }
}
