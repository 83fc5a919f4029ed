//! The vault of a running proxy: all that requests need of the store, in memory and never older
//! than the last commit.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::policy::floor::Floor;
use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::substitution::stand_in::StandIns;
use crate::vault::client_proof::TokenHash;
use crate::vault::keyring::{Keyring, TokenKey};
use crate::vault::model::{Client, Credential, State};
use crate::vault::name::{ClientName, Principal};
use crate::vault::people::Share;
use crate::vault::policy_key::SetDigest;
use crate::vault::seal::{EncryptionContext, KeyId, OpenError, Opener};
use crate::vault::sealed_value::SealedValue;
use crate::vault::store::{
    ChangedCredential, Changes, CommitWatch, Content, Freshness, Store, StoreError,
    StoreUnavailable, StoreUrl,
};
use crate::vault::token_id::TokenId;
use crate::{clock, files};

mod alarms;
mod approvals;
mod attachments;
mod audit;
mod clients;
mod counts;
mod directory;
mod egress;
mod egress_directory;
pub mod explain;
mod following;
mod key_requests;
pub mod listing;
mod offers;
pub mod reader;
mod recent;
mod resolution;
mod stand_ins;

pub use alarms::Alarm;
pub use egress_directory::{EgressRoute, UnverifiedRule};

use alarms::Alarms;
use directory::DirectoryIndex;
use listing::Listing;
use offers::{Offers, Own};
use recent::Recent;

/// How long a request waits for a changed store to be read.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// A credential that a principal may use.
#[derive(Clone, Debug)]
pub struct Usable {
    /// The credential.
    pub credential: Arc<Credential>,
    /// The shares through which it may be used; none for the owner. Each by itself permits a use.
    pub shares: Vec<Arc<Share>>,
}

/// Which credential a slug names for a principal.
#[derive(Clone, Debug)]
pub enum Found {
    /// This one.
    One(Usable),
    /// None that may be used now, whether it is unknown, revoked, expired, deleted or someone
    /// else's.
    None,
    /// Several owners share one of that slug, and the principal owns none.
    Ambiguous,
    /// The principal owns one, but its entry in the store was not written by Egret.
    Unverified,
}

/// Credentials and clients of a running proxy.
pub struct Vault {
    store: Store,
    opener: Opener,
    tokens: TokenKey,
    watch: CommitWatch,
    /// Held while something is loaded.
    loaded: Mutex<Loaded>,
    own: DashMap<Principal, Own>,
    /// How many credentials are attached to requests.
    attached: AtomicUsize,
    stand_ins: ArcSwapOption<StandIns>,
    stale_stand_ins: AtomicBool,
    offers: Offers,
    listing: Listing,
    directory: ArcSwap<DirectoryIndex>,
    alarms: Alarms,
    floor: ArcSwap<Floor>,
    recent: Recent,
    generation: AtomicU64,
    retired: AtomicU64,
    /// When something was last loaded, unix seconds.
    read_at: AtomicI64,
    read_failures: AtomicU64,
    loads: AtomicU64,
}

/// What of the store is loaded.
#[derive(Default)]
struct Loaded {
    /// The store's revision.
    revision: i64,
    /// The master key under which it was sealed.
    key: Option<KeyId>,
    /// The digest of all credentials, and the part of each in it.
    digest: SetDigest,
    parts: HashMap<(Principal, Slug), SetDigest>,
    /// Why nothing of it may be used: it is not what Egret wrote last.
    foreign: Option<StoreUnavailable>,
}

impl Loaded {
    /// The digest of all credentials with `changed`.
    fn digest_with(&self, changed: &[ChangedCredential]) -> SetDigest {
        let mut digest = self.digest;
        for credential in changed {
            let name = (credential.owner.clone(), credential.slug.clone());
            if let Some(before) = self.parts.get(&name) {
                digest.toggle(*before);
            }
            digest.toggle(credential.digest);
        }
        digest
    }

    fn take_in(&mut self, revision: i64, digest: SetDigest, changed: &[ChangedCredential]) {
        self.revision = revision;
        self.digest = digest;
        for credential in changed {
            let name = (credential.owner.clone(), credential.slug.clone());
            self.parts.insert(name, credential.digest);
        }
    }
}

/// Refuses what is older than what is loaded.
fn check_order(loaded: &Loaded, changes: &Changes) -> Result<(), StoreUnavailable> {
    let revision = changes.head.revision;
    if revision >= loaded.revision {
        return Ok(());
    }
    Err(StoreUnavailable::alarming(format!(
        "an older state of the store was put back while Egret runs: it has change {revision}, and \
         change {} was in force. Nothing is used, because what was revoked since would work again",
        loaded.revision
    )))
}

