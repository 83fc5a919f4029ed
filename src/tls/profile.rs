//! The profile of the authority and its leaves: `certs/profile.toml`, which the program is built
//! with.

use rcgen::{
    ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm,
};
use serde::Deserialize;
use time::Duration;

const EMBEDDED: &str = include_str!("../../certs/profile.toml");

/// What the certificates have in common, and what each kind has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    backdate_hours: u32,
    pub(super) authority: AuthorityProfile,
    pub(super) leaf: LeafProfile,
}

/// The certificate of the authority.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorityProfile {
    pub(super) common_name: String,
    pub(super) organization: String,
    pub(super) key: KeyType,
    lifetime_days: u32,
    pub(super) path_length: u8,
    key_usage: Vec<KeyUsage>,
}

/// The certificate of an intercepted host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeafProfile {
    pub(super) key: KeyType,
    lifetime_hours: u32,
    renew_after_hours: u32,
    key_usage: Vec<KeyUsage>,
    extended_key_usage: Vec<ExtendedKeyUsage>,
}

/// The keys that certificates are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum KeyType {
    /// ECDSA on P-256 with SHA-256: every client verifies it, and a signature takes 25 us.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
}

/// The bits of RFC 5280 section 4.2.1.3 that a server's certificate or its issuer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum KeyUsage {
    #[serde(rename = "digitalSignature")]
    DigitalSignature,
    #[serde(rename = "keyCertSign")]
    KeyCertSign,
    #[serde(rename = "cRLSign")]
    CrlSign,
}

/// The purposes of RFC 5280 section 4.2.1.12 that a leaf may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum ExtendedKeyUsage {
    #[serde(rename = "serverAuth")]
    ServerAuth,
}

impl Profile {
    /// The profile that the program was built with.
    pub(super) fn embedded() -> Result<Self, toml::de::Error> {
        toml::from_str(EMBEDDED)
    }

    /// How far a certificate's start lies in the past.
    pub(super) fn backdate(&self) -> Duration {
        Duration::hours(self.backdate_hours.into())
    }
}

impl AuthorityProfile {
    pub(super) fn lifetime(&self) -> Duration {
        Duration::days(self.lifetime_days.into())
    }

    pub(super) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        purposes(&self.key_usage)
    }
}

impl LeafProfile {
    pub(super) fn lifetime(&self) -> Duration {
        Duration::hours(self.lifetime_hours.into())
    }

    /// The age at which a leaf in use is replaced.
    pub(super) fn renew_after(&self) -> Duration {
        Duration::hours(self.renew_after_hours.into())
    }

    pub(super) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        purposes(&self.key_usage)
    }

    pub(super) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let usages = self.extended_key_usage.iter();
        usages
            .map(|ExtendedKeyUsage::ServerAuth| ExtendedKeyUsagePurpose::ServerAuth)
            .collect()
    }
}

impl KeyType {
    /// Makes a key.
    pub(super) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::generate_for(self.algorithm())
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        }
    }
}

fn purposes(usages: &[KeyUsage]) -> Vec<KeyUsagePurpose> {
    let purpose = |usage: &KeyUsage| match usage {
        KeyUsage::DigitalSignature => KeyUsagePurpose::DigitalSignature,
        KeyUsage::KeyCertSign => KeyUsagePurpose::KeyCertSign,
        KeyUsage::CrlSign => KeyUsagePurpose::CrlSign,
    };
    usages.iter().map(purpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_profile_makes_certificates_that_clients_accept() {
        let profile = Profile::embedded().unwrap();
        assert!(profile.backdate() < Duration::days(1));
        // Go, NSS and Chromium look for these bits.
        assert!(profile.authority.key_usage.contains(&KeyUsage::KeyCertSign));
        assert_eq!(profile.leaf.key_usage, [KeyUsage::DigitalSignature]);
        assert_eq!(
            profile.leaf.extended_key_usage,
            [ExtendedKeyUsage::ServerAuth]
        );
        // An authority below this one could outlive the machine that it was made for.
        assert_eq!(profile.authority.path_length, 0);
        assert!(profile.leaf.renew_after() < profile.leaf.lifetime());
        // Apple refuses leaves of more than 825 days, public ones of more than 398.
        assert!(profile.leaf.lifetime() < Duration::days(398));
        assert!(profile.leaf.lifetime() < profile.authority.lifetime());
    }

    #[test]
    fn a_misspelt_key_or_another_key_type_is_no_profile() {
        for (known, other) in [
            ("lifetime_hours", "life_hours"),
            ("path_length = 0", "path_length = 0\nca = true"),
            ("ecdsa-p256", "rsa-1024"),
            ("serverAuth", "clientAuth"),
        ] {
            let text = EMBEDDED.replace(known, other);
            assert_ne!(text, EMBEDDED);
            assert!(toml::from_str::<Profile>(&text).is_err(), "{other}");
        }
    }
}
