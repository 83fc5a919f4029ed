//! The files of a backup that are in no data directory, and what their keys are for.

use crate::files;

/// The manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// The digest of the manifest, sealed.
pub(super) const SEAL: &str = "manifest.seal";
/// What follows the name of a key that is in the clear in the data directory, and sealed here.
pub(super) const SEALED: &str = ".sealed";
/// What follows the names of certificate and key: of the present authority, and of the one that takes
/// over.
pub(super) const AUTHORITIES: [&str; 2] = ["", files::NEXT];

/// What the keys are for that seal these two.
pub(super) const MANIFEST_PURPOSE: &str = "backup manifest";
pub(super) const CA_KEY_PURPOSE: &str = "certificate authority key";
