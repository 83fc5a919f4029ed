//! The revision of the last administrative event that is durable in the ledger, in a file of its own.
//!
//! A database of an earlier time verifies: it was Egret's. But it is older than what the ledger has,
//! and would make a revoked credential work again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::files;
use crate::vault::policy_key::{PolicyKey, PolicyKeys};
use crate::vault::store::error::StoreUnavailable;

/// The revision on record; `None` before the first.
pub(super) fn read(path: &Path, keys: &PolicyKeys) -> Result<Option<i64>, StoreUnavailable> {
    let failed = |reason: &str| StoreUnavailable::new(format!("{}: {reason}", path.display()));
    match fs::read(path) {
        Ok(sealed) => match keys.open_seen(&sealed) {
            Some(revision) => Ok(Some(revision)),
            None => Err(failed(
                "this file was not written under the master key in use; it says which changes are \
                 on record. `egret store accept` writes it again",
            )),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error.to_string())),
    }
}

/// Puts `revision` on record, unless a later one is.
pub(super) fn advance(
    path: &Path,
    keys: &PolicyKeys,
    revision: i64,
) -> Result<(), StoreUnavailable> {
    if read(path, keys)?.is_some_and(|on_record| on_record >= revision) {
        return Ok(());
    }
    write(path, &keys.current(), revision)
}

/// Puts `revision` on record, whatever was.
pub(super) fn write(path: &Path, key: &PolicyKey, revision: i64) -> Result<(), StoreUnavailable> {
    let sealed = key
        .seal_seen(revision)
        .map_err(|_| StoreUnavailable::new("no randomness"))?;
    files::replace(path, &sealed, files::PRIVATE)
        .map_err(|error| StoreUnavailable::new(format!("{}: {error}", path.display())))
}
