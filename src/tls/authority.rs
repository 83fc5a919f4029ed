//! The local certificate authority, which is created on first use.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::profile::Profile;
use super::succession::{self, Succession};

pub use super::error::AuthorityError;
use crate::files;
use crate::policy::destination::Host;

/// Largest common name that X.520 allows (`ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// Whether a certificate is valid by its dates. Outside of them no client accepts what the authority
/// signs. An authority that was made while the clock was wrong can be on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Valid,
    /// It begins at this time.
    NotYet(OffsetDateTime),
    /// It ended at this time.
    Over(OffsetDateTime),
}

/// Egret's certificate authority, able to mint leaves.
pub struct Authority {
    profile: Profile,
    present: Signing,
    next: Option<Next>,
    certificate_pem: String,
    /// One key for all leaves, because a key costs more than a certificate. It is never the
    /// authority's own: the leaf key is in memory next to parsers of hostile input.
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn rustls::sign::SigningKey>,
}

/// A certificate with its key.
struct Signing {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    dates: Range<OffsetDateTime>,
}

/// The authority that takes over.
struct Next {
    signing: Signing,
    succession: Succession,
}

/// When the files of an authority were written, and which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([Option<(std::time::SystemTime, u64)>; 3]);

/// An authority, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The SHA-256 of its certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// When its certificate ends.
    pub not_after: OffsetDateTime,
    /// Whether it signs leaves now.
    pub signs: bool,
    /// From when it signs, if it has followed or will follow another one.
    pub from: Option<OffsetDateTime>,
}

impl Authority {
    /// Loads the authority from its two PEM files, and makes what is missing.
    ///
    /// Each file is written under another name first, so it is never there in part. The key is
    /// the first of the two. If a start is interrupted between them, or two processes start at
    /// once, the certificate is made for the key that is there: its name and number are
    /// derived from the key, so clients that trust one certificate for a key accept what another
    /// one signs.
    pub fn load_or_create(cert_path: &Path, key_path: &Path) -> Result<Self, AuthorityError> {
        let profile = Profile::embedded().map_err(|_| AuthorityError::Profile)?;
        if !key_path.exists() {
            if cert_path.exists() {
                return Err(AuthorityError::KeyMissing {
                    cert: cert_path.into(),
                    key: key_path.into(),
                });
            }
            create_key(&profile, key_path)?;
        }
        let key = load_key(key_path)?;
        if !cert_path.exists() {
            create_certificate(&profile, &key, cert_path)?;
        }
        load(profile, key, cert_path, key_path)
    }

    /// Makes the next authority and publishes it: from now on clients are to trust both, and from
    /// `from` on the next one signs. Where a next one waits already, only its time is changed. One that
    /// has taken over before becomes the present one first.
    ///
    /// # Errors
    /// When a file cannot be read or written. It can be repeated.
    pub fn rotate(
        cert_path: &Path,
        key_path: &Path,
        from: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        if let Some(waiting) = Succession::read(cert_path)? {
            if waiting.from > now {
                return Succession { from, ..waiting }.write(cert_path);
            }
            waiting.complete(cert_path, key_path)?;
        }
        let profile = Profile::embedded().map_err(|_| AuthorityError::Profile)?;
        let next_key = succession::next_to(key_path);
        create_key(&profile, &next_key)?;
        let next = Succession {
            published: now,
            from,
            certificate: certificate(&profile, &load_key(&next_key)?)?,
        };
        next.write(cert_path)?;
        let present = fs::read_to_string(cert_path).map_err(|error| file(cert_path, error))?;
        next.publish(cert_path, &present)
    }

