//! Reads credentials: by name, or those that changed after a revision.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::database::Database;
use super::{rows, schema};
use crate::substitution::slug::Slug;
use crate::vault::model::Credential;
use crate::vault::name::Principal;
use crate::vault::store::changes::Changes;
use crate::vault::store::error::StoreUnavailable;

/// Rows of one read, from the three tables of a credential.
struct RowSets {
    credentials: Vec<SqliteRow>,
    values: Vec<SqliteRow>,
    shares: Vec<SqliteRow>,
}

/// Sorts after every owner and slug, which are ASCII.
const LAST: &str = "\u{10ffff}";

impl Database {
    /// Finds changed rows through the index on their revision.
    pub async fn changes_since(&self, since: i64) -> Result<Changes, StoreUnavailable> {
        let mut transaction = self.pool.begin().await?;
        let state = sqlx::query(
            "SELECT revision, client_revision, (SELECT max(version) FROM migrations) AS schema
             FROM state WHERE id = 1",
        )
        .fetch_one(&mut *transaction)
        .await?;
        let schema: i64 = state.try_get("schema")?;
        if schema != schema::CURRENT {
            return Err(schema::too_new(schema));
        }
        let mut changes = Changes {
            revision: state.try_get("revision")?,
            credentials: Vec::new(),
            deleted: Vec::new(),
            clients: None,
        };
        if changes.revision > since {
            let changed = changed_rows(&mut transaction, since).await?;
            for row in &changed.credentials {
                if row.try_get("deleted")? {
                    changes.deleted.push(rows::key(row)?);
                }
            }
            changes.credentials = assemble(&changed)?;
        }
        if since == 0 || state.try_get::<i64, _>("client_revision")? > since {
            let rows = sqlx::query("SELECT * FROM clients")
                .fetch_all(&mut *transaction)
                .await?;
            changes.clients = Some(rows.iter().map(rows::client).collect::<Result<_, _>>()?);
        }
        transaction.rollback().await?;
        Ok(changes)
    }

    pub async fn get(
        &self,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<Option<Credential>, StoreUnavailable> {
        let name = (owner.as_str(), slug.as_str());
        Ok(self.between(name, name).await?.pop())
    }

    pub async fn list(
        &self,
        owner: Option<&Principal>,
    ) -> Result<Vec<Credential>, StoreUnavailable> {
        match owner.map(Principal::as_str) {
            Some(owner) => self.between((owner, ""), (owner, LAST)).await,
            None => self.between(("", ""), (LAST, LAST)).await,
        }
    }

    /// The credentials whose (owner, slug) is between two names, both included.
    async fn between(
        &self,
        first: (&str, &str),
        last: (&str, &str),
    ) -> Result<Vec<Credential>, StoreUnavailable> {
        let mut transaction = self.pool.begin().await?;
        let credentials = "SELECT * FROM credentials WHERE (owner, slug) BETWEEN (?, ?) AND (?, ?)";
        let values = "SELECT * FROM sealed_values WHERE (owner, slug) BETWEEN (?, ?) AND (?, ?)";
        let shares = "SELECT * FROM shares WHERE (owner, slug) BETWEEN (?, ?) AND (?, ?)";
        let select = |sql: &'static str| {
            sqlx::query(sql)
                .bind(first.0)
                .bind(first.1)
                .bind(last.0)
                .bind(last.1)
        };
        let sets = RowSets {
            credentials: select(credentials).fetch_all(&mut *transaction).await?,
            values: select(values).fetch_all(&mut *transaction).await?,
            shares: select(shares).fetch_all(&mut *transaction).await?,
        };
        transaction.rollback().await?;
        assemble(&sets)
    }
}

/// `CROSS JOIN` fixes the join order: the few changed credentials first, then their rows. Otherwise
/// the planner may scan a whole table for one change.
async fn changed_rows(
    transaction: &mut Transaction<'static, Sqlite>,
    since: i64,
) -> Result<RowSets, StoreUnavailable> {
    let credentials = sqlx::query("SELECT * FROM credentials WHERE revision > ?")
        .bind(since)
        .fetch_all(&mut **transaction)
        .await?;
    let values = sqlx::query(
        "SELECT v.* FROM credentials c
         CROSS JOIN sealed_values v ON v.owner = c.owner AND v.slug = c.slug
         WHERE c.revision > ?",
    )
    .bind(since)
    .fetch_all(&mut **transaction)
    .await?;
    let shares = sqlx::query(
        "SELECT s.* FROM credentials c
         CROSS JOIN shares s ON s.owner = c.owner AND s.slug = c.slug
         WHERE c.revision > ?",
    )
    .bind(since)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(RowSets {
        credentials,
        values,
        shares,
    })
}

/// Puts live credentials together with their values and shares, ordered by owner and slug.
fn assemble(sets: &RowSets) -> Result<Vec<Credential>, StoreUnavailable> {
    let mut credentials = BTreeMap::new();
    for row in &sets.credentials {
        if !row.try_get::<bool, _>("deleted")? {
            credentials.insert(rows::key(row)?, rows::credential(row)?);
        }
    }
    for row in &sets.values {
        if let Some(credential) = credentials.get_mut(&rows::key(row)?) {
            rows::add_value(credential, row)?;
        }
    }
    for row in &sets.shares {
        if let Some(credential) = credentials.get_mut(&rows::key(row)?) {
            credential.shared_with.insert(rows::principal(row)?);
        }
    }
    Ok(credentials.into_values().collect())
}
