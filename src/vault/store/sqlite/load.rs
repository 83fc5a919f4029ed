//! Reads credentials: by name, or those that changed after a revision.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, Transaction};

use super::credentials::{id, parse_id};
use super::database::{Database, STATE, head_of, reading_key};
use super::objects::{Object, unverified};
use super::rows;
use crate::substitution::slug::Slug;
use crate::vault::access::account::Identity;
use crate::vault::access::token::TokenRecord;
use crate::vault::access::{Account, Link};
use crate::vault::approval::Approval;
use crate::vault::egress::EgressEntry;
use crate::vault::key_request::KeyRequest;
use crate::vault::model::{Credential, Phase, SealedFields, StoredVersion};
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{Group, User};
use crate::vault::policy_key::{Head, PolicyKey, SetDigest};
use crate::vault::record::{BundleRecord, ClientRecord, CredentialRecord, Policy, Record as _};
use crate::vault::store::changes::{ChangedCredential, Changes, Content, Directory, Listing};
use crate::vault::store::condition::ObjectName;
use crate::vault::store::error::StoreUnavailable;
use crate::vault::token_id::RevokedIssued;

/// Sealed values by credential and version.
type Values = HashMap<(Principal, Slug), BTreeMap<u32, SealedFields>>;

/// A query with its arguments.
type Select<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Database {
    /// Finds changed rows through the index on their revision.
    pub async fn changes_since(&self, since: i64) -> Result<Changes, StoreUnavailable> {
        let mut transaction = self.pool.begin().await?;
        let state = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let key = reading_key(&state, &self.keys)?;
        let head = head_of(&state, &key)?;
        let mut changes = Changes {
            key: key.id(),
            head,
            credentials: Vec::new(),
            directory: None,
        };
        if head.revision != since {
            changes.credentials = changed(&mut transaction, &key, since).await?;
        }
        if since == 0 || head.directory_revision > since {
            changes.directory = Some(directory(&mut transaction, &key, &head).await?);
        }
        transaction.rollback().await?;
        Ok(changes)
    }

    pub async fn get(
        &self,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<Option<Credential>, StoreUnavailable> {
        let id = id(owner, slug);
        let objects = "SELECT * FROM objects WHERE kind = 'credential' AND id = ?";
        let values = "SELECT * FROM sealed_values WHERE owner = ? AND slug = ?";
        let (owner, slug) = (owner.as_str(), slug.as_str());
        let objects = sqlx::query(objects).bind(&id);
        let mut listing = self
            .read(objects, sqlx::query(values).bind(owner).bind(slug))
            .await?;
        if !listing.unverified.is_empty() {
            return Err(unverified(CredentialRecord::KIND, &id));
        }
        Ok(listing.credentials.pop())
    }

    pub async fn list(&self, owner: Option<&Principal>) -> Result<Listing, StoreUnavailable> {
        let Some(owner) = owner else {
            let objects = "SELECT * FROM objects WHERE kind = 'credential'";
            return self
                .read(sqlx::query(objects), sqlx::query(ALL_VALUES))
                .await;
        };
        // `0` follows `/` in ASCII.
        let objects = "SELECT * FROM objects WHERE kind = 'credential' AND id > ? AND id < ?";
        let values = "SELECT * FROM sealed_values WHERE owner = ?";
        let objects = sqlx::query(objects).bind(format!("{owner}/"));
        self.read(
            objects.bind(format!("{owner}0")),
            sqlx::query(values).bind(owner.as_str()),
        )
        .await
    }

    async fn read(
        &self,
        objects: Select<'_>,
        values: Select<'_>,
    ) -> Result<Listing, StoreUnavailable> {
        let (mut transaction, key) = self.snapshot().await?;
        let objects = objects.fetch_all(&mut *transaction).await?;
        let values = values.fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        let mut listing = Listing::default();
        for changed in assemble(&key, &objects, &values)? {
            match changed.content {
                Content::Live(credential) => listing.credentials.push(*credential),
                Content::Deleted => {}
                Content::Unverified => listing.unverified.push((changed.owner, changed.slug)),
            }
        }
        let name = |credential: &Credential| (credential.owner.clone(), credential.slug.clone());
        listing.credentials.sort_by_key(name);
        Ok(listing)
    }
}

/// `CROSS JOIN` fixes the join order: the few changed credentials first, then their values.
/// Otherwise the planner may scan a whole table for one change.
async fn changed(
    transaction: &mut Transaction<'static, Sqlite>,
    key: &PolicyKey,
    since: i64,
) -> Result<Vec<ChangedCredential>, StoreUnavailable> {
    let objects = sqlx::query(CHANGED)
        .bind(since)
        .fetch_all(&mut **transaction)
        .await?;
    let values = if since == 0 {
        // All of them are wanted, so none has to be looked up.
        sqlx::query(ALL_VALUES)
    } else {
        sqlx::query(CHANGED_VALUES).bind(since)
    };
    let values = values.fetch_all(&mut **transaction).await?;
    assemble(key, &objects, &values)
}

/// The credentials that changed after a revision.
pub(super) const CHANGED: &str = "SELECT * FROM objects WHERE kind = 'credential' AND revision > ?";

/// The values of all credentials.
const ALL_VALUES: &str = "SELECT * FROM sealed_values";

/// Their values.
pub(super) const CHANGED_VALUES: &str = "SELECT v.* FROM objects o
     CROSS JOIN sealed_values v
       ON v.owner = substr(o.id, 1, instr(o.id, '/') - 1)
      AND v.slug = substr(o.id, instr(o.id, '/') + 1)
     WHERE o.kind = 'credential' AND o.revision > ?";

/// Puts credentials together with their values.
fn assemble(
    key: &PolicyKey,
    objects: &[SqliteRow],
    values: &[SqliteRow],
) -> Result<Vec<ChangedCredential>, StoreUnavailable> {
    let mut stored = Values::new();
    for row in values {
        let versions = stored.entry(rows::key(row)?).or_default();
        let fields = versions.entry(rows::version(row)?).or_default();
        fields.push(rows::value(row)?);
    }
    let mut changed = Vec::with_capacity(objects.len());
    for row in objects {
        let object = Object::read(row)?;
        let (owner, slug) = parse_id(object.id)?;
        let content = match object.content(key) {
            None => Content::Unverified,
            Some(CredentialRecord::Deleted(_)) => Content::Deleted,
            Some(CredentialRecord::Live(policy)) => {
                let name = (owner, slug);
                let values = stored.remove(&name).unwrap_or_default();
                let (owner, slug) = &name;
                let credential = credential(owner, slug, object.revision, *policy, values);
                changed.push(ChangedCredential {
                    owner: owner.clone(),
                    slug: slug.clone(),
                    digest: object.digest(key),
                    content: Content::Live(Box::new(credential)),
                });
                continue;
            }
        };
        changed.push(ChangedCredential {
            owner,
            slug,
            digest: object.digest(key),
            content,
        });
    }
    Ok(changed)
}

/// A credential as the proxy holds it. A value that is missing is a field that does not exist: which
/// values there are is not authenticated, only what they say.
fn credential(
    owner: &Principal,
    slug: &Slug,
    revision: i64,
    policy: Policy,
    mut values: BTreeMap<u32, SealedFields>,
) -> Credential {
    let version = policy.current();
    let mut stored = |number: u32| StoredVersion {
        version: number,
        fields: Arc::new(values.remove(&number).unwrap_or_default()),
    };
    let fields = stored(version).fields;
    let of_phase = |phase: Phase| {
        let versions = policy.versions.iter().rev();
        versions.filter(move |version| version.phase == phase)
    };
    let staged = of_phase(Phase::Staged).next().map(|v| v.number);
    let replaced: Vec<u32> = of_phase(Phase::Replaced).map(|v| v.number).collect();
    Credential {
        owner: owner.clone(),
        slug: slug.clone(),
        revision,
        kind: policy.kind,
        description: policy.description,
        grant: policy.grant,
        state: policy.state,
        searched_until: policy.searched_until,
        version,
        created: policy.created,
        rotated: policy.rotated,
        rotate_every: policy.rotate_every,
        shares: policy.shares.into_iter().map(Arc::new).collect(),
        stand_ins: policy.stand_ins,
        attachments: policy.attachments.into_iter().map(Arc::new).collect(),
        fields,
        replaced: replaced.into_iter().map(&mut stored).collect(),
        staged: staged.map(&mut stored),
        versions: policy.versions,
    }
}

/// Everyone, if nobody is missing and nobody was added.
async fn directory(
    transaction: &mut Transaction<'static, Sqlite>,
    key: &PolicyKey,
    head: &Head,
) -> Result<Directory, StoreUnavailable> {
    let rows = sqlx::query("SELECT * FROM objects WHERE kind <> 'credential'")
        .fetch_all(&mut **transaction)
        .await?;
    let mut directory = Directory::default();
    let mut digest = SetDigest::default();
    for row in &rows {
        let object = Object::read(row)?;
        digest.toggle(object.digest(key));
        if !directory.add(&object, key) {
            let entry = format!("{} {}", object.kind, object.id);
            directory.unverified.push(entry);
        }
    }
    if digest == head.directory {
        Ok(directory)
    } else {
        Err(StoreUnavailable::foreign_rows("users, groups and clients"))
    }
}

impl Directory {
    /// Takes an object in; `false` if it was not written by Egret.
    fn add(&mut self, object: &Object<'_>, key: &PolicyKey) -> bool {
        match object.kind {
            User::KIND => {
                let Ok(name) = Principal::parse(object.id) else {
                    return false;
                };
                match object.content(key) {
                    Some(user) => {
                        self.keep_revision(ObjectName::user(&name), object);
                        self.users.insert(name, user);
                    }
                    None => {
                        self.unverified_users.insert(name);
                        return false;
                    }
                }
            }
            Group::KIND => {
                let group = GroupName::parse(object.id).ok().zip(object.content(key));
                let Some((name, group)) = group else {
                    return false;
                };
                self.keep_revision(ObjectName::group(&name), object);
                self.groups.insert(name, group);
            }
            BundleRecord::KIND => {
                let record = object.content::<BundleRecord>(key);
                let bundle = record.and_then(BundleRecord::bundle);
                let Some((id, bundle)) = object.id.parse().ok().zip(bundle) else {
                    return false;
                };
                self.keep_revision(ObjectName::bundle(&id), object);
                self.bundles.insert(id, bundle);
            }
            Approval::KIND => {
                let Some(approval) = object.content(key) else {
                    return false;
                };
                self.approvals.insert(object.id.to_owned(), approval);
            }
            KeyRequest::KIND => {
                let number = object.id.parse().ok();
                let Some((number, request)) = number.zip(object.content(key)) else {
                    return false;
                };
                self.key_requests.insert(number, request);
            }
            EgressEntry::KIND => {
                let number = object.id.parse().ok();
                let Some((number, entry)) = number.zip(object.content(key)) else {
                    self.has_unverified_egress = true;
                    return false;
                };
                self.egress.insert(number, entry);
            }
            RevokedIssued::KIND => {
                let client = object.id.to_owned();
                let Some(revoked) = object.content(key) else {
                    self.unverified_issued.insert(client);
                    return false;
                };
                self.revoked_issued.insert(client, revoked);
            }
            ClientRecord::KIND => {
                let record = object.content::<ClientRecord>(key);
                let name = ClientName::parse(object.id).ok();
                let client = record
                    .zip(name)
                    .and_then(|(record, name)| record.client(name));
                let Some(client) = client else { return false };
                self.keep_revision(ObjectName::client(&client.name), object);
                self.clients.push(client);
            }
            // What people sign in with is no part of what the proxy knows.
            Account::KIND => return object.content::<Account>(key).is_some(),
            Identity::KIND => return object.content::<Identity>(key).is_some(),
            Link::KIND => return object.content::<Link>(key).is_some(),
            TokenRecord::KIND => return object.content::<TokenRecord>(key).is_some(),
            // A kind that this version does not know would have another version of the schema.
            _ => return false,
        }
        true
    }

    fn keep_revision(&mut self, name: ObjectName, object: &Object<'_>) {
        self.revisions.insert(name, object.revision);
    }
}
