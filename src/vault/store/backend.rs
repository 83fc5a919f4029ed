//! The store as the program uses it, whichever its backend.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use super::account::{AccountEdit, AccountTarget, FoundSession};
use super::changes::{Audit, Changes, Content, Freshness, Listing, StoreCopy};
use super::condition::Condition;
use super::edit::{
    BundleEdit, BundleTarget, CredentialEdit, CredentialTarget, Handover, PeopleEdit,
};
use super::error::{StoreError, StoreUnavailable};
use super::outbox::{Event, Waiting};
use super::rekeying::{Progress, Rekeyed, Reseal};
use super::sqlite;
use super::url::{Location, StoreUrl};
use crate::policy::egress::EgressRule;
use crate::substitution::slug::Slug;
use crate::vault::access::account::Identity;
use crate::vault::access::token::TokenRecord;
use crate::vault::access::{Account, ApiToken, ApiTokenId, LinkId, SecretHash, Session};
use crate::vault::approval::{Approval, Verdict};
use crate::vault::client_proof::ClientProof;
use crate::vault::egress::{EgressEntry, Subject};
use crate::vault::key_request::KeyRequest;
use crate::vault::model::{Client, Credential, SealedFields};
use crate::vault::name::{Actor, CallerName, ClientName, GroupName, Principal};
use crate::vault::people::{Bundle, BundleId, Group, User};
use crate::vault::policy_key::{PolicyKey, PolicyKeys, SetDigest};
use crate::vault::seal::SealError;
use crate::vault::token_id::Revoked;

/// A handle on an open store; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Sqlite(sqlite::Database),
}

/// Longest time for one call. Two writers wait for each other less long than this; past it the disk
/// does not answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// Longest time for a copy of the whole store.
const COPY_DEADLINE: Duration = Duration::from_secs(300);

/// The answer of a call within its deadline.
///
/// A change may be made all the same: then it is in force, and its event is recorded when the store
/// answers again.
async fn in_time<T, E: From<StoreUnavailable>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| {
        let seconds = DEADLINE.as_secs();
        let reason = format!(
            "it did not answer in {seconds} s; a change that was asked for may be made or not: look \
             before you rely on it"
        );
        Err(StoreUnavailable::new(reason).into())
    })
}

