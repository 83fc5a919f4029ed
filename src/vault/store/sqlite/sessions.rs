//! Sessions: browsers that were signed in.

use sqlx::Row as _;

use super::database::{Change, Database};
use super::objects;
use crate::vault::access::{Account, SecretHash, Session, hex};
use crate::vault::name::Principal;
use crate::vault::people::User;
use crate::vault::policy_key::Authenticated;
use crate::vault::store::account::{FoundSession, NewSession};
use crate::vault::store::error::{StoreError, StoreUnavailable};

/// Most sessions of one user. The one that ends first makes room.
const MOST: i64 = 50;

/// A session as it is authenticated. It is not part of a revision: it is no change of policy.
pub(super) fn authenticated<'a>(id: &'a str, document: &'a str) -> Authenticated<'a> {
    Authenticated {
        kind: "session",
        id,
        revision: 0,
        document,
    }
}

fn written(session: &Session) -> Result<String, StoreUnavailable> {
    serde_json::to_string(session).map_err(|error| StoreUnavailable::new(error.to_string()))
}

impl Database {
    pub async fn session(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<FoundSession>, StoreUnavailable> {
        let id = hex(hash);
        let (mut snapshot, key) = self.snapshot().await?;
        let row = sqlx::query("SELECT document, tag FROM sessions WHERE id = ?")
            .bind(&id)
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let document: &str = row.try_get("document")?;
        if !key.verify(&authenticated(&id, document), row.try_get("tag")?) {
            tracing::error!("a session in the database was not written by Egret; it is not used");
            return Ok(None);
        }
        let Ok(session) = serde_json::from_str::<Session>(document) else {
            return Ok(None);
        };
        let name = session.user.as_str();
        let user: Option<User> = objects::get(&mut snapshot, &key, name).await?;
        let account: Option<Account> = objects::get(&mut snapshot, &key, name).await?;
        let found = user.zip(account);
        Ok(found.map(|(user, account)| FoundSession {
            session,
            user,
            account,
        }))
    }

    /// Writes a session again that was used or proved. One that ended meanwhile stays away.
    pub async fn keep_session(
        &self,
        hash: &SecretHash,
        session: &Session,
    ) -> Result<(), StoreUnavailable> {
        let (id, document) = (hex(hash), written(session)?);
        let (mut transaction, key) = self.snapshot_to_write().await?;
        let tag = key.tag(&authenticated(&id, &document));
        sqlx::query("UPDATE sessions SET document = ?, tag = ? WHERE id = ?")
            .bind(&document)
            .bind(tag.as_slice())
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    pub async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreUnavailable> {
        let given = self.reserve.give();
        sqlx::query("DELETE FROM sessions WHERE id = ?")
            .bind(hex(hash))
            .execute(&self.pool)
            .await?;
        if let Some(given) = given {
            given.take_back().await;
        }
        Ok(())
    }
}

impl Change<'_> {
    pub(super) async fn put_session(&mut self, new: &NewSession) -> Result<(), StoreError> {
        let (id, document) = (hex(&new.hash), written(&new.session)?);
        let tag = self.key.tag(&authenticated(&id, &document));
        let user = new.session.user.as_str();
        sqlx::query("DELETE FROM sessions WHERE ends <= ?")
            .bind(self.now())
            .execute(&mut *self.transaction)
            .await?;
        sqlx::query(
            "DELETE FROM sessions WHERE user = ? AND id NOT IN
             (SELECT id FROM sessions WHERE user = ? ORDER BY ends DESC LIMIT ?)",
        )
        .bind(user)
        .bind(user)
        .bind(MOST - 1)
        .execute(&mut *self.transaction)
        .await?;
        sqlx::query("INSERT INTO sessions (id, user, ends, document, tag) VALUES (?, ?, ?, ?, ?)")
            .bind(&id)
            .bind(user)
            .bind(new.session.ends)
            .bind(&document)
            .bind(tag.as_slice())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    pub(super) async fn remove_sessions(&mut self, user: &Principal) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE user = ?")
            .bind(user.as_str())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}
