//! The vault of a running proxy: all that requests need of the store, in memory and never older
//! than the last commit.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::files;
use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::keyring::{Keyring, TokenKey};
use crate::vault::model::{Client, Credential, State, TokenHash};
use crate::vault::name::{ClientName, Principal};
use crate::vault::seal::{EncryptionContext, OpenError, Opener};
use crate::vault::sealed_value::SealedValue;
use crate::vault::store::{
    Changes, CommitWatch, Freshness, Store, StoreError, StoreUnavailable, StoreUrl,
};

mod clients;
mod view;

use clients::ClientIndex;
use view::View;

/// How long a request waits for a changed store to be read.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// Which credential a slug names for a principal.
#[derive(Clone, Debug)]
pub enum Found {
    /// This one.
    One(Arc<Credential>),
    /// None that may be used now, whether it is unknown, revoked, expired, deleted or someone
    /// else's.
    None,
    /// Several owners share one of that slug, and the principal owns none.
    Ambiguous,
}

/// Credentials and clients of a running proxy.
pub struct Vault {
    store: Store,
    opener: Opener,
    tokens: TokenKey,
    watch: CommitWatch,
    /// The store's revision that is loaded. Held while a later one is loaded.
    revision: Mutex<i64>,
    views: DashMap<Principal, View>,
    clients: ArcSwap<ClientIndex>,
    generation: AtomicU64,
    retired: AtomicU64,
}

/// Whether a value of `before` is no longer used `after`.
fn retires(before: &Credential, after: &Credential) -> bool {
    let versions = |credential: &Credential| {
        let previous = credential
            .previous
            .as_ref()
            .map(|replaced| replaced.version);
        (credential.version, previous)
    };
    versions(before) != versions(after)
        || (before.state, after.state) == (State::Active, State::Revoked)
}

/// Why the vault could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The data directory cannot be created, or is open to others.
    #[error("the data directory {path} cannot be used: {error}")]
    DataDir {
        /// The directory.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The store cannot be opened, or belongs to another master key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StoreUnavailable> for VaultError {
    fn from(error: StoreUnavailable) -> Self {
        VaultError::Store(error.into())
    }
}

impl Vault {
    /// Opens the store, checks that it belongs to the keyring's master key, and loads everything.
    pub async fn open(
        data_dir: &Path,
        store_url: &StoreUrl,
        keyring: &Keyring,
    ) -> Result<Self, VaultError> {
        files::private_directory(data_dir).map_err(|error| VaultError::DataDir {
            path: data_dir.display().to_string(),
            error,
        })?;
        let store = Store::open(store_url).await?;
        store.bind_key(keyring.id()).await?;
        let watch = store.watch().await?;
        let vault = Self {
            opener: keyring.opener(),
            tokens: keyring.token_key(),
            watch,
            revision: Mutex::new(0),
            views: DashMap::new(),
            clients: ArcSwap::default(),
            generation: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            store,
        };
        vault.reload().await?;
        Ok(vault)
    }

    /// Loads everything that any process committed before this call. To be awaited at the start of
    /// every request.
    ///
    /// Without a change it reads shared memory and does not wait. With one, it loads only what
    /// changed, once for all requests that wait. An error means that there is a change which cannot
    /// be read; the request must then be refused.
    pub async fn refresh(&self) -> Result<(), StoreUnavailable> {
        if self.watch.check() == Freshness::Fresh {
            return Ok(());
        }
        // In a box, because the future is part of every request's and hardly any request runs it.
        let reload = Box::pin(self.reload());
        let result = match tokio::time::timeout(REFRESH_DEADLINE, reload).await {
            Ok(result) => result,
            Err(_) => Err(StoreUnavailable::new("it does not answer in time")),
        };
        // Logged here: the caller refuses the request without the reason.
        result.inspect_err(|error| tracing::error!("{error}"))
    }

