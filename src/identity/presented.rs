//! The credentials in `Proxy-Authorization` (RFC 9110 section 11.7, RFC 7617, RFC 6750).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::action_token::{self, ActionClaims};
use super::issuer::{IssuedClaims, Issuer};
use super::label::Label;
use super::{self_signed, token};
use crate::substitution::percent;
use crate::vault::client_proof::TokenHash;
use crate::vault::keyring::TokenKey;
use crate::vault::model::Client;
use crate::vault::name::{ClientName, Principal};

/// Longest header value that is parsed: an action token with many slugs fits several times.
const MAX_HEADER: usize = 16 * 1024;

/// Some clients pad and some do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client presented, without the token itself.
#[derive(Clone)]
pub struct Presented {
    pub(super) proof: Proof,
    /// The user name, percent-decoded: the action, if the client asserts it there.
    pub(super) user: Option<Label>,
}

/// What the token proves.
#[derive(Clone)]
pub(super) enum Proof {
    /// The token has this hash, which may be a client's.
    Client(TokenHash),
    /// An action token with a valid signature, Egret's or its client's. Expiry and client are checked for each request.
    Action(Box<ActionClaims>),
    /// A JWT of a configured issuer with a valid signature.
    Issued(Box<IssuedClaims>),
    /// None was needed: the configuration says for whom a listener stands, which is the client then.
    Configured(Principal, &'static str),
    /// There is a user name and no token.
    Absent,
    /// Nothing: it is no token, or its signature is wrong.
    Invalid,
}

impl Presented {
    /// Parses `Bearer token`, `Basic user:token` and `Basic token:` (a proxy URL without a user
    /// name). Schemes are case-insensitive.
    pub(super) fn parse(value: &[u8], keys: &ProofKeys<'_>) -> Self {
        let invalid = Self {
            proof: Proof::Invalid,
            user: None,
        };
        let value = value.trim_ascii();
        if value.len() > MAX_HEADER {
            return invalid;
        }
        let Some(space) = value.iter().position(|byte| *byte == b' ') else {
            return invalid;
        };
        let (scheme, rest) = value.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            Self {
                proof: prove(rest, keys),
                user: None,
            }
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            match BASE64.decode(rest).map(Zeroizing::new) {
                Ok(pair) => Self::basic(&pair, keys),
                Err(_) => invalid,
            }
        } else {
            invalid
        }
    }

    /// What a listener presents that the configuration gives to `principal`, for `action`. The ledger
    /// calls the client `client`.
    pub fn configured(principal: Principal, action: &str, client: &'static str) -> Self {
        Self {
            proof: Proof::Configured(principal, client),
            user: Some(Label::read(action.as_bytes())),
        }
    }

    /// What is presented by a request that came through a listener of `holder`, if the listener has
    /// one: a token of the request's own goes first, a user name alone states the action.
    pub fn on_listener_of(holder: Option<&Self>, shown: Option<Self>) -> Option<Self> {
        let Some(holder) = holder else {
            return shown;
        };
        match shown {
            None => Some(holder.clone()),
            Some(Self {
                proof: Proof::Absent,
                user,
            }) => Some(Self {
                proof: holder.proof.clone(),
                user: user.or_else(|| holder.user.clone()),
            }),
            own => own,
        }
    }

    fn basic(pair: &[u8], keys: &ProofKeys<'_>) -> Self {
        let (user, password) = match pair.iter().position(|byte| *byte == b':') {
            Some(colon) => (&pair[..colon], &pair[colon + 1..]),
            None => (pair, &[][..]),
        };
        // A token instead of the user name is never used as the action, because actions are
        // recorded.
        // Most clients decode the user name of a proxy URL before they send it; some do not.
        let user = Zeroizing::new(percent::decode(user));
        let (token, user) = if !token::looks_like_token(&user) {
            (password, (!user.is_empty()).then(|| Label::read(&user)))
        } else if token::looks_like_token(password) {
            (password, None)
        } else {
            (user.as_slice(), None)
        };
        let proof = if token.is_empty() {
            Proof::Absent
        } else {
            prove(token, keys)
        };
        Self { proof, user }
    }
}

/// What the signatures of tokens are verified with.
pub(super) struct ProofKeys<'a> {
    /// Signs action tokens.
    pub(super) actions: &'a TokenKey,
    /// Signs JWTs.
    pub(super) issuers: &'a [Arc<Issuer>],
    /// For whom clients sign JWTs of their own.
    pub(super) audience: &'a str,
    /// Finds the client that may have signed a JWT.
    pub(super) client: &'a dyn Fn(&ClientName) -> Option<Arc<Client>>,
}

