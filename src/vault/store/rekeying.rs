//! Sealing the store again under another master key: what it needs, and what came of it.

use crate::substitution::slug::{Field, Slug};
use crate::vault::name::Principal;
use crate::vault::seal::Sealed;

/// What a value is of.
#[derive(Clone, Copy, Debug)]
pub struct ValueOf<'a> {
    /// Owner of the credential.
    pub owner: &'a Principal,
    /// Slug of the credential.
    pub slug: &'a Slug,
    /// The field, or `None` for a bare value.
    pub field: Option<&'a Field>,
    /// The version of the value.
    pub version: u32,
}

/// Seals a value again under the next master key. `None` for one that does not open: it stays as it is,
/// and does not open later either. The store cannot do this itself.
pub type Reseal<'a> = dyn Fn(ValueOf<'_>, &Sealed) -> Option<Sealed> + Send + Sync + 'a;

/// Hears how many of all entries are done.
pub type Progress<'a> = dyn Fn(u64, u64) + Send + Sync + 'a;

/// What was sealed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Entries that are authenticated, and values.
    pub entries: u64,
    /// Those that are not what Egret wrote. They are as unusable as before.
    pub unusable: u64,
}