    /// What changes when the files of the authority do.
    pub fn stamp(cert_path: &Path, key_path: &Path) -> Stamp {
        let next = succession::next_to(cert_path);
        let stamp = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.ino()))
        };
        Stamp([cert_path, key_path, &next].map(stamp))
    }

    /// Forgets the authority from before, if the next one has taken over. Returns whether it had.
    ///
    /// # Errors
    /// When a file cannot be read or written. It can be repeated.
    pub fn retire(
        cert_path: &Path,
        key_path: &Path,
        now: OffsetDateTime,
    ) -> Result<bool, AuthorityError> {
        match Succession::read(cert_path)? {
            Some(succession) if succession.from <= now => {
                succession.complete(cert_path, key_path)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether clients accept the authority at `now`, by the dates of its certificate.
    pub fn validity(&self, now: OffsetDateTime) -> Validity {
        let dates = &self.signing(now).dates;
        if now < dates.start {
            Validity::NotYet(dates.start)
        } else if now > dates.end {
            Validity::Over(dates.end)
        } else {
            Validity::Valid
        }
    }

    /// When the certificate ends that signs at `now`.
    pub fn ends(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.signing(now).dates.end
    }

    /// The authority's certificate as PEM: what clients have to trust. While another one takes over,
    /// both.
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's certificate, and while another one takes over that one's too.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let next = self
            .next
            .as_ref()
            .map(|next| next.signing.certificate.clone());
        [self.present.certificate.clone()]
            .into_iter()
            .chain(next)
            .collect()
    }

    /// The next authority, or the one that took over last.
    pub fn succession(&self) -> Option<&Succession> {
        self.next.as_ref().map(|next| &next.succession)
    }

    /// When the authority that signs at `now` took over, if it did. Leaves from before are not shown
    /// any more.
    pub(super) fn signs_since(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.took_over(now).map(|next| next.succession.from)
    }

    /// The SHA-256 of the certificate that signs at `now`, in hexadecimal digits.
    pub fn fingerprint(&self, now: OffsetDateTime) -> String {
        Fingerprint::of(&self.signing(now).certificate).to_string()
    }

    /// The authority, and the one that takes over.
    pub fn describe(&self, now: OffsetDateTime) -> Vec<Described> {
        let has_changed = self.took_over(now).is_some();
        let describe = |signing: &Signing, signs, from| Described {
            fingerprint: Fingerprint::of(&signing.certificate).to_string(),
            not_after: signing.dates.end,
            signs,
            from,
        };
        let present = describe(&self.present, !has_changed, None);
        let next = self.next.as_ref();
        let next = next.map(|it| describe(&it.signing, has_changed, Some(it.succession.from)));
        [present].into_iter().chain(next).collect()
    }

    /// The one whose signature leaves get.
    fn signing(&self, now: OffsetDateTime) -> &Signing {
        self.took_over(now)
            .map_or(&self.present, |next| &next.signing)
    }

    fn took_over(&self, now: OffsetDateTime) -> Option<&Next> {
        self.next
            .as_ref()
            .filter(|next| next.succession.from <= now)
    }

    /// The age at which a leaf in use is replaced by a new one.
    pub fn renew_after(&self) -> Duration {
        self.profile.leaf.renew_after()
    }

    /// How far the start of a leaf lies before the time at which it is minted.
    pub(super) fn backdate(&self) -> Duration {
        self.profile.backdate()
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
        let signing = self.signing(now);
        let leaf = params
            .signed_by(&self.leaf_key, &signing.issuer)
            .map_err(|_| AuthorityError::Crypto)?;
        let chain = vec![leaf.der().clone(), signing.certificate.clone()];
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

fn load_key(key_path: &Path) -> Result<KeyPair, AuthorityError> {
    let pem = Zeroizing::new(fs::read_to_string(key_path).map_err(|e| file(key_path, e))?);
    if pem.is_empty() {
        return Err(empty(key_path));
    }
    let key = KeyPair::from_pem(&pem).map_err(|_| unusable(key_path))?;
    warn_if_open(key_path);
    Ok(key)
}

fn load(
    profile: Profile,
    key: KeyPair,
    cert_path: &Path,
    key_path: &Path,
) -> Result<Authority, AuthorityError> {
    let certificate_pem = read_certificates(cert_path)?;
    let present = signing(key, &certificate_pem, cert_path, key_path)?;
    let next = load_next(&present, cert_path, key_path)?;
    let certificate_pem = match &next {
        Some(next) => {
            next.succession.publish(cert_path, &certificate_pem)?;
            read_certificates(cert_path)?
        }
        None => certificate_pem,
    };
    let leaf_key = profile
        .leaf
        .key
        .generate()
        .map_err(|_| AuthorityError::Crypto)?;
    let leaf_signer = signer(&leaf_key)?;
    Ok(Authority {
        profile,
        present,
        next,
        certificate_pem,
        leaf_key,
        leaf_signer,
    })
}

fn read_certificates(path: &Path) -> Result<String, AuthorityError> {
    let pem = fs::read_to_string(path).map_err(|e| file(path, e))?;
    if pem.is_empty() {
        return Err(empty(path));
    }
    Ok(pem)
}

/// The next authority, unless it became the present one and that was interrupted at the end.
fn load_next(
    present: &Signing,
    cert_path: &Path,
    key_path: &Path,
) -> Result<Option<Next>, AuthorityError> {
    let Some(succession) = Succession::read(cert_path)? else {
        return Ok(None);
    };
    let (cert_path, key_path) = (
        succession::next_to(cert_path),
        succession::next_to(key_path),
    );
    if !key_path.exists() && certificates(&succession.certificate).contains(&present.certificate) {
        return Ok(None);
    }
    let key = load_key(&key_path)?;
    let signing = signing(key, &succession.certificate, &cert_path, &key_path)?;
    Ok(Some(Next {
        signing,
        succession,
    }))
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .flatten()
        .collect()
}

/// A key with that of the certificates which was made for it. With the key of another one the
/// authority would mint leaves that no client can verify.
fn signing(
    key: KeyPair,
    pem: &str,
    cert_path: &Path,
    key_path: &Path,
) -> Result<Signing, AuthorityError> {
    let known = certificates(pem);
    if known.is_empty() {
        return Err(unusable(cert_path));
    }
    let signer = signer(&key)?;
    let is_its_own = |certificate: &CertificateDer<'static>| {
        let pair = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&signer));
        let unknown = rustls::InconsistentKeys::Unknown;
        match pair.keys_match() {
            Ok(()) => true,
            Err(error) => error == rustls::Error::InconsistentKeys(unknown),
        }
    };
    let certificate =
        known
            .into_iter()
            .find(is_its_own)
            .ok_or_else(|| AuthorityError::Mismatch {
                cert: cert_path.into(),
                key: key_path.into(),
            })?;
    let dates = dates(&certificate).ok_or_else(|| unusable(cert_path))?;
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| unusable(cert_path))?;
    Ok(Signing {
        issuer,
        certificate,
        dates,
    })
}

