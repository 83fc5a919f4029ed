//! How a client proves who it is: with a token, or with a key that never leaves it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// SHA-256 of a client token: all that is stored of it.
pub type TokenHash = [u8; 32];

/// What a client shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientProof {
    /// A token with this hash.
    Token(TokenHash),
    /// Tokens that it signs itself. There is nothing to steal from the store or from the proxy.
    Key(PublicKey),
}

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A text that is no Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// Whoever sent it has to make a new one: it went through a file, a terminal or a network.
    #[error("it is a private key. Keep it with the client, and give the public key")]
    Private,
    /// Another algorithm or format.
    #[error(
        "it is no Ed25519 public key in PEM. `openssl pkey -in KEY -pubout` prints that of a key \
         that `openssl genpkey -algorithm ed25519 -out KEY` made"
    )]
    Form,
}

impl PublicKey {
    /// The key of a PEM file, or 32 bytes in base64url as a JWK has them (RFC 8037 section 2).
    pub fn parse(text: &[u8]) -> Result<Self, InvalidPublicKey> {
        let text = text.trim_ascii();
        if memchr::memmem::find(text, b"PRIVATE KEY").is_some() {
            return Err(InvalidPublicKey::Private);
        }
        if let Ok(key) = URL_SAFE_NO_PAD.decode(text) {
            return Self::of(&key).ok_or(InvalidPublicKey::Form);
        }
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(text);
        let spki = spki.map_err(|_| InvalidPublicKey::Form)?;
        let key = spki.as_ref().strip_prefix(&SPKI_PREFIX);
        key.and_then(Self::of).ok_or(InvalidPublicKey::Form)
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// In base64url without padding: the member `x` of its JWK.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.base64url())
    }
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientProof::Token(_) => f.write_str("Token"),
            ClientProof::Key(key) => key.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn a_key_is_read_from_pem_and_base64url() {
        let key = PublicKey([7; 32]);
        let spki = [&SPKI_PREFIX[..], &[7; 32]].concat();
        assert_eq!(
            PublicKey::parse(pem("PUBLIC KEY", &spki).as_bytes()),
            Ok(key)
        );
        let text = format!(" {}\n", key.base64url());
        assert_eq!(PublicKey::parse(text.as_bytes()), Ok(key));
    }

    #[test]
    fn anything_else_is_refused_and_a_private_key_is_called_one() {
        let private = pem("PRIVATE KEY", &[1; 48]);
        assert_eq!(
            PublicKey::parse(private.as_bytes()),
            Err(InvalidPublicKey::Private)
        );
        let rsa = pem("PUBLIC KEY", &[0x30; 44]);
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        for text in ["", "ssh-ed25519 AAAA", &rsa, &short] {
            assert_eq!(
                PublicKey::parse(text.as_bytes()),
                Err(InvalidPublicKey::Form)
            );
        }
    }
}
