//! The bucket that rotated files of the ledger and its checkpoints are stored in.

use std::path::PathBuf;

use http::Uri;

/// A bucket of a store that speaks the protocol of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Target {
    /// The address of the store; its path is not used.
    pub endpoint: Uri,
    /// How requests name the bucket.
    pub style: S3Style,
    /// The name of the bucket.
    pub bucket: String,
    /// What the names of objects begin with: empty, or ends with `/`.
    pub prefix: String,
    /// The region that is signed for.
    pub region: String,
    /// The file with the login.
    pub login: PathBuf,
}

/// Where the name of the bucket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Style {
    /// First in the path.
    Path,
    /// In front of the store's host name.
    VirtualHost,
}
