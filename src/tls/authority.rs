//! The local certificate authority, which is created on first use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::profile::Profile;
use crate::files;
use crate::policy::destination::Host;

/// Largest common name that X.520 allows (`ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// The authority could not be loaded or created. The texts hold nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of the two files exists and the other does not.
    #[error(
        "{found} exists but {missing} does not; restore the missing file from a backup, \
         or move the other away to have a new authority created"
    )]
    Incomplete {
        /// The file that exists.
        found: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A file does not hold the PEM certificate or key that it should.
    #[error("{path} is not a usable PEM file of an ECDSA P-256 authority")]
    Unusable {
        /// The file concerned.
        path: PathBuf,
    },
    /// The certificate was made for another key.
    #[error("{cert} was not made for the key in {key}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The program was built with a faulty `certs/profile.toml`.
    #[error("certs/profile.toml, which this program was built with, is not a certificate profile")]
    Profile,
    /// The cryptography library refused.
    #[error("cannot make a certificate")]
    Crypto,
}

/// Egret's certificate authority, able to mint leaves.
pub struct Authority {
    profile: Profile,
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
    /// One key for all leaves, because a key costs more than a certificate. It is never the
    /// authority's own: the leaf key is in memory next to parsers of hostile input.
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn rustls::sign::SigningKey>,
}

impl Authority {
    /// Loads the authority from its two PEM files, or creates them if neither exists.
    ///
    /// The key file is created with mode 0600 before anything is written to it.
    pub fn load_or_create(cert_path: &Path, key_path: &Path) -> Result<Self, AuthorityError> {
        let profile = Profile::embedded().map_err(|_| AuthorityError::Profile)?;
        match (cert_path.exists(), key_path.exists()) {
            (false, false) => create(&profile, cert_path, key_path)?,
            (true, false) => return Err(incomplete(cert_path, key_path)),
            (false, true) => return Err(incomplete(key_path, cert_path)),
            (true, true) => {}
        }
        load(profile, cert_path, key_path)
    }

    /// The authority's certificate as PEM: what clients have to trust.
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The age at which a leaf in use is replaced by a new one.
    pub fn renew_after(&self) -> Duration {
        self.profile.leaf.renew_after()
    }

    /// Mints a certificate for `host`, valid around `now`.
    ///
    /// The name is a SAN of the right type (RFC 9525 section 6.3: clients ignore the common name),
    /// and the chain carries AKI and SKI (Python 3.13 verifies strictly).
    pub fn mint(&self, host: &Host, now: OffsetDateTime) -> Result<CertifiedKey, AuthorityError> {
        let mut params = CertificateParams::default();
        params.not_before = now - self.profile.backdate();
        params.not_after = now + self.profile.leaf.lifetime();
        // All leaves share a key, and the library would derive the serial from the key: NSS
        // refuses two certificates of one issuer with one serial.
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = host.to_string();
        if name.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = vec![match host {
            Host::Domain(name) => SanType::DnsName(
                name.to_string()
                    .try_into()
                    .map_err(|_| AuthorityError::Crypto)?,
            ),
            Host::Ipv4(ip) => SanType::IpAddress((*ip).into()),
            Host::Ipv6(ip) => SanType::IpAddress((*ip).into()),
        }];
        // `ExplicitNoCa` makes the library write the subject key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = self.profile.leaf.key_usages();
        params.extended_key_usages = self.profile.leaf.extended_key_usages();
        let leaf = params
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(|_| AuthorityError::Crypto)?;
        let chain = vec![leaf.der().clone(), self.certificate_der.clone()];
        Ok(CertifiedKey::new(chain, Arc::clone(&self.leaf_signer)))
    }
}

/// Not refused: the key may come from elsewhere and be shared with a group on purpose.
fn warn_if_open(key_path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(key_path).map(|metadata| metadata.permissions().mode() & 0o777);
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            key = %key_path.display(),
            "other users may be able to read the key of the certificate authority; run chmod 600 on it"
        );
    }
}

fn load(profile: Profile, cert_path: &Path, key_path: &Path) -> Result<Authority, AuthorityError> {
    let certificate_pem = fs::read_to_string(cert_path).map_err(|e| file(cert_path, e))?;
    let key_pem = Zeroizing::new(fs::read_to_string(key_path).map_err(|e| file(key_path, e))?);
    let key = KeyPair::from_pem(&key_pem).map_err(|_| unusable(key_path))?;
    warn_if_open(key_path);
    let certificate_der =
        <CertificateDer<'static> as rustls::pki_types::pem::PemObject>::from_pem_slice(
            certificate_pem.as_bytes(),
        )
        .map_err(|_| unusable(cert_path))?;
    let leaf_key = profile
        .leaf
        .key
        .generate()
        .map_err(|_| AuthorityError::Crypto)?;
    let leaf_signer = signer(&leaf_key)?;
    check_pair(&certificate_der, &key, cert_path, key_path)?;
    let issuer =
        Issuer::from_ca_cert_der(&certificate_der, key).map_err(|_| unusable(cert_path))?;
    Ok(Authority {
        profile,
        issuer,
        certificate_pem,
        certificate_der,
        leaf_key,
        leaf_signer,
    })
}

