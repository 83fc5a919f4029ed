//! Client tokens, and the prefixes of all tokens.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::vault::model::TokenHash;

const CLIENT_PREFIX: &[u8] = b"egc_";
pub(super) const ACTION_PREFIX: &[u8] = b"ega_";
const RANDOM: usize = 32;

/// A new client token, which is shown once. Only its hash is stored.
pub struct ClientToken(Zeroizing<String>);

impl ClientToken {
    /// A token of 256 random bits. It needs no slow hash, because it cannot be guessed.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut random = Zeroizing::new([0; RANDOM]);
        aws_lc_rs::rand::fill(random.as_mut_slice())?;
        let mut token = Zeroizing::new(String::with_capacity(48));
        token.push_str("egc_");
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

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(redacted)")
    }
}

/// The hash under which a client token would be stored; `None` if it cannot be one.
pub(super) fn hash_client_token(token: &[u8]) -> Option<TokenHash> {
    token.starts_with(CLIENT_PREFIX).then(|| sha256(token))
}

/// Whether this has the prefix of a token, and so is no user name.
pub(super) fn looks_like_token(text: &[u8]) -> bool {
    text.starts_with(CLIENT_PREFIX) || text.starts_with(ACTION_PREFIX)
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
}
