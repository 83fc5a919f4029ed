//! The next authority, which takes over from the present one at a set time.
//!
//! Clients have to trust it before it signs, and running programs keep the roots with which they were
//! started. So its certificate is added to the file of the present one at once, and with that to every
//! bundle, and it signs later. Its key is beside the present key, and its certificate with the time at
//! which it takes over is beside the present certificate:
//!
//! ```text
//! ca.pem       the present certificate and the next one
//! ca.key       the present key
//! ca.key.next  the next key
//! ca.pem.next  when it was published and from when it signs, and its certificate
//! ```
//!
//! After it has taken over, the next one becomes the present one when another rotation begins or this
//! one is finished: its key is renamed, its certificate stays alone in the file, and `ca.pem.next` goes
//! last. Each step can be repeated.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::AuthorityError;
use crate::files;

const PUBLISHED: &str = "published ";
const SIGNS_FROM: &str = "signs from ";

/// What is known of the next authority without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Since when its certificate is in the bundles.
    pub published: OffsetDateTime,
    /// From when it signs.
    pub from: OffsetDateTime,
    /// Its certificate as PEM.
    pub(super) certificate: String,
}

impl Succession {
    /// Reads what is beside the certificate; `None` where there is no next authority.
    pub(super) fn read(cert_path: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = next_to(cert_path);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| AuthorityError::file(&path, error))?,
        };
        let parsed = Self::parse(&text);
        parsed.map(Some).ok_or(AuthorityError::Unusable { path })
    }

    fn parse(text: &str) -> Option<Self> {
        let (published, rest) = text.strip_prefix(PUBLISHED)?.split_once('\n')?;
        let (from, certificate) = rest.strip_prefix(SIGNS_FROM)?.split_once('\n')?;
        let time = |text| OffsetDateTime::parse(text, &Rfc3339).ok();
        CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
        Some(Self {
            published: time(published)?,
            from: time(from)?,
            certificate: certificate.to_owned(),
        })
    }

    pub(super) fn write(&self, cert_path: &Path) -> Result<(), AuthorityError> {
        let path = next_to(cert_path);
        let time = |at: OffsetDateTime| at.format(&Rfc3339).map_err(|_| AuthorityError::Crypto);
        let text = format!(
            "{PUBLISHED}{}\n{SIGNS_FROM}{}\n{}",
            time(self.published)?,
            time(self.from)?,
            self.certificate
        );
        files::replace(&path, text.as_bytes(), files::PUBLIC)
            .map_err(|error| AuthorityError::file(&path, error))
    }

    /// Adds the certificate to the file of the present one, unless it is there.
    pub(super) fn publish(&self, cert_path: &Path, present: &str) -> Result<(), AuthorityError> {
        if present.contains(self.certificate.trim()) {
            return Ok(());
        }
        let both = format!("{}\n{}", present.trim_end(), self.certificate);
        write_certificates(cert_path, &both)
    }

    /// Makes the next authority the present one, alone.
    pub(super) fn complete(&self, cert_path: &Path, key_path: &Path) -> Result<(), AuthorityError> {
        let next_key = next_to(key_path);
        match fs::rename(&next_key, key_path) {
            // It was done before, and interrupted after that.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed.map_err(|error| AuthorityError::file(&next_key, error))?,
        }
        write_certificates(cert_path, &self.certificate)?;
        let path = next_to(cert_path);
        fs::remove_file(&path)
            .and_then(|()| files::sync_directory_of(&path))
            .map_err(|error| AuthorityError::file(&path, error))
    }
}

/// Where the next one is, for a file of the present one.
pub(super) fn next_to(path: &Path) -> PathBuf {
    files::beside(path, files::NEXT)
}

fn write_certificates(path: &Path, pem: &str) -> Result<(), AuthorityError> {
    files::replace(path, pem.as_bytes(), files::PUBLIC)
        .map_err(|error| AuthorityError::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_and_read_back_and_else_refused() {
        let home = tempfile::tempdir().unwrap();
        let cert = home.path().join("ca.pem");
        assert_eq!(Succession::read(&cert).unwrap(), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let succession = Succession {
            published: OffsetDateTime::UNIX_EPOCH,
            from: OffsetDateTime::UNIX_EPOCH + time::Duration::days(7),
            certificate: certificate.pem(),
        };
        succession.write(&cert).unwrap();
        assert_eq!(Succession::read(&cert).unwrap().as_ref(), Some(&succession));
        let whole = fs::read_to_string(next_to(&cert)).unwrap();
        for broken in [
            "",
            "published x\n",
            &whole[..60],
            &whole.replace("signs", "sings"),
        ] {
            fs::write(next_to(&cert), broken).unwrap();
            assert!(Succession::read(&cert).is_err(), "{broken}");
        }
    }
}
