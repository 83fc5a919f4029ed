//! The store as the program uses it, whatever keeps it.

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

    /// Replaces the value and returns the new version. The one that is replaced stays for
    /// [`OVERLAP`](crate::vault::model::OVERLAP), sealed, to be looked for; what was before it is
    /// erased. A revoked credential stays revoked.
    async fn rotate(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        kind: Kind,
        seal: impl FnOnce(u32) -> Result<SealedFields, SealError> + Send
    ) -> Result<u32, StoreError>;

    /// Erases what was replaced at `rotated` (unix seconds) or before. Returns of how many
    /// credentials.
    async fn erase_replaced(&self, rotated: i64) -> Result<u64, StoreError>;

    /// Switches a credential off. Returns whether it was on.
    async fn revoke(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<bool, StoreError>;

    /// Switches a revoked credential on again. Returns whether it was off.
    async fn restore(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<bool, StoreError>;

    /// Removes a credential with its ciphertext and shares. What stays is its name and the number
    /// of its last version.
    async fn delete(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug
    ) -> Result<(), StoreError>;

    /// Changes where a credential may be used. Returns whether that differs from before.
    async fn allow(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        grant: &Grant
    ) -> Result<bool, StoreError>;

    /// Lets `with` use a credential. Returns whether they could not before.
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

    /// Removes a client: its token, and every action token minted for it, is dead at once.
    async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName
    ) -> Result<Client, StoreError>;

    /// Moves the end of a token that has one, as `egret run` does while its command lives. Also
    /// after it has passed: the machine may have been asleep. There is no administrative event,
    /// since nothing is granted that its owner was not granted before.
    async fn extend_client(&self, name: &ClientName, expires: i64) -> Result<(), StoreError>;

    /// All clients by name, expired ones that have not been removed included.
    async fn list_clients(&self) -> Result<Vec<Client>, StoreUnavailable>;

    /// What was committed after revision `since`, all of one moment; 0 for everything.
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

    /// The database, for tests that do to it what no command would.
    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &sqlite::Database {
        match &self.0 {
            Backend::Sqlite(database) => database,
        }
    }
}

/// Notices what any process commits to a store.
///
/// Every request asks, so the question has to cost next to nothing where the backend allows it: no
/// call, no lock and no wait.
#[derive(Debug)]
pub struct CommitWatch(Watch);

#[derive(Debug)]
enum Watch {
    Sqlite(sqlite::WalWatch),
}

impl CommitWatch {
    /// Whether what was read last is still what the store holds.
    pub fn check(&self) -> Freshness {
        match &self.0 {
            Watch::Sqlite(watch) => watch.check(),
        }
    }

    /// Reads the store with `read`. If that succeeds, everything that was committed before this call
    /// counts as read. A commit in the meantime does not, whether `read` saw it or not: to read it
    /// twice costs little, and to miss it would keep a revoked credential in use.
    pub async fn catch_up<T, E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match &self.0 {
            Watch::Sqlite(watch) => watch.catch_up(read).await,
        }
    }
}
