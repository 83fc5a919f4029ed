//! Why the store did not do what it was asked.

use crate::error::{Code, Refusal};
use crate::substitution::slug::Slug;
use crate::vault::name::{ClientName, Principal};
use crate::vault::seal::SealError;

/// The store cannot be read or written. Holds a reason for the log, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential store is not available: {reason}")]
pub struct StoreUnavailable {
    /// What failed, for the operator's log.
    pub reason: String,
}

impl StoreUnavailable {
    /// With a reason for the log.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl From<StoreUnavailable> for Refusal {
    /// The reason stays in the log: it can hold a path of this machine.
    fn from(_: StoreUnavailable) -> Self {
        Refusal::new(
            Code::StoreUnavailable,
            "The credential store cannot be read, so nothing was sent. \
             The reason is in Egret's log, for its operator.",
        )
    }
}

/// Why an administrative change was not made. The store is unchanged then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No credential of that owner and slug.
    #[error("{owner} has no credential `{slug}`")]
    NotFound {
        /// The owner asked for.
        owner: Principal,
        /// The slug asked for.
        slug: Slug,
    },
    /// The slug is taken, maybe by a revoked credential.
    #[error(
        "{owner} already has a credential `{slug}`: rotate it to change its value, or delete it first"
    )]
    Exists {
        /// Owner of the existing credential.
        owner: Principal,
        /// The slug.
        slug: Slug,
    },
    /// Meanwhile it was deleted and added again with another kind.
    #[error("the credential `{0}` changed its kind in the meantime; nothing was changed")]
    KindChanged(Slug),
    /// A credential is not shared with its own owner.
    #[error("{0} owns the credential; there is nothing to share")]
    OwnCredential(Principal),
    /// No client of that name.
    #[error("there is no client `{0}`")]
    ClientNotFound(ClientName),
    /// The client name is taken.
    #[error("there is already a client `{0}`: remove it first, its token stops working at once")]
    ClientExists(ClientName),
    /// The store belongs to another master key.
    #[error(
        "the store's values were sealed under master key {expected}, but the key loaded is {found}. \
         Put the old key back, or start with a new data directory; \
         if the key file was missing, a new one was created, which the old one can replace"
    )]
    OtherKey {
        /// Name of the key the store was sealed with.
        expected: String,
        /// Name of the key that was loaded.
        found: String,
    },
    /// The value could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store itself failed.
    #[error(transparent)]
    Unavailable(#[from] StoreUnavailable),
}
