//! Takes over the rows of the first version of the schema, which were not authenticated.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::credentials::id;
use super::database::Change;
use super::rows;
use crate::policy::share_limits::ShareLimits;
use crate::vault::client_proof::ClientProof;
use crate::vault::model::{Client, OVERLAP, Phase, State, Version};
use crate::vault::name::{ClientName, Principal};
use crate::vault::people::{Grantee, Share, User};
use crate::vault::record::{ClientRecord, CredentialRecord, Policy};
use crate::vault::store::error::{StoreError, StoreUnavailable};

impl Change<'_> {
    /// Turns every old row into an object. Each principal that a row names becomes a user.
    pub(super) async fn take_over(&mut self) -> Result<(), StoreError> {
        let mut people = BTreeSet::new();
        let mut shares: BTreeMap<_, Vec<Share>> = BTreeMap::new();
        for row in &self.rows("SELECT * FROM shares").await? {
            let principal = name(row, "principal")?;
            people.insert(principal.clone());
            shares.entry(rows::key(row)?).or_default().push(Share {
                with: Grantee::User(principal),
                limits: ShareLimits::default(),
                until: None,
                created: self.now(),
                ended: None,
            });
        }
        let mut versions: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
        for row in &self
            .rows("SELECT owner, slug, version FROM sealed_values")
            .await?
        {
            let of_credential = versions.entry(rows::key(row)?).or_default();
            of_credential.insert(rows::version(row)?);
        }
        for row in &self.rows("SELECT * FROM credentials").await? {
            let (owner, slug) = rows::key(row)?;
            let number = rows::version(row)?;
            let record = if row.try_get("deleted")? {
                CredentialRecord::Deleted(number)
            } else {
                let key = (owner.clone(), slug.clone());
                let mut policy = policy(row, number)?;
                let stored = versions.remove(&key).unwrap_or_default();
                policy.versions = stored.iter().map(|n| version(*n, &policy)).collect();
                policy.shares = shares.remove(&key).unwrap_or_default();
                CredentialRecord::Live(Box::new(policy))
            };
            let due = row.try_get::<i64, _>("rotated")?.saturating_add(OVERLAP);
            self.put(&id(&owner, &slug), &record, Some(due)).await?;
            people.insert(owner);
        }
        for row in &self.rows("SELECT * FROM clients").await? {
            let client = client(row)?;
            let record = ClientRecord::of(&client);
            self.put(client.name.as_str(), &record, client.expires)
                .await?;
            people.insert(client.principal);
        }
        let now = self.now();
        for user in people {
            self.put(user.as_str(), &User::member(now), None).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, sql: &'static str) -> Result<Vec<SqliteRow>, StoreError> {
        Ok(sqlx::query(sql).fetch_all(&mut *self.transaction).await?)
    }
}

fn unreadable(column: &str) -> StoreUnavailable {
    StoreUnavailable::new(format!(
        "a stored `{column}` cannot be read; restore a backup"
    ))
}

fn name(row: &SqliteRow, column: &'static str) -> Result<Principal, StoreUnavailable> {
    Principal::parse(row.try_get(column)?).map_err(|_| unreadable(column))
}

fn policy(row: &SqliteRow, last_version: u32) -> Result<Policy, StoreUnavailable> {
    let revoked: bool = row.try_get("revoked")?;
    let kind: &str = row.try_get("kind")?;
    Ok(Policy {
        kind: kind.parse().map_err(|_| unreadable("kind"))?,
        description: row.try_get("description")?,
        grant: serde_json::from_str(row.try_get("allowed")?).map_err(|_| unreadable("allowed"))?,
        state: if revoked {
            State::Revoked
        } else {
            State::Active
        },
        searched_until: None,
        created: row.try_get("created")?,
        rotated: row.try_get("rotated")?,
        rotate_every: None,
        last_version,
        versions: Vec::new(),
        shares: Vec::new(),
        attachments: Vec::new(),
        stand_ins: Vec::new(),
    })
}

fn version(number: u32, policy: &Policy) -> Version {
    let is_current = number == policy.last_version;
    Version {
        number,
        phase: if is_current {
            Phase::Current
        } else {
            Phase::Replaced
        },
        created: policy.rotated,
        kept_until: (!is_current).then(|| policy.rotated.saturating_add(OVERLAP)),
        rollback: false,
    }
}

fn client(row: &SqliteRow) -> Result<Client, StoreUnavailable> {
    let token_hash: &[u8] = row.try_get("token_hash")?;
    Ok(Client {
        name: ClientName::parse(row.try_get("name")?).map_err(|_| unreadable("name"))?,
        principal: name(row, "principal")?,
        created: row.try_get("created")?,
        expires: row.try_get("expires")?,
        enrolment: row.try_get("enrolment")?,
        bundle: None,
        is_probe: false,
        proof: ClientProof::Token(
            token_hash
                .try_into()
                .map_err(|_| unreadable("token_hash"))?,
        ),
        revoked_before: None,
        revoked: Vec::new(),
    })
}
