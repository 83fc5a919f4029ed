//! Looks through every row, whether it is loaded or not.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};

use super::database::{Database, STATE, head_of, reading_key};
use super::objects::{Object, is_credential};
use crate::vault::policy_key::SetDigest;
use crate::vault::store::changes::Audit;
use crate::vault::store::error::StoreUnavailable;

/// The next rows in the order of the table. So a large store costs no memory.
const NEXT: &str = "SELECT * FROM objects WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT 256";

impl Database {
    /// Verifies all rows, in one snapshot. Fails if they are not those that were written last.
    pub async fn audit(&self) -> Result<Audit, StoreUnavailable> {
        let mut transaction = self.pool.begin().await?;
        let state = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let key = reading_key(&state, &self.keys)?;
        let head = head_of(&state, &key)?;
        let (mut credentials, mut directory) = (SetDigest::default(), SetDigest::default());
        let mut audit = Audit::default();
        let mut last = (String::new(), String::new());
        loop {
            let rows = next(&mut transaction, &last).await?;
            let Some(end) = rows.last() else { break };
            last = (end.try_get("kind")?, end.try_get("id")?);
            for row in &rows {
                let object = Object::read(row)?;
                let is_credential = is_credential(object.kind);
                let set = if is_credential {
                    &mut credentials
                } else {
                    &mut directory
                };
                set.toggle(object.digest(&key));
                if object.verifies(&key) {
                    continue;
                }
                if is_credential {
                    audit.credentials.insert(object.id.to_owned());
                } else {
                    let entry = format!("{} {}", object.kind, object.id);
                    audit.entries.insert(entry);
                }
            }
        }
        transaction.rollback().await?;
        if credentials != head.credentials {
            return Err(StoreUnavailable::foreign_rows("credentials"));
        }
        if directory != head.directory {
            return Err(StoreUnavailable::foreign_rows("users, groups and clients"));
        }
        Ok(audit)
    }
}

async fn next(
    transaction: &mut Transaction<'static, Sqlite>,
    (kind, id): &(String, String),
) -> Result<Vec<SqliteRow>, StoreUnavailable> {
    let rows = sqlx::query(NEXT).bind(kind).bind(id);
    Ok(rows.fetch_all(&mut **transaction).await?)
}
