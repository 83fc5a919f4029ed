//! Verification of a server by the fingerprint of its authority, which somebody was told in advance.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::fingerprint::Fingerprint;
use super::verify::Verifier;

/// Accepts a server whose authority, which it shows itself, has this fingerprint, and otherwise what
/// `others` accepts.
#[derive(Debug)]
pub(super) struct Pinned {
    pub fingerprint: Fingerprint,
    pub others: Arc<Verifier>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = intermediates.iter();
        let own = chain.find(|certificate| Fingerprint::of(certificate) == self.fingerprint);
        let Some(own) = own else {
            return self.others.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        };
        let mut roots = RootCertStore::empty();
        roots.add(own.clone().into_owned())?;
        let verifier = Verifier::new(roots, Vec::new());
        let verifier = verifier.map_err(|_| Error::General("no root".into()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}
