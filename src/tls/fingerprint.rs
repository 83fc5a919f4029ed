//! The SHA-256 of a certificate, by which people recognise it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

/// The SHA-256 of a certificate, shown in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The text is no SHA-256.
#[derive(Debug, thiserror::Error)]
#[error("expected the 64 hexadecimal digits of a SHA-256; colons may separate them")]
pub struct NoFingerprint;

impl Fingerprint {
    /// That of `certificate`.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// In digits as Egret shows them, or as `openssl x509 -fingerprint` does.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|character| *character != ':')
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let digits = digits.ok_or(NoFingerprint)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect();
        let bytes: Result<[u8; 32], _> = bytes.try_into();
        bytes
            .map(Self)
            .ok()
            .filter(|_| digits.len() == 64)
            .ok_or(NoFingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_in_the_forms_that_are_shown() {
        let own = Fingerprint::of(&CertificateDer::from(b"certificate".to_vec()));
        let shown = own.to_string();
        assert_eq!(shown.len(), 64);
        assert_eq!(shown.parse::<Fingerprint>().unwrap(), own);
        let pairs: Vec<&str> = (0..32).map(|at| &shown[2 * at..2 * at + 2]).collect();
        let openssl = pairs.join(":").to_uppercase();
        assert_eq!(openssl.parse::<Fingerprint>().unwrap(), own);
        for wrong in [
            "",
            &shown[1..],
            &format!("{shown}0"),
            &shown.replace(&shown[..1], "g"),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
