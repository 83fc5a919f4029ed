//! The certificate authority that clients trust.

use serde::Serialize;

/// `egret ca show`.
#[derive(Debug, Serialize)]
pub struct AuthorityCertificate<'a> {
    /// The certificate as PEM.
    pub pem: &'a str,
    /// What clients accepted last, by name.
    pub clients: Vec<ClientAuthority>,
}

/// `egret ca path`.
#[derive(Debug, Serialize)]
pub struct AuthorityPath {
    /// The file that holds the certificate.
    pub path: String,
}

/// `egret ca export`.
#[derive(Debug, Serialize)]
pub struct ExportedAuthority {
    /// The system's roots with the certificate, PEM.
    pub bundle: String,
    /// The same as a Java key store.
    pub java: String,
    /// The file that holds the certificate.
    pub path: String,
    /// The same as `bundle` in PKCS #12.
    pub pkcs12: String,
    /// The variables that name the files, as a .env file.
    pub variables: String,
}

/// `egret ca install`.
#[derive(Debug, Serialize)]
pub struct InstalledAuthority {
    /// `install` or `remove`.
    pub action: String,
    /// The SHA-256 of each certificate.
    pub fingerprints: Vec<String>,
    /// The store that was changed.
    pub store: String,
}

/// `egret ca status` and `egret ca rotate`.
#[derive(Debug, Serialize)]
pub struct AuthorityState {
    /// The authority, and the one that takes over or has taken over.
    pub authorities: Vec<OneAuthority>,
    /// Since when clients are given both, if there are two.
    pub published: Option<String>,
    /// The names of clients that were added before that.
    pub clients_before: Vec<String>,
    /// What clients accepted and refused last, by name.
    pub clients: Vec<ClientAuthority>,
    /// Whether a server runs.
    pub server: bool,
}

/// Which authority a client accepted last, and which one it refused last.
#[derive(Debug, Serialize)]
pub struct ClientAuthority {
    /// The client's name.
    pub client: String,
    /// The authority of the last handshake that it completed.
    pub accepted: Option<SeenAuthority>,
    /// The authority of the last handshake that it ended because of the certificate.
    pub refused: Option<SeenAuthority>,
    /// Whether it accepted the one last that signs now.
    pub is_current: bool,
    /// Whether it refused the one that signs now, and has not accepted it since.
    pub refuses: bool,
}

/// An authority, and when a client was shown it.
#[derive(Debug, Serialize)]
pub struct SeenAuthority {
    /// The SHA-256 of its certificate.
    pub fingerprint: String,
    /// When.
    pub at: String,
}

/// One authority.
#[derive(Debug, Serialize)]
pub struct OneAuthority {
    /// The SHA-256 of its certificate.
    pub fingerprint: String,
    /// When its certificate ends.
    pub not_after: String,
    /// Whether it signs leaves now.
    pub signs: bool,
    /// From when it signs, if it takes over or has taken over.
    pub from: Option<String>,
}
