//! The TLS client of upstreams.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::fingerprint::Fingerprint;
use super::pinned::Pinned;
use super::verify::Verifier;

/// Sessions kept for resumption, over all destinations.
const SESSIONS: usize = 4_096;

/// The trust anchors for upstreams could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file of `upstream.ca_files` cannot be used.
    #[error("upstream.ca_files: {path}: {reason}")]
    File {
        /// The file as configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file with a client's certificate cannot be used.
    #[error("{path}: holds no certificate with its private key, as PEM")]
    Own {
        /// The file as given.
        path: PathBuf,
    },
    /// There is no root certificate, and no substitute could be made.
    #[error("no root certificates can be loaded")]
    NoRoots,
    /// TLS could not be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A client configuration that trusts the system's roots and the certificates in `ca_files`. It
/// offers no ALPN protocol: that depends on the request.
///
/// Unreadable system roots are only logged: a machine without any can still reach upstreams of
/// `ca_files`, and every other handshake fails with `upstream_tls_failed`.
pub fn config(ca_files: &[PathBuf]) -> Result<Arc<ClientConfig>, RootsError> {
    let mut config = builder(roots(ca_files)?)?.with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

/// A client configuration for the proxy of another machine, whose authority has this `fingerprint`, or
/// which has a certificate that upstreams could have. With the certificate and key of the PEM file
/// `own`, if the proxy wants one.
///
/// # Errors
/// When a file cannot be used.
pub fn pinned(
    fingerprint: Fingerprint,
    ca_files: &[PathBuf],
    own: Option<&Path>,
) -> Result<Arc<ClientConfig>, RootsError> {
    let others = roots(ca_files)?;
    let builder = builder(Arc::new(Pinned {
        fingerprint,
        others,
    }))?;
    let mut config = match own {
        Some(path) => {
            let problem = || RootsError::Own { path: path.into() };
            let chain = CertificateDer::pem_file_iter(path).map_err(|_| problem())?;
            let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| problem())?;
            let key = PrivateKeyDer::from_pem_file(path).map_err(|_| problem())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| problem())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn builder(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, RootsError> {
    let builder = ClientConfig::builder_with_provider(super::provider::provider())
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Tls)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

/// The system's roots and those of `ca_files`.
fn roots(ca_files: &[PathBuf]) -> Result<Arc<Verifier>, RootsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for problem in &system.errors {
        tracing::warn!(%problem, "some of the system's root certificates cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    let mut named = Vec::new();
    for path in ca_files {
        add_file(&mut roots, &mut named, path)?;
    }
    verifier(roots, named)
}

/// Without any root every upstream's certificate is refused.
fn verifier(
    mut roots: RootCertStore,
    named: Vec<CertificateDer<'static>>,
) -> Result<Arc<Verifier>, RootsError> {
    if roots.is_empty() {
        // The builder refuses an empty store. The key of this root is dropped here, so it signs
        // nothing.
        let key = KeyPair::generate().map_err(|_| RootsError::NoRoots)?;
        let unused = CertificateParams::default()
            .self_signed(&key)
            .map_err(|_| RootsError::NoRoots)?;
        roots
            .add(unused.der().clone())
            .map_err(|_| RootsError::NoRoots)?;
    }
    let verifier = Verifier::new(roots, named).map_err(|_| RootsError::NoRoots)?;
    Ok(Arc::new(verifier))
}

fn add_file(
    roots: &mut RootCertStore,
    named: &mut Vec<CertificateDer<'static>>,
    path: &Path,
) -> Result<(), RootsError> {
    let problem = |reason: String| RootsError::File {
        path: path.into(),
        reason,
    };
    let mut found = 0usize;
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| problem(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| problem(error.to_string()))?;
        roots
            .add(certificate.clone())
            .map_err(|error| problem(error.to_string()))?;
        named.push(certificate);
        found += 1;
    }
    if found == 0 {
        return Err(problem("holds no PEM certificate".into()));
    }
    Ok(())
}
