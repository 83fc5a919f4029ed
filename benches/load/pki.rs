//! Keys and certificates of the origin and of the floor, made for one run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{RootCertStore, ServerConfig};

/// Classical key exchange only, for client, origin and floor alike: what post-quantum exchange
/// costs Egret towards upstreams that offer it is Egret's choice, and not measured here.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
    Arc::new(provider)
}

/// A certificate authority in `directory`: `NAME.pem` and `NAME.key`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    leaf_key: KeyPair,
    signer: Arc<dyn SigningKey>,
}

impl Authority {
    /// Makes a new one.
    pub fn create(directory: &Path, name: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params(name)?.self_signed(&key)?;
        fs::write(directory.join(format!("{name}.pem")), certificate.pem())?;
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// Reads one that was made before.
    pub fn load(directory: &Path, name: &str) -> Result<Self> {
        let key = fs::read_to_string(directory.join(format!("{name}.key")))?;
        let issuer = Issuer::new(params(name)?, KeyPair::from_pem(&key)?);
        let leaf_key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        Ok(Self {
            issuer,
            leaf_key,
            signer: aws_lc_rs::sign::any_ecdsa_type(&der)?,
        })
    }

    /// A leaf for `names`, all leaves with one key.
    pub fn leaf(&self, names: &[&str]) -> Result<Arc<CertifiedKey>> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let chain = vec![leaf.der().clone()];
        Ok(Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer))))
    }
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The certificates of a PEM file, as roots.
pub fn roots(path: &Path) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(path);
    for certificate in read.with_context(|| path.display().to_string())? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(roots))
}

/// A server that resumes sessions and speaks both versions of HTTP.
pub fn server_config(
    resolver: Arc<dyn rustls::server::ResolvesServerCert>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}
