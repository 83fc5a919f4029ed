//! The credentials in `Proxy-Authorization` (RFC 9110 section 11.7, RFC 7617, RFC 6750).

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::action_token::{self, ActionClaims};
use super::label::Label;
use super::token;
use crate::vault::keyring::TokenKey;
use crate::vault::model::TokenHash;

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
    /// An action token with a valid signature. Expiry and client are checked for each request.
    Action(Box<ActionClaims>),
    /// There is a user name and no token.
    Absent,
    /// Nothing: it is no token, or its signature is wrong.
    Invalid,
}

impl Presented {
    /// Parses `Bearer token`, `Basic user:token` and `Basic token:` (a proxy URL without a user
    /// name). Schemes are case-insensitive.
    pub(super) fn parse(value: &[u8], key: &TokenKey) -> Self {
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
                proof: prove(rest, key),
                user: None,
            }
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            match BASE64.decode(rest).map(Zeroizing::new) {
                Ok(pair) => Self::basic(&pair, key),
                Err(_) => invalid,
            }
        } else {
            invalid
        }
    }

    fn basic(pair: &[u8], key: &TokenKey) -> Self {
        let (user, password) = match pair.iter().position(|byte| *byte == b':') {
            Some(colon) => (&pair[..colon], &pair[colon + 1..]),
            None => (pair, &[][..]),
        };
        // A token instead of the user name is never used as the action, because actions are
        // recorded.
        let user = Zeroizing::new(percent_decode(user));
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
            prove(token, key)
        };
        Self { proof, user }
    }
}

fn prove(token: &[u8], key: &TokenKey) -> Proof {
    if let Some(hash) = token::hash_client_token(token) {
        Proof::Client(hash)
    } else if let Some(claims) = action_token::verify_action_token(token, key) {
        Proof::Action(Box::new(claims))
    } else {
        Proof::Invalid
    }
}

/// Most clients decode the user name of a proxy URL before they send it; some do not.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let pair = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = pair {
            decoded.push(high << 4 | low);
            rest = &rest[3..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = match self.proof {
            Proof::Client(_) => "client token",
            Proof::Action(_) => "action token",
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

    fn parse(value: &str) -> Presented {
        Presented::parse(value.as_bytes(), &key())
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
            let presented = Presented::parse(&[scheme.as_bytes(), &bytes].concat(), &key());
            prop_assert!(!matches!(presented.proof, Proof::Action(_)));
        }
    }
}
