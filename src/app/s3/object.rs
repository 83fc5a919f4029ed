//! Puts an object into a bucket, by a URL that is signed for a short time (AWS Signature Version 4).
//!
//! The checksum of what is put is signed too, and compared by the store: what a fault or somebody on the
//! way has changed is not taken.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::channel::{Channel, Sender};
use rusty_s3::{Credentials, S3Action as _, UrlStyle};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::app::endpoint::Endpoint;
use crate::config::{S3Style, S3Target};
use crate::proxy::outbound::way::Way;
use crate::tls;

const CHECKSUM: &str = "x-amz-checksum-sha256";
/// Bytes read and sent at once.
const PIECE: usize = 256 * 1024;
/// How long the store may take, and how many bytes it has to take in a second more.
const PATIENCE: Duration = Duration::from_secs(60);
const LEAST_RATE: u64 = 64 * 1024;

/// Where objects go.
pub(super) struct Bucket {
    endpoint: Endpoint,
    bucket: rusty_s3::Bucket,
    prefix: String,
    login: PathBuf,
}

impl Bucket {
    /// The bucket that the configuration names.
    ///
    /// # Errors
    /// When the login or the roots cannot be read.
    pub fn new(target: &S3Target, ca_files: &[PathBuf], way: Way) -> Result<Self> {
        let (scheme, host) = (target.endpoint.scheme_str(), target.endpoint.authority());
        let (scheme, host) = scheme.zip(host).context("ledger.s3_url names no host")?;
        let endpoint = format!("{scheme}://{host}/").parse();
        let endpoint = endpoint.ok().context("ledger.s3_url is no URL")?;
        let (name, region) = (target.bucket.clone(), target.region.clone());
        let style = match target.style {
            S3Style::Path => UrlStyle::Path,
            S3Style::VirtualHost => UrlStyle::VirtualHost,
        };
        let bucket = rusty_s3::Bucket::new(endpoint, style, name, region);
        let bucket = bucket.ok().context("ledger.s3_url names no bucket")?;
        let url = bucket.base_url().as_str().parse();
        login(&target.login)?;
        Ok(Self {
            endpoint: Endpoint {
                url: url.context("ledger.s3_url is no URL")?,
                tls: tls::client::config(ca_files)?,
                way,
            },
            bucket,
            prefix: target.prefix.clone(),
            login: target.login.clone(),
        })
    }

    /// Puts an object there, in the place of one of that name.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn put(&self, name: &str, content: Content) -> Result<(), PutError> {
        // Read again, because logins of limited time are replaced.
        let login = login(&self.login).map_err(|_| PutError::Login)?;
        let name = format!("{}{name}", self.prefix);
        let checksum = content.checksum.clone();
        let allowed = PATIENCE + Duration::from_secs(content.length / LEAST_RATE);
        let mut action = self.bucket.put_object(Some(&login), &name);
        action.headers_mut().insert(CHECKSUM, &checksum);
        let url = Zeroizing::new(action.sign(allowed).to_string());
        let url: Uri = url.parse().map_err(io::Error::other)?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let host = url.authority().map_or("", |host| host.as_str());
        let (sender, body) = Channel::<Bytes, io::Error>::new(1);
        let request = Request::put(target)
            .header(header::HOST, host)
            .header(header::CONTENT_LENGTH, content.length)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(CHECKSUM, &checksum)
            .body(body)
            .map_err(io::Error::other)?;
        let reading = tokio::spawn(content.send(sender));
        let sent = timeout(allowed, self.endpoint.send(request)).await;
        reading.abort();
        let status = sent.map_err(|_| PutError::Silent)??;
        if status.is_success() {
            Ok(())
        } else {
            Err(PutError::Refused(status.as_u16()))
        }
    }
}

/// The login in a file: `ID:SECRET`, or `ID:SECRET:TOKEN`.
fn login(path: &Path) -> Result<Credentials> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("ledger.s3_login: cannot read {}", path.display()))?;
    let parts: Vec<&str> = text.trim().splitn(3, ':').collect();
    match parts[..] {
        _ if parts.contains(&"") => None,
        [id, secret] => Some(Credentials::new(id, secret)),
        [id, secret, token] => Some(Credentials::new_with_token(id, secret, token)),
        _ => None,
    }
    .with_context(|| {
        let path = path.display();
        format!(
            "ledger.s3_login: {path} holds no login; write ACCESS_KEY_ID:SECRET_ACCESS_KEY there"
        )
    })
}

/// What an object is to hold.
pub(super) struct Content {
    source: Box<dyn Source>,
    length: u64,
    /// Its SHA-256, in base64.
    checksum: String,
}

/// A file that stays the same although its name goes, or something in memory.
pub(super) trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

impl Content {
    /// All of it, which is read once now for its checksum.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(mut source: impl Source + 'static) -> io::Result<Self> {
        let mut digest = Digest::new(&SHA256);
        let mut piece = vec![0; PIECE];
        let mut length = 0;
        loop {
            match source.read(&mut piece)? {
                0 => break,
                read => {
                    digest.update(&piece[..read]);
                    length += read as u64;
                }
            }
        }
        source.seek(SeekFrom::Start(0))?;
        Ok(Self {
            source: Box::new(source),
            length,
            checksum: BASE64_STANDARD.encode(digest.finish()),
        })
    }

    /// Hands it on piece by piece. If that ends early, the request has too few bytes and fails.
    async fn send(mut self, mut to: Sender<Bytes, io::Error>) {
        let mut left = self.length;
        while left > 0 {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            match self.source.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    left -= read as u64;
                }
                Err(error) => return to.abort(error),
            }
            if to.send_data(piece.into()).await.is_err() {
                return;
            }
        }
    }
}

/// Why an object was not stored. It names nothing of the request: that holds a signature.
#[derive(Debug)]
pub(super) enum PutError {
    /// The file with the login.
    Login,
    /// No connection, or a file of the ledger that cannot be read.
    Io(io::Error),
    /// No answer in time.
    Silent,
    /// An answer with another status than 2xx.
    Refused(u16),
}

impl From<io::Error> for PutError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => f.write_str("the file of ledger.s3_login cannot be read"),
            Self::Io(error) => write!(f, "it cannot be reached or read: {}", error.kind()),
            Self::Silent => f.write_str("the store does not answer"),
            Self::Refused(status) => write!(f, "the store answered {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_login_has_two_parts_or_three() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            login(&path).map(|login| {
                let token = login.token().map(str::to_owned);
                (login.key().to_owned(), login.secret().to_owned(), token)
            })
        };
        let two = read("id:se/cret+\n").unwrap();
        assert_eq!(two, ("id".into(), "se/cret+".into(), None));
        let three = read("id:secret:to:ken\n").unwrap();
        assert_eq!(three.2.as_deref(), Some("to:ken"));
        for bad in ["", "id", "id:", ":secret", "id::token"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("holds no login"), "{error}");
        }
    }

    #[test]
    fn a_checksum_is_that_of_all_of_it() {
        let content = Content::new(Cursor::new(b"abc".to_vec())).unwrap();
        assert_eq!(content.length, 3);
        // FIPS 180-4, example B.1.
        assert_eq!(
            content.checksum,
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
    }
}
