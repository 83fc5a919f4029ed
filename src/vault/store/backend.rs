//! The store as the program uses it, whichever its backend.

use super::changes::{Changes, Freshness};
use super::error::{StoreError, StoreUnavailable};
use super::outbox::AdminEvent;
use super::sqlite;
use super::url::{Location, StoreUrl};
use crate::policy::grant::Grant;
use crate::substitution::slug::Slug;
use crate::vault::model::{Client, Credential, Kind, NewCredential, SealedFields, TokenHash};
use crate::vault::name::{Actor, ClientName, Principal};
use crate::vault::seal::{KeyId, SealError};

/// A handle on an open store; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Sqlite(sqlite::Database),
}

/// Declares what a store does. A backend is a type with these methods.
macro_rules! store {
    ($( $(#[$doc:meta])* async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty; )*) => {
        impl Store { $(
            $(#[$doc])*
            pub async fn $name(&self $(, $argument: $type)*) -> $answer {
                match &self.0 {
                    Backend::Sqlite(database) => database.$name($($argument),*).await,
                }
            }
        )* }
    };
}

store! {
    /// Adds a credential and returns the version of its value.
    ///
    /// `seal` is called once with that version, which is part of what the ciphertext is bound to.
    /// It is 1, or one more than the last version of a deleted credential of the same name.
    async fn create_credential(
        &self,
        actor: &Actor,
        new: &NewCredential,
        seal: impl FnOnce(u32) -> Result<SealedFields, SealError> + Send
    ) -> Result<u32, StoreError>;

    /// Replaces the value and returns the new version. The replaced one is kept, sealed, for
    /// [`OVERLAP`](crate::vault::model::OVERLAP), because answers are still searched for it; the
    /// one before it is erased. A revoked credential stays revoked.
    async fn rotate(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        kind: Kind,
        seal: impl FnOnce(u32) -> Result<SealedFields, SealError> + Send
    ) -> Result<u32, StoreError>;

    /// Erases the versions that were replaced at `rotated` (unix seconds) or before. Returns the
    /// number of credentials concerned.
    async fn erase_replaced(&self, rotated: i64) -> Result<u64, StoreError>;

    /// Revokes a credential. Returns whether it was active.
    async fn revoke(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<bool, StoreError>;

    /// Makes a revoked credential active again. Returns whether it was revoked.
    async fn restore(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<bool, StoreError>;

    /// Removes a credential with its ciphertext and shares. Its name and the number of its last
    /// version stay.
    async fn delete(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<(), StoreError>;

    /// Changes where a credential may be used. Returns whether this differs from before.
    async fn allow(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        grant: &Grant
    ) -> Result<bool, StoreError>;

    /// Shares a credential with a principal. Returns whether it was not shared before.
    async fn share(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Principal
    ) -> Result<bool, StoreError>;

    /// Ends a share. Returns whether there was one.
    async fn unshare(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Principal
    ) -> Result<bool, StoreError>;

    /// One credential, whatever its state.
    async fn get(
        &self,
        owner: &Principal,
        slug: &Slug
    ) -> Result<Option<Credential>, StoreUnavailable>;

    /// All credentials of one owner, or of everyone, ordered by owner and slug.
    async fn list(
        &self,
        owner: Option<&Principal>
    ) -> Result<Vec<Credential>, StoreUnavailable>;

    /// Adds a client that is known by the hash of its token until `expires` (unix seconds).
    ///
    /// Clients that have expired are removed at the same time: every `egret run` leaves one.
    async fn add_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        principal: &Principal,
        token_hash: &TokenHash,
        expires: Option<i64>
    ) -> Result<Client, StoreError>;

    /// Removes a client. Its token and every action token minted for it are invalid at once.
    async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName
    ) -> Result<Client, StoreError>;

    /// Extends a token that expires, as `egret run` does while its command runs. An expired one is
    /// extended too: the machine may have been suspended. There is no administrative event, since
    /// the owner of the token gains nothing that it had not.
    async fn extend_client(&self, name: &ClientName, expires: i64) -> Result<(), StoreError>;

    /// All clients by name, expired ones that have not been removed included.
    async fn list_clients(&self) -> Result<Vec<Client>, StoreUnavailable>;

    /// What was committed after revision `since`, in one consistent snapshot; 0 for everything.
    ///
    /// The work is proportional to the number of changes, not of credentials.
    async fn changes_since(&self, since: i64) -> Result<Changes, StoreUnavailable>;

    /// The oldest events not yet in the ledger, at most `limit`, in the order of their commits.
    async fn outbox_take(&self, limit: u32) -> Result<Vec<AdminEvent>, StoreUnavailable>;

    /// Removes events that are durable in the ledger.
    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreUnavailable>;

    /// Makes the store belong to the master key `id`, or checks that it does.
    ///
    /// Without this a mistyped path to the key file would seal new values under a new key, and
    /// nothing would say so.
    async fn bind_key(&self, id: KeyId) -> Result<(), StoreError>;

    /// Closes every connection.
    async fn close(&self) -> ();
}

impl Store {
    /// Opens the store that `url` names, and creates it if it is missing.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreUnavailable> {
        let backend = match &url.0 {
            Location::Sqlite(location) => Backend::Sqlite(sqlite::Database::open(location).await?),
        };
        Ok(Self(backend))
    }

    /// Starts to watch for commits. Nothing counts as read yet.
    pub async fn watch(&self) -> Result<CommitWatch, StoreUnavailable> {
        let watch = match &self.0 {
            Backend::Sqlite(database) => Watch::Sqlite(database.watch().await?),
        };
        Ok(CommitWatch(watch))
    }

    /// The database, for tests that change it in ways that no command would.
    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &sqlite::Database {
        match &self.0 {
            Backend::Sqlite(database) => database,
        }
    }
}

/// Notices commits of any process to a store.
///
/// Every request asks, so a backend should answer without a system call, a lock or a wait.
#[derive(Debug)]
pub struct CommitWatch(Watch);

#[derive(Debug)]
enum Watch {
    Sqlite(sqlite::WalWatch),
}

impl CommitWatch {
    /// Whether what was read last is still the store's content.
    pub fn check(&self) -> Freshness {
        match &self.0 {
            Watch::Sqlite(watch) => watch.check(),
        }
    }

    /// Reads the store with `read`. If that succeeds, everything that was committed before this
    /// call counts as read. A commit during the call does not, even if `read` saw it: reading it
    /// twice costs little, and missing it would keep a revoked credential in use.
    pub async fn catch_up<T, E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match &self.0 {
            Watch::Sqlite(watch) => watch.catch_up(read).await,
        }
    }
}
