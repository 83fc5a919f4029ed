//! The certificate authority that clients trust.

use serde::Serialize;

/// `egret ca show`.
#[derive(Debug, Serialize)]
pub struct AuthorityCertificate<'a> {
    /// The certificate as PEM.
    pub pem: &'a str,
}

/// `egret ca path`.
#[derive(Debug, Serialize)]
pub struct AuthorityPath {
    /// The file that holds the certificate.
    pub path: String,
}