fn prove(token: &[u8], keys: &ProofKeys<'_>) -> Proof {
    if let Some(hash) = token::hash_client_token(token) {
        return Proof::Client(hash);
    }
    if let Some(claims) = action_token::verify_action_token(token, keys.actions) {
        return Proof::Action(Box::new(claims));
    }
    let mut issuers = keys.issuers.iter();
    if let Some(claims) = issuers.find_map(|issuer| issuer.verify(token)) {
        return Proof::Issued(Box::new(claims));
    }
    match self_signed::verify(token, keys.audience, keys.client) {
        Some(claims) => Proof::Action(Box::new(claims)),
        None => Proof::Invalid,
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = match self.proof {
            Proof::Client(_) => "client token",
            Proof::Action(_) => "action token",
            Proof::Issued(_) => "JWT",
            Proof::Configured(..) => "a listener of a principal's",
            Proof::Absent => "no token",
            Proof::Invalid => "no valid token",
        };
        write!(f, "Presented({proof})")
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::identity::ClientToken;
    use crate::vault::keyring::Keyring;

    fn key() -> TokenKey {
        Keyring::from_master(&[1; 32]).unwrap().token_key()
    }

    fn keys(actions: &TokenKey) -> ProofKeys<'_> {
        ProofKeys {
            actions,
            issuers: &[],
            audience: "egret",
            client: &|_| None,
        }
    }

    fn parse(value: &str) -> Presented {
        Presented::parse(value.as_bytes(), &keys(&key()))
    }

    fn basic(pair: &str) -> Presented {
        parse(&format!("Basic {}", STANDARD.encode(pair)))
    }

    fn hash(presented: &Presented) -> Option<TokenHash> {
        match presented.proof {
            Proof::Client(hash) => Some(hash),
            _ => None,
        }
    }

    #[test]
    fn a_token_is_found_in_every_scheme() {
        let token = ClientToken::generate().unwrap();
        let text = token.expose();
        let unpadded = STANDARD
            .encode(format!("a:{text}"))
            .trim_end_matches('=')
            .to_owned();
        for (presented, user) in [
            (parse(&format!("Bearer {text}")), None),
            (parse(&format!("bearer   {text} ")), None),
            (basic(&format!("report:{text}")), Some("report")),
            (basic(&format!("{text}:")), None),
            (basic(text), None),
            (basic(&format!("{text}:x-oauth-basic")), None),
            (basic(&format!("{text}:{text}")), None),
            (basic(&format!("egc%5F{}:{text}", &text[4..])), None),
            (basic(&format!(":{text}")), None),
            (
                basic(&format!("weekly%20report:{text}")),
                Some("weekly report"),
            ),
            (basic(&format!("100%:{text}")), Some("100%")),
            (parse(&format!("BASIC {unpadded}")), Some("a")),
        ] {
            assert_eq!(hash(&presented), Some(token.hash()));
            assert_eq!(
                presented.user,
                user.map(|user| Label::read(user.as_bytes()))
            );
        }
    }

    #[test]
    fn a_user_name_alone_is_no_token_and_not_a_bad_one() {
        let presented = basic("weekly-report:");
        assert!(matches!(presented.proof, Proof::Absent));
        assert_eq!(presented.user, Some(Label::Known("weekly-report".into())));
    }

    #[test]
    fn a_listener_vouches_for_who_shows_no_token_and_for_no_one_else() {
        let [own, other] = [(); 2].map(|()| ClientToken::generate().unwrap());
        let holder = basic(&format!("run:{}", own.expose()));
        let on_listener = |shown| Presented::on_listener_of(Some(&holder), shown).unwrap();
        let silent = on_listener(None);
        assert_eq!(hash(&silent), Some(own.hash()));
        assert_eq!(silent.user, Some(Label::Known("run".into())));
        let named = on_listener(Some(basic("weekly:")));
        assert_eq!(hash(&named), Some(own.hash()));
        assert_eq!(named.user, Some(Label::Known("weekly".into())));
        let with_token = on_listener(Some(parse(&format!("Bearer {}", other.expose()))));
        assert_eq!(hash(&with_token), Some(other.hash()));
        let wrong = on_listener(Some(basic("user:password")));
        assert!(matches!(wrong.proof, Proof::Invalid));
        assert!(Presented::on_listener_of(None, None).is_none());
    }

    #[test]
    fn anything_else_is_invalid() {
        for value in [
            "",
            "Basic",
            "Basic !!!",
            "Digest username=x",
            "Bearer x",
            "Bearer ega_x.y",
        ] {
            assert!(matches!(parse(value).proof, Proof::Invalid), "{value}");
        }
        assert!(matches!(basic("user:password").proof, Proof::Invalid));
    }

    #[test]
    fn debug_shows_no_part_of_the_token() {
        let token = ClientToken::generate().unwrap();
        let presented = basic(&format!("report:{}", token.expose()));
        assert_eq!(format!("{presented:?}"), "Presented(client token)");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_prove_nothing(
            scheme in prop::sample::select(vec!["", "Basic ", "Bearer ", "basic", "Basic egc", "Bearer ega_"]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            encode: bool,
        ) {
            let bytes = if encode { STANDARD.encode(&bytes).into_bytes() } else { bytes };
            let presented = Presented::parse(&[scheme.as_bytes(), &bytes].concat(), &keys(&key()));
            prop_assert!(!matches!(presented.proof, Proof::Action(_)));
        }
    }
}
