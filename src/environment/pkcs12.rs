//! A PKCS #12 file of trusted certificates (RFC 7292), which Java and OpenSSL read.
//!
//! Nothing in it is secret, so nothing is encrypted. The checksum is made with the customary password.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

/// The password of the checksum, as Java's own key stores have it.
const PASSWORD: &str = "changeit";

const DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01];
const CERT_BAG: &[u8] = &[
    0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x0C, 0x0A, 0x01, 0x03,
];
const X509: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x16, 0x01];
const FRIENDLY_NAME: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x14];
/// Java takes a certificate for a trusted one only with this (2.16.840.1.113894.746875.1.1).
const TRUSTED: &[u8] = &[
    0x60, 0x86, 0x48, 0x01, 0x86, 0xF9, 0x66, 0xAD, 0xCA, 0x7B, 0x01, 0x01,
];
const ANY_USAGE: &[u8] = &[0x55, 0x1D, 0x25, 0x00];
const SHA256_NAME: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const NAME: u8 = 0x06;
const BMP_STRING: u8 = 0x1E;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xA0;

/// The file. The same certificates give the same one.
pub(super) fn key_store<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let bags = certificates.enumerate().map(|(at, der)| bag(at, der));
    let bags = tagged(SEQUENCE, &bags.collect::<Vec<_>>().concat());
    let safe = tagged(SEQUENCE, &content(&bags));
    let parts = [tagged(INTEGER, &[3]), content(&safe), checksum(&safe)];
    tagged(SEQUENCE, &parts.concat())
}

/// A type, the length and what is in it (X.690).
fn tagged(tag: u8, inner: &[u8]) -> Vec<u8> {
    let length = inner.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut all = vec![tag];
    match inner.len() {
        0..=127 => all.push(inner.len() as u8),
        _ => {
            all.push(0x80 | significant.len() as u8);
            all.extend(significant);
        }
    }
    all.extend(inner);
    all
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

/// `ContentInfo` that is not encrypted.
fn content(inner: &[u8]) -> Vec<u8> {
    let octets = tagged(CONTEXT_0, &tagged(OCTETS, inner));
    sequence(&[tagged(NAME, DATA), octets])
}

/// `SafeBag` with a certificate that is trusted for everything.
fn bag(at: usize, der: &[u8]) -> Vec<u8> {
    let certificate = tagged(CONTEXT_0, &tagged(OCTETS, der));
    let certificate = sequence(&[tagged(NAME, X509), certificate]);
    let attributes = [
        attribute(
            FRIENDLY_NAME,
            &tagged(BMP_STRING, &utf16(&format!("root-{at}"))),
        ),
        attribute(TRUSTED, &tagged(NAME, ANY_USAGE)),
    ];
    sequence(&[
        tagged(NAME, CERT_BAG),
        tagged(CONTEXT_0, &certificate),
        tagged(SET, &attributes.concat()),
    ])
}

fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[tagged(NAME, name), tagged(SET, value)])
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// `MacData`, by SHA-256 in one iteration.
fn checksum(safe: &[u8]) -> Vec<u8> {
    // Derived from the content, so that the file is always the same.
    let whole = digest(&SHA256, safe);
    let salt = &whole.as_ref()[..8];
    let key = hmac::Key::new(hmac::HMAC_SHA256, &mac_key(salt));
    let mac = hmac::sign(&key, safe);
    let algorithm = sequence(&[tagged(NAME, SHA256_NAME), tagged(NULL, &[])]);
    let mac = sequence(&[algorithm, tagged(OCTETS, mac.as_ref())]);
    sequence(&[mac, tagged(OCTETS, salt)])
}

/// The key (RFC 7292 appendix B.2), for one iteration and as many bytes as the hash has.
fn mac_key(salt: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    const FOR_MAC: u8 = 3;
    let fill = |text: &[u8]| -> Vec<u8> {
        let length = text.len().div_ceil(BLOCK) * BLOCK;
        text.iter().copied().cycle().take(length).collect()
    };
    let mut password = utf16(PASSWORD);
    password.extend([0, 0]);
    let input = [vec![FOR_MAC; BLOCK], fill(salt), fill(&password)].concat();
    digest(&SHA256, &input).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_short_as_they_can_be() {
        let head = |length: usize| tagged(OCTETS, &vec![0; length]);
        assert_eq!(head(127)[..2], [4, 127]);
        assert_eq!(head(128)[..3], [4, 0x81, 128]);
        assert_eq!(head(256)[..4], [4, 0x82, 1, 0]);
        assert_eq!(head(65_536)[..5], [4, 0x83, 1, 0, 0]);
    }

    #[test]
    fn the_same_certificates_give_the_same_file() {
        let store = |text: &'static [u8]| key_store([text].into_iter());
        assert_eq!(store(b"a"), store(b"a"));
        assert_ne!(store(b"a"), store(b"b"));
    }
}
