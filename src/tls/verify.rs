//! Verification of upstream certificates: against roots, or against one certificate that was named.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    server::VerifierBuilderError,
};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// Verifies against roots, and accepts a server certificate that `upstream.ca_files` lists itself.
///
/// `openssl req -x509` makes self-signed server certificates that are authorities too, which the
/// rules of the web PKI do not accept for a server. One that is listed in `upstream.ca_files` is
/// accepted if it is the same byte for byte, valid now, and names the host.
#[derive(Debug)]
pub struct Verifier {
    roots: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// A verifier over `roots` and the certificates that were `named`.
    ///
    /// # Errors
    /// When there is no root at all.
    pub fn new(
        roots: RootCertStore,
        named: Vec<CertificateDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            super::provider::provider(),
        );
        Ok(Self {
            roots: builder.build()?,
            named,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_roots = self.roots.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if by_roots.is_ok() || !self.named.iter().any(|named| named == end_entity) {
            return by_roots;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        check_validity(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

/// RFC 5280 section 4.1.2.5.
fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .ok_or(CertificateError::BadEncoding)?;
    let validity = parsed.1.validity();
    match (now < validity.not_before, now > validity.not_after) {
        (true, _) => Err(CertificateError::NotValidYet.into()),
        (_, true) => Err(CertificateError::Expired.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// A self-signed certificate that is an authority too, as `openssl req -x509` makes it.
    fn self_signed(host: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn verify(
        named: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        host: &str,
        seconds: u64,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(named.clone()).unwrap();
        let verifier = Verifier::new(roots, vec![named.clone()]).unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier
            .verify_server_cert(shown, &[], &host, &[], now)
            .map(|_| ())
    }

    const IN_2025: u64 = 1_750_000_000;

    #[test]
    fn a_named_certificate_is_accepted_for_its_host_and_its_time_only() {
        let named = self_signed("a.test");
        assert_eq!(verify(&named, &named, "a.test", IN_2025), Ok(()));
        assert!(verify(&named, &named, "b.test", IN_2025).is_err());
        for outside in [1_500_000_000, 2_000_000_000] {
            assert!(verify(&named, &named, "a.test", outside).is_err());
        }
    }

    #[test]
    fn another_certificate_for_the_same_host_is_not_accepted() {
        let (named, other) = (self_signed("a.test"), self_signed("a.test"));
        assert!(verify(&named, &other, "a.test", IN_2025).is_err());
    }
}