/// With a key of another certificate the authority would mint leaves that no client can verify.
fn check_pair(
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
    cert_path: &Path,
    key_path: &Path,
) -> Result<(), AuthorityError> {
    let pair = CertifiedKey::new(vec![certificate.clone()], signer(key)?);
    match pair.keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(_) => Err(AuthorityError::Mismatch {
            cert: cert_path.into(),
            key: key_path.into(),
        }),
    }
}

fn create(profile: &Profile, cert_path: &Path, key_path: &Path) -> Result<(), AuthorityError> {
    let authority = &profile.authority;
    let key = authority
        .key
        .generate()
        .map_err(|_| AuthorityError::Crypto)?;
    let serial = random_serial()?;
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - profile.backdate();
    params.not_after = now + authority.lifetime();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A tag in the name tells one machine's authority from another's in a trust store.
    let tag: String = serial.to_bytes()[..3]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let name = &mut params.distinguished_name;
    name.push(
        DnType::CommonName,
        format!("{} {tag}", authority.common_name),
    );
    name.push(DnType::OrganizationName, authority.organization.as_str());
    params.serial_number = Some(serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(authority.path_length));
    params.key_usages = authority.key_usages();
    let certificate = params
        .self_signed(&key)
        .map_err(|_| AuthorityError::Crypto)?;
    let key_pem = Zeroizing::new(key.serialize_pem());
    // The key first. After a crash in between there is no certificate yet that a client could
    // trust.
    files::create_new(key_path, key_pem.as_bytes(), files::PRIVATE)
        .map_err(|error| file(key_path, error))?;
    files::create_new(cert_path, certificate.pem().as_bytes(), files::PUBLIC)
        .map_err(|error| file(cert_path, error))
}

fn signer(key: &KeyPair) -> Result<Arc<dyn rustls::sign::SigningKey>, AuthorityError> {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    any_ecdsa_type(&der).map_err(|_| AuthorityError::Crypto)
}

/// A positive 127-bit serial (RFC 5280 section 4.1.2.2: at most 20 octets, not negative).
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Crypto)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn file(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::File {
        path: path.into(),
        source,
    }
}

fn unusable(path: &Path) -> AuthorityError {
    AuthorityError::Unusable { path: path.into() }
}

fn incomplete(found: &Path, missing: &Path) -> AuthorityError {
    AuthorityError::Incomplete {
        found: found.into(),
        missing: missing.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn host(name: &str) -> Host {
        Host::parse(name).expect("a host")
    }

    #[test]
    fn is_created_once_and_loaded_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        let first = Authority::load_or_create(&cert, &key).unwrap();
        let second = Authority::load_or_create(&cert, &key).unwrap();
        assert_eq!(first.cert_pem(), second.cert_pem());
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_missing_file_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        Authority::load_or_create(&cert, &key).unwrap();
        fs::remove_file(&key).unwrap();
        assert!(matches!(
            Authority::load_or_create(&cert, &key),
            Err(AuthorityError::Incomplete { .. })
        ));
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        Authority::load_or_create(&path("a.pem"), &path("a.key")).unwrap();
        Authority::load_or_create(&path("b.pem"), &path("b.key")).unwrap();
        assert!(matches!(
            Authority::load_or_create(&path("a.pem"), &path("b.key")),
            Err(AuthorityError::Mismatch { .. })
        ));
    }

    #[test]
    fn certificates_are_made_as_the_profile_says() {
        use x509_parser::prelude::{FromDer as _, X509Certificate};

        let dir = tempfile::tempdir().unwrap();
        let authority =
            Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
        let profile = &authority.profile;
        let leaf = authority
            .mint(&host("api.example.test"), OffsetDateTime::now_utc())
            .unwrap();
        let (_, ca) = X509Certificate::from_der(&authority.certificate_der).unwrap();
        let (_, leaf) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
        let life = |certificate: &X509Certificate<'_>| {
            let validity = certificate.validity();
            validity.not_after.timestamp() - validity.not_before.timestamp()
        };
        let backdate = profile.backdate();
        let expected = profile.authority.lifetime() + backdate;
        assert_eq!(life(&ca), expected.whole_seconds());
        let expected = profile.leaf.lifetime() + backdate;
        assert_eq!(life(&leaf), expected.whole_seconds());

        let subject = ca.subject().to_string();
        assert!(
            subject.contains(&profile.authority.common_name),
            "{subject}"
        );
        assert!(
            subject.contains(&profile.authority.organization),
            "{subject}"
        );
        let constraints = ca.basic_constraints().unwrap().unwrap().value;
        assert!(constraints.ca);
        assert_eq!(constraints.path_len_constraint, Some(0));
        let usage = ca.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());

        assert!(!leaf.is_ca());
        let usage = leaf.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);
    }

    #[test]
    fn leaves_verify_for_names_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let authority =
            Authority::load_or_create(&dir.path().join("c"), &dir.path().join("k")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate_der.clone()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            crate::tls::provider(),
        )
        .build()
        .unwrap();
        for name in ["api.example.test", "192.0.2.7", "[2001:db8::7]"] {
            let leaf = authority
                .mint(&host(name), OffsetDateTime::now_utc())
                .unwrap();
            let server = name.trim_matches(['[', ']']).to_owned();
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &leaf.cert[0],
                &leaf.cert[1..],
                &server.try_into().unwrap(),
                &[],
                rustls::pki_types::UnixTime::now(),
            )
            .unwrap();
        }
    }
}