/// Declares what a store does. A backend is a type with these methods.
macro_rules! store {
    ($( $(#[$doc:meta])* async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty; )*) => {
        impl Store { $(
            $(#[$doc])*
            pub async fn $name(&self $(, $argument: $type)*) -> $answer {
                match &self.0 {
                    Backend::Sqlite(database) => in_time(database.$name($($argument),*)).await,
                }
            }
        )* }
    };
}

store! {
    /// Changes one credential, in one transaction with its events.
    async fn change_credential(
        &self,
        actor: &Actor,
        target: &CredentialTarget<'_>,
        edit: impl FnOnce(&mut CredentialEdit) -> Result<(), StoreError> + Send
    ) -> Result<(), StoreError>;

    /// Removes a credential whose entry was not written by Egret, with its values. Returns whether
    /// there was one: a credential that verifies is left as it is.
    async fn discard(
        &self,
        actor: &Actor,
        target: &CredentialTarget<'_>
    ) -> Result<bool, StoreError>;

    /// Hands credentials over, in one transaction with its events. `seal` seals a version of one for
    /// its new owner, under another number; `None` if it was not opened.
    async fn hand_over(
        &self,
        actor: &Actor,
        handover: &Handover<'_>,
        seal: impl Fn(&Slug, u32, u32) -> Result<Option<SealedFields>, SealError> + Send
    ) -> Result<(), StoreError>;

    /// Changes users and groups, in one transaction with its events.
    async fn change_people(
        &self,
        actor: &Actor,
        edit: impl FnOnce(&mut PeopleEdit) -> Result<(), StoreError> + Send
    ) -> Result<(), StoreError>;

    /// Changes one bundle, in one transaction with its events.
    async fn change_bundle(
        &self,
        actor: &Actor,
        target: &BundleTarget<'_>,
        edit: impl FnOnce(&mut BundleEdit) -> Result<(), StoreError> + Send
    ) -> Result<(), StoreError>;

    /// Changes what somebody signs in with, in one transaction with its events.
    async fn change_account(
        &self,
        actor: &Actor,
        target: &AccountTarget<'_>,
        edit: impl FnOnce(&mut AccountEdit) -> Result<(), StoreError> + Send
    ) -> Result<(), StoreError>;

    /// A user, and what the user signs in with.
    async fn account(
        &self,
        name: &Principal
    ) -> Result<Option<(User, Option<Account>)>, StoreUnavailable>;

    /// What a one-time link is for, if it can be used at `now` (unix seconds).
    async fn link(&self, hash: &SecretHash, now: i64) -> Result<Option<LinkId>, StoreUnavailable>;

    /// Whether there is an account, or a link for an administrator, however old.
    async fn is_administered(&self) -> Result<bool, StoreUnavailable>;

    /// Makes someone at the identity provider a user here.
    async fn put_identity(
        &self,
        actor: &Actor,
        id: &str,
        identity: &Identity,
        new: bool
    ) -> Result<(), StoreError>;

    /// Who someone at the identity provider is here.
    async fn identity(&self, id: &str) -> Result<Option<Identity>, StoreUnavailable>;

    /// A session and its user, whether or not it can still be used.
    async fn session(&self, hash: &SecretHash) -> Result<Option<FoundSession>, StoreUnavailable>;

    /// Writes a session again that was used or proved. One that ended meanwhile stays away.
    async fn keep_session(
        &self,
        hash: &SecretHash,
        session: &Session
    ) -> Result<(), StoreUnavailable>;

    /// Ends one session.
    async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreUnavailable>;

    /// Adds a personal API token. Tokens that have expired are removed at the same time.
    async fn add_token(
        &self,
        actor: &Actor,
        id: &ApiTokenId,
        record: &TokenRecord
    ) -> Result<(), StoreError>;

    /// Removes a personal API token, which does not work from then on.
    async fn remove_token(&self, actor: &Actor, id: &ApiTokenId) -> Result<ApiToken, StoreError>;

    /// The personal API tokens of a user, or of everyone, by id.
    async fn list_tokens(
        &self,
        user: Option<&Principal>
    ) -> Result<Vec<ApiToken>, StoreUnavailable>;

    /// A personal API token and its user, whether or not it can still be used.
    async fn token(&self, id: &ApiTokenId) -> Result<Option<(ApiToken, User)>, StoreUnavailable>;

    /// Notes the use of a personal API token.
    async fn note_token_use(&self, id: &ApiTokenId, now: i64) -> Result<(), StoreUnavailable>;

    /// All bundles.
    async fn list_bundles(&self) -> Result<BTreeMap<BundleId, Bundle>, StoreUnavailable>;

    /// Asks the owner of a credential about a use, under an id that was never used. Where the same
    /// question waits already, nothing is added.
    async fn ask_approval(
        &self,
        actor: &Actor,
        id: &str,
        approval: &Approval
    ) -> Result<(), StoreError>;

    /// Answers a question, for the owner of the credential.
    async fn answer_approval(
        &self,
        actor: &Actor,
        id: &str,
        verdict: Verdict
    ) -> Result<Approval, StoreError>;

    /// Uses up a yes for one request. Returns whether there was one.
    async fn use_approval(&self, actor: &Actor, id: &str) -> Result<bool, StoreError>;

    /// Takes a question or an answer away, for the owner of the credential.
    async fn remove_approval(&self, actor: &Actor, id: &str) -> Result<(), StoreError>;

    /// All questions and answers by their ids.
    async fn list_approvals(&self) -> Result<BTreeMap<String, Approval>, StoreUnavailable>;

    /// Asks for a credential that is not there. Returns the number of the request; where the same was
    /// asked for already, of that one.
    async fn ask_key(&self, actor: &Actor, request: &KeyRequest) -> Result<i64, StoreError>;

    /// Declines a request for a credential.
    async fn decline_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError>;

    /// Removes a request for a credential that is there now.
    async fn answer_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError>;

    /// All requests for credentials by their numbers.
    async fn list_key_requests(&self) -> Result<BTreeMap<i64, KeyRequest>, StoreUnavailable>;

    /// Adds an egress rule. Returns its number.
    async fn add_egress(
        &self,
        actor: &Actor,
        subject: &Subject,
        rule: &EgressRule
    ) -> Result<i64, StoreError>;

    /// Removes an egress rule, also one whose entry was not written by Egret.
    async fn remove_egress(&self, actor: &Actor, number: i64) -> Result<(), StoreError>;

    /// All egress rules by their numbers.
    async fn list_egress(&self) -> Result<BTreeMap<i64, EgressEntry>, StoreUnavailable>;

    /// Lets a client use values that wait for their promotion.
    async fn let_client_probe(
        &self,
        actor: &Actor,
        name: &ClientName
    ) -> Result<(), StoreError>;

    /// Limits a client to a bundle, or to nothing but its principal.
    async fn bind_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        bundle: Option<&BundleId>
    ) -> Result<(), StoreError>;

    /// Erases versions, and forgets shares, that are not searched for any more at `now` (unix
    /// seconds). Returns the number of credentials concerned.
    async fn erase_due(&self, now: i64) -> Result<u64, StoreError>;

    /// All users by name.
    async fn list_users(&self) -> Result<BTreeMap<Principal, User>, StoreUnavailable>;

    /// All groups by name.
    async fn list_groups(&self) -> Result<BTreeMap<GroupName, Group>, StoreUnavailable>;

    /// Removes a group that no share and no rule names.
    async fn remove_group(&self, actor: &Actor, name: &GroupName) -> Result<(), StoreError>;

    /// One credential, whatever its state.
    async fn get(
        &self,
        owner: &Principal,
        slug: &Slug
    ) -> Result<Option<Credential>, StoreUnavailable>;

    /// Which of these slugs an owner has, whether or not Egret wrote the entry. It looks at nothing else.
    async fn taken(
        &self,
        owner: &Principal,
        slugs: &[Slug]
    ) -> Result<HashSet<Slug>, StoreUnavailable>;

    /// All credentials of one owner, or of everyone, ordered by owner and slug.
    async fn list(
        &self,
        owner: Option<&Principal>
    ) -> Result<Listing, StoreUnavailable>;

    /// Adds a client that is known by `proof` until `expires` (unix seconds).
    ///
    /// Clients that have expired are removed at the same time: every `egret run` leaves one.
    async fn add_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        principal: &Principal,
        proof: ClientProof,
        expires: Option<i64>
    ) -> Result<Client, StoreError>;

    /// Removes a client. Its token and every action token minted for it are invalid at once.
    async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName
    ) -> Result<Client, StoreError>;

    /// Revokes one action token of a client, or all that were minted until now.
    async fn revoke_tokens(
        &self,
        actor: &Actor,
        name: &ClientName,
        which: &Revoked
    ) -> Result<(), StoreError>;

    /// Revokes one JWT of a client of an issuer, or all that were issued until now.
    async fn revoke_issued(
        &self,
        actor: &Actor,
        client: &CallerName,
        which: &Revoked
    ) -> Result<(), StoreError>;

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
    async fn outbox_take(&self, limit: u32) -> Result<Waiting, StoreUnavailable>;

    /// Removes events that are durable in the ledger, and those that Egret did not write. From then on
    /// a store of before is refused.
    async fn outbox_done(&self, waiting: &Waiting) -> Result<(), StoreUnavailable>;

    /// Puts an event about the store itself on record.
    async fn note_event(
        &self,
        actor: &Actor,
        event: Event,
        detail: &str
    ) -> Result<(), StoreError>;

    /// Whether every event is in the ledger.
    async fn is_on_record(&self) -> Result<bool, StoreUnavailable>;

    /// Says that the change `revision` is on record: a store of before is refused from then on, until
    /// it is accepted.
    async fn expect_revision(&self, revision: i64) -> Result<(), StoreUnavailable>;

    /// Puts the revision on record again under the master key of the store.
    async fn rekey_record(&self) -> Result<(), StoreUnavailable>;

    /// Whether the store can be read now: an error if not.
    async fn ping(&self) -> Result<(), StoreUnavailable>;

    /// Whether a change could be committed now: an error if not.
    async fn can_commit(&self) -> Result<(), StoreUnavailable>;

    /// Keeps space on the disk, so that changes which take something away can be made when it is full.
    async fn keep_reserve(&self) -> Result<(), StoreUnavailable>;
}