/// Whether a value of `before` is no longer used or searched for `after`.
fn retires(before: &Credential, after: &Credential) -> bool {
    let versions = |credential: &Credential| {
        let replaced = credential.replaced.iter().map(|replaced| replaced.version);
        (credential.version, replaced.collect::<Vec<_>>())
    };
    versions(before) != versions(after)
        || (before.state, after.state) == (State::Active, State::Revoked)
        || before.searched() && !after.searched()
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

impl VaultError {
    /// Whether the store is not what Egret wrote last, rather than out of reach.
    pub fn is_alarming(&self) -> bool {
        matches!(self, VaultError::Store(error) if error.is_alarming())
    }
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
        let store = Store::open(store_url, keyring.policy_keys()).await?;
        let watch = store.watch().await?;
        let vault = Self {
            opener: keyring.opener(),
            tokens: keyring.token_key(),
            watch,
            loaded: Mutex::default(),
            own: DashMap::new(),
            attached: AtomicUsize::new(0),
            stand_ins: ArcSwapOption::default(),
            stale_stand_ins: AtomicBool::new(false),
            offers: Offers::default(),
            listing: Listing::default(),
            directory: ArcSwap::default(),
            alarms: Alarms::default(),
            floor: ArcSwap::default(),
            recent: Recent::default(),
            generation: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            read_at: AtomicI64::new(0),
            read_failures: AtomicU64::new(0),
            loads: AtomicU64::new(0),
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
        let mut loaded = self.loaded.lock().await;
        // Another request may have loaded it while this one waited for the lock.
        let result = match self.watch.check() {
            Freshness::Fresh => Ok(()),
            Freshness::Stale => self.watch.catch_up(self.load(&mut loaded)).await,
            Freshness::Gone(reason) => Err(StoreUnavailable::new(reason)),
        };
        self.alarms.store_is_usable(result.as_ref());
        if result.is_err() {
            self.read_failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Takes over what is new.
    async fn load(&self, loaded: &mut Loaded) -> Result<(), StoreUnavailable> {
        if let Some(reason) = &loaded.foreign {
            return Err(reason.clone());
        }
        let changes = self.store.changes_since(loaded.revision).await?;
        if loaded.key.is_some_and(|key| key != changes.key) {
            // Everything was sealed again under another master key.
            check_order(loaded, &changes)?;
            return self.load_all(loaded).await;
        }
        let digest = loaded.digest_with(&changes.credentials);
        self.take_over(loaded, changes, digest)
    }

    /// Takes over everything.
    async fn load_all(&self, loaded: &mut Loaded) -> Result<(), StoreUnavailable> {
        let changes = self.store.changes_since(0).await?;
        let digest = Loaded::default().digest_with(&changes.credentials);
        self.take_over(loaded, changes, digest)
    }

    fn take_over(
        &self,
        loaded: &mut Loaded,
        changes: Changes,
        digest: SetDigest,
    ) -> Result<(), StoreUnavailable> {
        check_order(loaded, &changes)?;
        if digest != changes.head.credentials {
            return Err(StoreUnavailable::foreign_rows("credentials"));
        }
        loaded.key = Some(changes.key);
        loaded.take_in(changes.head.revision, digest, &changes.credentials);
        self.apply(changes);
        self.read_at.store(clock::unix_seconds(), Ordering::Relaxed);
        self.loads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn apply(&self, changes: Changes) {
        let nothing = changes.credentials.is_empty() && changes.directory.is_none();
        let names = changes.credentials.iter();
        let names = names.map(|changed| (changed.owner.clone(), changed.slug.clone()));
        let names = names.collect();
        for changed in changes.credentials {
            let ChangedCredential { owner, slug, .. } = &changed;
            self.alarms
                .credential(owner, slug, matches!(changed.content, Content::Unverified));
            match changed.content {
                Content::Live(credential) => self.put(Arc::new(*credential)),
                Content::Deleted => self.drop_credential(owner, slug),
                Content::Unverified => {
                    self.drop_credential(owner, slug);
                    let mut own = self.own.entry(owner.clone()).or_default();
                    own.unverified.insert(slug.clone());
                }
            }
        }
        self.follow_stand_ins();
        let directory = changes.directory.map(|directory| {
            self.alarms.directory(&directory.unverified);
            let index = DirectoryIndex::new(directory, clock::unix_seconds());
            self.directory.swap(Arc::new(index))
        });
        if !nothing {
            self.advance(names, directory.as_deref());
        }
    }

    /// Replaces the credential in one step, so that a request at the same time always finds one.
    fn put(&self, credential: Arc<Credential>) {
        self.listing.put(&credential);
        self.note_stand_ins(&credential);
        let previous = {
            let mut own = self.own.entry(credential.owner.clone()).or_default();
            own.unverified.remove(&credential.slug);
            self.note_attached(
                &mut own,
                &credential.slug,
                !credential.attachments.is_empty(),
            );
            own.credentials
                .insert(credential.slug.clone(), Arc::clone(&credential))
        };
        if let Some(previous) = &previous {
            self.note_stand_ins(previous);
            if retires(previous, &credential) {
                self.retired.fetch_add(1, Ordering::Release);
            }
            self.offers.remove(previous);
        }
        self.offers.add(&credential);
    }

    fn drop_credential(&self, owner: &Principal, slug: &Slug) {
        self.listing.remove(owner, slug);
        let previous = self.own.get_mut(owner).and_then(|mut own| {
            own.unverified.remove(slug);
            self.note_attached(&mut own, slug, false);
            own.credentials.remove(slug)
        });
        self.retired.fetch_add(1, Ordering::Release);
        if let Some(previous) = previous {
            self.note_stand_ins(&previous);
            self.offers.remove(&previous);
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

    /// Opens every value of a credential that answers are searched for: those in use, those that they
    /// replaced as long as they are kept, and those that wait for their promotion. A value that does not
    /// open cannot have been sent either; it is logged and left out.
    pub fn open_all<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> impl Iterator<Item = (Option<Field>, Arc<SecretBytes>)> + 'a {
        let current = (credential.version, &*credential.fields);
        let others = credential.replaced.iter().chain(&credential.staged);
        let others = others.map(|stored| (stored.version, &*stored.fields));
        let versions = std::iter::once(current).chain(others);
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

    /// Every credential that `principal` owns or shares and whose values are searched for: active
    /// ones, and those that were revoked or taken back a short time ago. Expired ones are included,
    /// since an expired value is still secret. So the result changes only when [`Vault::generation`]
    /// does.
    pub fn live(&self, principal: &Principal) -> Vec<Arc<Credential>> {
        let mut all: Vec<Arc<Credential>> = match self.own.get(principal) {
            Some(own) => own.credentials.values().cloned().collect(),
            None => Vec::new(),
        };
        let directory = self.directory.load();
        let standing = directory.standing(principal);
        all.extend(self.offered_at_all(&directory, &standing.searched, principal));
        all.retain(|credential| credential.searched());
        all
    }

    /// Every credential of everyone whose values are searched for.
    pub fn all_live(&self) -> Vec<Arc<Credential>> {
        let searched = |credential: &&Arc<Credential>| credential.searched();
        let own = |own: &Own| {
            let credentials = own.credentials.values().filter(searched);
            credentials.cloned().collect::<Vec<_>>()
        };
        self.own.iter().flat_map(|entry| own(&entry)).collect()
    }

    /// The principal who owns all credentials, if it is one.
    pub fn only_owner(&self) -> Option<Principal> {
        let owners = self.own.iter().filter(|own| !own.credentials.is_empty());
        let mut names = owners.map(|own| own.key().clone());
        names.next().filter(|_| names.next().is_none())
    }

    /// What does not verify in the store and was not reported yet.
    pub fn take_alarms(&self) -> Vec<Alarm> {
        self.alarms.take()
    }

    /// How many entries of the store do not verify; the store as a whole counts as one.
    pub fn unverified(&self) -> u64 {
        self.alarms.count()
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
        let directory = self.directory.load();
        let client = directory.clients.by_token(hash)?;
        client.usable(now).then(|| Arc::clone(client))
    }

    /// The client of that name, if its token is valid at `now` (unix seconds).
    pub fn client(&self, name: &ClientName, now: i64) -> Option<Arc<Client>> {
        let directory = self.directory.load();
        let client = directory.clients.by_name(name)?;
        client.usable(now).then(|| Arc::clone(client))
    }

    /// The client of that name, whether or not it may be used now.
    pub fn known_client(&self, name: &ClientName) -> Option<Arc<Client>> {
        self.directory.load().clients.by_name(name).cloned()
    }

    /// Whether a JWT of a client of an issuer, with this `jti` and `iat`, was revoked.
    pub fn is_issued_revoked(
        &self,
        client: &str,
        id: Option<&TokenId>,
        issued: Option<i64>,
    ) -> bool {
        let directory = self.directory.load();
        directory.is_issued_revoked(client, id, issued)
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
mod model;
#[cfg(test)]
mod tests;