    async fn reload(&self) -> Result<(), StoreUnavailable> {
        let mut revision = self.revision.lock().await;
        // Another request may have loaded it while this one waited for the lock.
        match self.watch.check() {
            Freshness::Fresh => Ok(()),
            Freshness::Stale => self.watch.catch_up(self.load(&mut revision)).await,
            Freshness::Gone(reason) => Err(StoreUnavailable::new(reason)),
        }
    }

    /// Takes over what is new since `revision`.
    async fn load(&self, revision: &mut i64) -> Result<(), StoreUnavailable> {
        let mut changes = self.store.changes_since(*revision).await?;
        if changes.revision < *revision {
            // The store was replaced by an older state, from a backup: all of it is loaded again.
            changes = self.store.changes_since(0).await?;
            changes
                .deleted
                .extend(self.missing_from(&changes.credentials));
        }
        *revision = changes.revision;
        self.apply(changes);
        Ok(())
    }

    fn apply(&self, changes: Changes) {
        let nothing = changes.credentials.is_empty()
            && changes.deleted.is_empty()
            && changes.clients.is_none();
        for credential in changes.credentials {
            self.put(Arc::new(credential));
        }
        for (owner, slug) in &changes.deleted {
            self.drop_credential(owner, slug);
        }
        if let Some(clients) = changes.clients {
            self.clients.store(Arc::new(ClientIndex::new(clients)));
        }
        if !nothing {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Replaces the credential in one step, so that a request at the same time always finds one.
    fn put(&self, credential: Arc<Credential>) {
        let previous = self
            .views
            .entry(credential.owner.clone())
            .or_default()
            .own
            .insert(credential.slug.clone(), Arc::clone(&credential));
        if let Some(previous) = &previous
            && retires(previous, &credential)
        {
            self.retired.fetch_add(1, Ordering::Release);
        }
        for principal in &credential.shared_with {
            self.views
                .entry(principal.clone())
                .or_default()
                .put_shared(&credential);
        }
        for principal in previous.iter().flat_map(|previous| &previous.shared_with) {
            if !credential.shared_with.contains(principal) {
                self.drop_shared(principal, &credential.owner, &credential.slug);
            }
        }
    }

    fn drop_credential(&self, owner: &Principal, slug: &Slug) {
        let previous = self
            .views
            .get_mut(owner)
            .and_then(|mut view| view.own.remove(slug));
        self.retired.fetch_add(1, Ordering::Release);
        for principal in previous.iter().flat_map(|previous| &previous.shared_with) {
            self.drop_shared(principal, owner, slug);
        }
    }

    fn drop_shared(&self, principal: &Principal, owner: &Principal, slug: &Slug) {
        if let Some(mut view) = self.views.get_mut(principal) {
            view.drop_shared(owner, slug);
        }
    }

    fn missing_from(&self, credentials: &[Credential]) -> Vec<(Principal, Slug)> {
        let present: HashSet<_> = credentials
            .iter()
            .map(|credential| (&credential.owner, &credential.slug))
            .collect();
        let mut missing = Vec::new();
        for view in &self.views {
            let gone = view
                .own
                .keys()
                .filter(|slug| !present.contains(&(view.key(), *slug)));
            missing.extend(gone.map(|slug| (view.key().clone(), slug.clone())));
        }
        missing
    }

    /// Finds the credential that `slug` names for `principal` at `now` (unix seconds): one that the
    /// principal owns, or else one that is shared with it.
    ///
    /// An own credential hides a shared one of that slug even while it is revoked or expired:
    /// revoking a credential must end its use, not substitute another value for it.
    pub fn find(&self, principal: &Principal, slug: &Slug, now: i64) -> Found {
        let Some(view) = self.views.get(principal) else {
            return Found::None;
        };
        if let Some(own) = view.own.get(slug) {
            return if own.usable(now) {
                Found::One(Arc::clone(own))
            } else {
                Found::None
            };
        }
        let mut usable = view
            .shared
            .get(slug)
            .into_iter()
            .flatten()
            .filter(|c| c.usable(now));
        match (usable.next(), usable.next()) {
            (None, _) => Found::None,
            (Some(only), None) => Found::One(Arc::clone(only)),
            (Some(_), Some(_)) => Found::Ambiguous,
        }
    }

    /// Opens a value, or returns the plaintext that is open already. To be called only after the
    /// use was authorised.
    pub fn open_value(
        &self,
        credential: &Credential,
        field: Option<&Field>,
    ) -> Result<Arc<SecretBytes>, OpenError> {
        let sealed = credential
            .sealed_value(field)
            .ok_or(OpenError::FieldUnknown)?;
        self.open_version(credential, credential.version, field, sealed)
    }

    /// Opens every value of a credential that answers are searched for: those in use, and those
    /// they replaced less than [`OVERLAP`](crate::vault::model::OVERLAP) ago. A value that does not
    /// open cannot have been sent either; it is logged and left out.
    pub fn open_all<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> impl Iterator<Item = (Option<Field>, Arc<SecretBytes>)> + 'a {
        let current = (credential.version, &credential.fields);
        let replaced = credential.previous.iter();
        let replaced = replaced.map(|replaced| (replaced.version, &replaced.fields));
        let versions = std::iter::once(current).chain(replaced);
        versions.flat_map(move |(version, fields)| {
            fields.iter().filter_map(move |(field, sealed)| {
                let opened = self.open_version(credential, version, field.as_ref(), sealed);
                Some((field.clone(), opened.ok()?))
            })
        })
    }

    /// The one place where a value is decrypted.
    fn open_version(
        &self,
        Credential { owner, slug, .. }: &Credential,
        version: u32,
        field: Option<&Field>,
        sealed: &SealedValue,
    ) -> Result<Arc<SecretBytes>, OpenError> {
        let context = EncryptionContext {
            owner,
            slug,
            field,
            version,
        };
        let opened = sealed.open(|sealed| self.opener.open(context, sealed));
        opened.inspect_err(|error| {
            tracing::error!(%owner, %slug, version, "a stored value cannot be opened: {error}");
        })
    }

    /// Every active credential that `principal` owns or shares, to search answers for. Expired ones
    /// are included, since an expired value is still secret. So the result changes only when
    /// [`Vault::generation`] does.
    pub fn live(&self, principal: &Principal) -> Vec<Arc<Credential>> {
        let Some(view) = self.views.get(principal) else {
            return Vec::new();
        };
        let all = view.own.values().chain(view.shared.values().flatten());
        all.filter(|credential| credential.state == State::Active)
            .cloned()
            .collect()
    }

    /// Every active credential of everyone.
    pub fn all_live(&self) -> Vec<Arc<Credential>> {
        let active = |credential: &&Arc<Credential>| credential.state == State::Active;
        let own = |view: &View| {
            view.own
                .values()
                .filter(active)
                .cloned()
                .collect::<Vec<_>>()
        };
        self.views.iter().flat_map(|view| own(&view)).collect()
    }

    /// The principal who owns all credentials, if it is one.
    pub fn only_owner(&self) -> Option<Principal> {
        let owners = self.views.iter().filter(|view| !view.own.is_empty());
        let mut names = owners.map(|view| view.key().clone());
        names.next().filter(|_| names.next().is_none())
    }

    /// A number that changes when a value is replaced, revoked or deleted.
    pub fn retired(&self) -> u64 {
        self.retired.load(Ordering::Acquire)
    }

    /// A number that changes when anything a principal can see changes.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The client whose token has this hash, if it is valid at `now` (unix seconds).
    pub fn client_by_token(&self, hash: &TokenHash, now: i64) -> Option<Arc<Client>> {
        let clients = self.clients.load();
        let client = clients.by_token(hash)?;
        client.usable(now).then(|| Arc::clone(client))
    }

    /// The client of that name, if its token is valid at `now` (unix seconds).
    pub fn client(&self, name: &ClientName, now: i64) -> Option<Arc<Client>> {
        let clients = self.clients.load();
        let client = clients.by_name(name)?;
        client.usable(now).then(|| Arc::clone(client))
    }

    /// The key that signs action tokens.
    pub fn token_key(&self) -> &TokenKey {
        &self.tokens
    }

    /// The store, for the outbox and for administration.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
