//! Certificates of the upstreams, generated for every world.
//!
//! They share nothing with Egret's own CA, so that a proxy that trusts the wrong root, or presents
//! an upstream's certificate as its own, fails the handshake.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What is wrong with a certificate, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Valid for the names asked for.
    None,
    /// Self-signed.
    SelfSigned,
    /// Its validity ended years ago.
    Expired,
    /// Issued to another name.
    WrongName,
}

/// Writes an authority like Egret's own that is valid from one year to another.
pub fn write_authority(cert_path: &Path, key_path: &Path, (from, to): (i32, i32)) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = KeyPair::generate().expect("generate a CA key");
    let mut params = CertificateParams::new(Vec::new()).expect("CA parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let cert = params.self_signed(&key).expect("sign the authority");
    std::fs::write(cert_path, cert.pem()).expect("write");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(key_path)
        .expect("create");
    std::io::Write::write_all(&mut file, key.serialize_pem().as_bytes()).expect("write");
}

/// A certificate authority that exists for one test.
#[derive(Clone)]
pub struct Pki {
    /// The root in PEM form, as `upstream.ca_files` wants it.
    pub root_pem: String,
    root: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Pki {
    /// A new root with a new key.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("generate a CA key");
        let mut params = CertificateParams::new(Vec::new()).expect("CA parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the upstreams' own root");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).expect("sign the root");
        Self {
            root_pem: cert.pem(),
            root: cert.der().clone(),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    /// The root for a client that trusts the upstreams only.
    pub fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("add the root");
        roots
    }

    /// A TLS server configuration that speaks HTTP/1.1 and resumes sessions.
    pub fn server_config(&self, names: &[&str], flaw: Flaw) -> Arc<rustls::ServerConfig> {
        let (cert, key) = self.leaf(names, flaw);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a server configuration");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Writes a certificate for these names, of a server or a client, and its key.
    pub fn write_leaf(&self, names: &[&str], cert_path: &Path, key_path: &Path) {
        let (cert, key) = self.leaf(names, Flaw::None);
        std::fs::write(cert_path, cert.pem()).expect("write");
        std::fs::write(key_path, key.serialize_pem()).expect("write");
    }

    fn leaf(&self, names: &[&str], flaw: Flaw) -> (rcgen::Certificate, KeyPair) {
        let names: &[&str] = match flaw {
            Flaw::WrongName => &["somebody-else.test"],
            _ => names,
        };
        let key = KeyPair::generate().expect("generate a leaf key");
        let mut params = CertificateParams::new(Vec::new()).expect("leaf parameters");
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        if flaw == Flaw::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let cert = match flaw {
            Flaw::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        (cert.expect("sign a leaf"), key)
    }
}

fn san(name: &str) -> SanType {
    match name.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into().expect("a DNS name")),
    }
}