/// From when to when a certificate is valid.
fn dates(certificate: &CertificateDer<'_>) -> Option<Range<OffsetDateTime>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(validity.not_before.to_datetime()..validity.not_after.to_datetime())
}

fn create_key(profile: &Profile, key_path: &Path) -> Result<(), AuthorityError> {
    let key = profile
        .authority
        .key
        .generate()
        .map_err(|_| AuthorityError::Crypto)?;
    let pem = Zeroizing::new(key.serialize_pem());
    files::create_once(key_path, pem.as_bytes(), files::PRIVATE)
        .map_err(|error| file(key_path, error))
}

fn create_certificate(
    profile: &Profile,
    key: &KeyPair,
    cert_path: &Path,
) -> Result<(), AuthorityError> {
    let pem = certificate(profile, key)?;
    files::create_once(cert_path, pem.as_bytes(), files::PUBLIC)
        .map_err(|error| file(cert_path, error))
}

/// The certificate of the authority with this key, as PEM.
fn certificate(profile: &Profile, key: &KeyPair) -> Result<String, AuthorityError> {
    let authority = &profile.authority;
    let digest = digest(&SHA256, key.public_key_raw());
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - profile.backdate();
    params.not_after = now + authority.lifetime();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A tag in the name tells one machine's authority from another's in a trust store.
    let tag: String = digest.as_ref()[..3]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let name = &mut params.distinguished_name;
    name.push(
        DnType::CommonName,
        format!("{} {tag}", authority.common_name),
    );
    name.push(DnType::OrganizationName, authority.organization.as_str());
    params.serial_number = Some(serial(&digest));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(authority.path_length));
    params.key_usages = authority.key_usages();
    let certificate = params
        .self_signed(key)
        .map_err(|_| AuthorityError::Crypto)?;
    Ok(certificate.pem())
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
    Ok(positive(bytes))
}

/// The serial of the authority, from the digest of its key.
fn serial(digest: &Digest) -> SerialNumber {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    positive(bytes)
}

fn positive(mut bytes: [u8; 16]) -> SerialNumber {
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn file(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::file(path, source)
}

fn unusable(path: &Path) -> AuthorityError {
    AuthorityError::Unusable { path: path.into() }
}

fn empty(path: &Path) -> AuthorityError {
    AuthorityError::Empty { path: path.into() }
}

#[cfg(test)]
mod tests;