impl Store {
    /// Closes every connection.
    ///
    /// On a thread that may wait for the disk: the last connection to a database writes the log into
    /// it while it is closed, on whatever thread drops it.
    pub async fn close(&self) {
        let (store, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let close = tokio::task::spawn_blocking(move || match &store.0 {
            Backend::Sqlite(database) => runtime.block_on(database.close()),
        });
        // What is left is done by the next process to open the store.
        let _ = tokio::time::timeout(DEADLINE, close).await;
    }

    /// The same store, for a change that is made only if `condition` holds: otherwise it fails with
    /// [`StoreError::Changed`].
    pub fn when(&self, condition: Condition) -> Self {
        Self(match &self.0 {
            Backend::Sqlite(database) => Backend::Sqlite(database.when(condition)),
        })
    }

    /// The same store, whose changes are made together by [`Store::finish`] and not before, if it still
    /// has this revision: otherwise it fails with [`StoreError::Changed`]. Until then every other change
    /// waits. Dropped without being finished, nothing is changed.
    pub async fn together(&self, actor: &Actor, revision: Option<i64>) -> Result<Self, StoreError> {
        let backend = match &self.0 {
            Backend::Sqlite(database) => {
                Backend::Sqlite(in_time(database.together(actor, revision)).await?)
            }
        };
        Ok(Self(backend))
    }

    /// Writes a copy of the store into `directory`, without sign-in sessions. Requests go on, and
    /// changes wait: what `meanwhile` returns belongs to the copy.
    pub async fn copy<T: Send + 'static>(
        &self,
        directory: &Path,
        meanwhile: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(StoreCopy, T), StoreUnavailable> {
        let copying = match &self.0 {
            Backend::Sqlite(database) => database.copy(directory, meanwhile),
        };
        let copied = tokio::time::timeout(COPY_DEADLINE, copying).await;
        copied.unwrap_or_else(|_| Err(StoreUnavailable::new("it could not be copied in time")))
    }

    /// Seals everything again under the master key of `next`, in one transaction: whoever reads finds
    /// all of it under one key or all under the other. `reseal` seals a value again. Returns `None` if it
    /// is under that key already.
    pub async fn rekey(
        &self,
        actor: &Actor,
        next: &PolicyKey,
        reseal: &Reseal<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Rekeyed>, StoreError> {
        let rekeying = match &self.0 {
            Backend::Sqlite(database) => database.rekey(actor, next, reseal, progress),
        };
        let rekeyed = tokio::time::timeout(COPY_DEADLINE, rekeying).await;
        rekeyed.unwrap_or_else(|_| {
            let unavailable = StoreUnavailable::new("it could not be sealed again in time");
            Err(unavailable.into())
        })
    }

    /// Makes the changes of a store that makes them together.
    pub async fn finish(&self, actor: &Actor) -> Result<(), StoreError> {
        match &self.0 {
            Backend::Sqlite(database) => in_time(database.finish(actor)).await,
        }
    }

    /// Opens the store that `url` names, and creates it if it is missing. It has to belong to the
    /// master key of `keys`: a mistyped path to the key file would seal new values under a new key,
    /// and nothing would say so.
    pub async fn open(url: &StoreUrl, keys: PolicyKeys) -> Result<Self, StoreError> {
        let backend = match &url.0 {
            Location::Sqlite(location) => {
                Backend::Sqlite(sqlite::Database::open(location, keys).await?)
            }
        };
        Ok(Self(backend))
    }

    /// Takes the store that `url` names as it is, although it is older than the ledger, or has rows
    /// that were put back, removed or added. What was edited stays unusable. It is recorded. No server
    /// may be running.
    pub async fn accept(
        url: &StoreUrl,
        keys: PolicyKeys,
        actor: &Actor,
    ) -> Result<Self, StoreError> {
        let backend = match &url.0 {
            Location::Sqlite(location) => {
                Backend::Sqlite(sqlite::Database::accept(location, keys, actor).await?)
            }
        };
        Ok(Self(backend))
    }

    /// Checks that the store as a whole is what Egret wrote last. Returns the entries that are not.
    pub async fn check(&self) -> Result<Vec<String>, StoreUnavailable> {
        let changes = self.changes_since(0).await?;
        let mut digest = SetDigest::default();
        let mut unverified = changes.directory.unwrap_or_default().unverified;
        for changed in &changes.credentials {
            digest.toggle(changed.digest);
            if matches!(changed.content, Content::Unverified) {
                unverified.push(format!("credential {} of {}", changed.slug, changed.owner));
            }
        }
        if digest == changes.head.credentials {
            Ok(unverified)
        } else {
            Err(StoreUnavailable::foreign_rows("credentials"))
        }
    }

    /// Verifies all rows, one after the other. Returns those that do not.
    ///
    /// # Errors
    /// Also when they are not those that Egret wrote last.
    pub async fn audit(&self) -> Result<Audit, StoreUnavailable> {
        let auditing = match &self.0 {
            Backend::Sqlite(database) => database.audit(),
        };
        let audited = tokio::time::timeout(COPY_DEADLINE, auditing).await;
        audited.unwrap_or_else(|_| Err(StoreUnavailable::new("it could not be read in time")))
    }

    /// Starts to watch for commits. Nothing counts as read yet.
    pub async fn watch(&self) -> Result<CommitWatch, StoreUnavailable> {
        let watch = match &self.0 {
            Backend::Sqlite(database) => Watch::Sqlite(database.watch().await?),
        };
        Ok(CommitWatch(watch))
    }

    /// Keeps every other change waiting until the answer is dropped, as a backup may.
    #[cfg(test)]
    pub(crate) async fn hold_writes(&self) -> impl Send + use<> {
        self.sqlite().hold_writes().await
    }

    /// The database, for tests that change it in ways that no command would.
    #[cfg(test)]
    pub(in crate::vault) fn sqlite(&self) -> &sqlite::Database {
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

    /// Nothing counts as read any more.
    pub fn forget(&self) {
        match &self.0 {
            Watch::Sqlite(watch) => watch.forget(),
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
