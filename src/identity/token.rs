//! The tokens that are random and stored as a hash, and the prefixes of all tokens.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::vault::access::ApiTokenId;
use crate::vault::client_proof::TokenHash;

const CLIENT_PREFIX: &[u8] = b"egc_";
pub(super) const ACTION_PREFIX: &[u8] = b"ega_";
const PERSONAL_PREFIX: &str = "egp_";
const RANDOM: usize = 32;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client presents it to the proxy.
    Client,
    /// A browser that was signed in has it in a cookie.
    Session,
    /// It is in a one-time link.
    Link,
}

impl Purpose {
    fn prefix(self) -> &'static str {
        match self {
            Purpose::Client => "egc_",
            Purpose::Session => "egs_",
            Purpose::Link => "egl_",
        }
    }
}

/// A new token of a client, which is shown once. Only its hash is stored.
pub struct ClientToken(Bearer);

impl ClientToken {
    /// A token that cannot be guessed.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        Bearer::generate(Purpose::Client).map(Self)
    }

    /// The token itself, to be shown.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        self.0.hash()
    }
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(redacted)")
    }
}

/// A new token, which is shown once. Only its hash is stored.
pub struct Bearer(Zeroizing<String>);

impl Bearer {
    /// A token of 256 random bits. It needs no slow hash, because it cannot be guessed.
    pub fn generate(purpose: Purpose) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Self::after(purpose.prefix())
    }

    /// A personal API token. Its public id is a part of it, so that it can be looked up.
    pub fn personal(id: &str) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Self::after(&format!("{PERSONAL_PREFIX}{id}_"))
    }

    fn after(prefix: &str) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut random = Zeroizing::new([0; RANDOM]);
        aws_lc_rs::rand::fill(random.as_mut_slice())?;
        let mut token = Zeroizing::new(String::with_capacity(prefix.len() + 44));
        token.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut token);
        Ok(Self(token))
    }

    /// The token itself, to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        sha256(self.0.as_bytes())
    }
}

/// A new personal API token, and its public id.
pub struct PersonalToken {
    /// The id, which is a part of the token and no secret.
    pub id: ApiTokenId,
    /// The token.
    pub token: Bearer,
}

impl PersonalToken {
    /// A token that cannot be guessed, with an id of its own.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random)?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            token: Bearer::personal(&id)?,
            id: ApiTokenId::parse(&id).map_err(|_| aws_lc_rs::error::Unspecified)?,
        })
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(redacted)")
    }
}

/// The hash under which a token for `purpose` would be stored; `None` if it cannot be one.
pub fn hash_of(token: &str, purpose: Purpose) -> Option<TokenHash> {
    let has_form = token.starts_with(purpose.prefix()) && token.len() == 4 + 43;
    has_form.then(|| sha256(token.as_bytes()))
}

/// The public id in a personal API token, and the hash under which it would be stored.
pub fn personal(token: &str) -> Option<(&str, TokenHash)> {
    let (id, _) = token.strip_prefix(PERSONAL_PREFIX)?.split_once('_')?;
    Some((id, sha256(token.as_bytes())))
}

/// The hash under which a client token would be stored; `None` if it cannot be one.
pub(super) fn hash_client_token(token: &[u8]) -> Option<TokenHash> {
    token.starts_with(CLIENT_PREFIX).then(|| sha256(token))
}

/// Whether this has the form of a token, and so is no user name and no action.
pub(super) fn looks_like_token(text: &[u8]) -> bool {
    let prefixes = [CLIENT_PREFIX, ACTION_PREFIX, PERSONAL_PREFIX.as_bytes()];
    prefixes.iter().any(|prefix| text.starts_with(prefix)) || looks_like_jwt(text)
}

/// Whether this is three parts, of which the first is a JSON object in base64url (RFC 7515 section
/// 3.1).
pub(super) fn looks_like_jwt(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

fn sha256(data: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreserved(token: &str) -> bool {
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    }

    #[test]
    fn client_tokens_are_random_unreserved_and_47_long() {
        let [one, two] = [(); 2].map(|()| ClientToken::generate().unwrap());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), 4 + 43);
        assert!(unreserved(one.expose()));
        assert_eq!(hash_client_token(one.expose().as_bytes()), Some(one.hash()));
        assert_ne!(one.hash(), two.hash());
        assert!(!format!("{one:?}").contains(&one.expose()[4..]));
    }

    #[test]
    fn each_purpose_has_tokens_of_its_own() {
        let session = Bearer::generate(Purpose::Session).unwrap();
        let hash = hash_of(session.expose(), Purpose::Session);
        assert_eq!(hash, Some(session.hash()));
        assert_eq!(hash_of(session.expose(), Purpose::Link), None);
        assert_eq!(hash_of("egs_short", Purpose::Session), None);
        assert_eq!(hash_client_token(session.expose().as_bytes()), None);
        let token = Bearer::personal("0123456789abcdef").unwrap();
        let (id, hash) = personal(token.expose()).unwrap();
        assert_eq!((id, hash), ("0123456789abcdef", token.hash()));
        assert!(personal(session.expose()).is_none());
        assert!(!format!("{token:?}").contains("0123"));
    }
}
