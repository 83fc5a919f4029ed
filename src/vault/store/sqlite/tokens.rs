//! Personal API tokens.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use crate::vault::access::token::{MOST_TOKENS, TokenRecord};
use crate::vault::access::{ApiToken, ApiTokenId};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::User;
use crate::vault::policy_key::PolicyKey;
use crate::vault::record::Record as _;
use crate::vault::rights::{Forbidden, Right};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

/// Tokens with the times of their last use.
const TOKENS: &str = "SELECT o.kind, o.id, o.revision, o.document, o.tag, u.used FROM objects o
     LEFT JOIN token_uses u ON u.id = o.id WHERE o.kind = 'token'";

/// One token.
const TOKEN: &str = "SELECT o.kind, o.id, o.revision, o.document, o.tag, u.used FROM objects o
     LEFT JOIN token_uses u ON u.id = o.id WHERE o.kind = 'token' AND o.id = ?";

impl Database {
    pub async fn add_token(
        &self,
        actor: &Actor,
        id: &ApiTokenId,
        record: &TokenRecord,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.remove_expired_tokens().await?;
        let name = record.user.as_str();
        let user = change.get::<User>(name).await?;
        let user = user.ok_or_else(|| StoreError::UserNotFound(record.user.clone()))?;
        if user.disabled {
            return Err(StoreError::Forbidden(Forbidden::Disabled));
        }
        // Nobody makes a token that acts for somebody else.
        if actor.is_client() || actor.acts_for().is_some_and(|asks| *asks != record.user) {
            return Err(StoreError::Forbidden(Forbidden::NotOwner));
        }
        if change.tokens_of(&record.user).await? >= MOST_TOKENS {
            return Err(StoreError::Invalid(
                "a user has at most 100 tokens; revoke one that is not used any more",
            ));
        }
        change
            .put(id.as_str(), record, Some(record.expires))
            .await?;
        let detail = format!("{id} ({}), scope {}", record.name, record.scope);
        change
            .record_token(Event::TokenCreated, &record.user, &detail)
            .await?;
        change.commit().await
    }

    pub async fn remove_token(
        &self,
        actor: &Actor,
        id: &ApiTokenId,
    ) -> Result<ApiToken, StoreError> {
        let mut change = self.begin(actor).await?;
        let record = change.get::<TokenRecord>(id.as_str()).await?;
        let record = record.ok_or_else(|| StoreError::TokenNotFound(id.clone()))?;
        let unknown = || StoreError::TokenNotFound(id.clone());
        // Whoever made it takes it back, whatever else the role permits.
        if actor.acts_for() != Some(&record.user) {
            change
                .permit_to(Right::TakeAway, &record.user, &[], unknown)
                .await?;
        }
        change.remove::<TokenRecord>(id.as_str()).await?;
        change.forget_use(id.as_str()).await?;
        let detail = format!("{id} ({})", record.name);
        change
            .record_token(Event::TokenRevoked, &record.user, &detail)
            .await?;
        change.commit().await?;
        Ok(ApiToken {
            id: id.clone(),
            record,
            used: None,
        })
    }

    pub async fn list_tokens(
        &self,
        user: Option<&Principal>,
    ) -> Result<Vec<ApiToken>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(TOKENS).fetch_all(&mut *snapshot).await?;
        let mut tokens = rows
            .iter()
            .map(|row| token_of(row, &key))
            .collect::<Result<Vec<_>, _>>()?;
        tokens.retain(|token| user.is_none_or(|user| token.record.user == *user));
        tokens.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(tokens)
    }

    pub async fn token(
        &self,
        id: &ApiTokenId,
    ) -> Result<Option<(ApiToken, User)>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let row = sqlx::query(TOKEN)
            .bind(id.as_str())
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let token = token_of(&row, &key)?;
        let name = token.record.user.as_str();
        let user: Option<User> = objects::get(&mut snapshot, &key, name).await?;
        Ok(user.map(|user| (token, user)))
    }

    /// Notes the use of a token.
    pub async fn note_token_use(&self, id: &ApiTokenId, now: i64) -> Result<(), StoreUnavailable> {
        sqlx::query("INSERT OR REPLACE INTO token_uses (id, used) VALUES (?, ?)")
            .bind(id.as_str())
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn token_of(row: &SqliteRow, key: &PolicyKey) -> Result<ApiToken, StoreUnavailable> {
    let object = Object::read(row)?;
    let record = object.content::<TokenRecord>(key);
    let (record, id) = record
        .zip(ApiTokenId::parse(object.id).ok())
        .ok_or_else(|| unverified(TokenRecord::KIND, &object.id))?;
    let used = row.try_get("used")?;
    Ok(ApiToken { id, record, used })
}

impl Change<'_> {
    async fn tokens_of(&mut self, user: &Principal) -> Result<usize, StoreError> {
        let rows = sqlx::query(objects::OF_KIND)
            .bind(TokenRecord::KIND)
            .fetch_all(&mut *self.transaction)
            .await?;
        let mut count = 0;
        for row in &rows {
            let record = Object::read(row)?.content::<TokenRecord>(&self.key);
            count += usize::from(record.is_some_and(|record| record.user == *user));
        }
        Ok(count)
    }

    async fn remove_expired_tokens(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let rows = sqlx::query("SELECT id FROM objects WHERE kind = ? AND due <= ?")
            .bind(TokenRecord::KIND)
            .bind(now)
            .fetch_all(&mut *self.transaction)
            .await?;
        for row in &rows {
            let id: &str = row.try_get("id")?;
            let record = self.get::<TokenRecord>(id).await.ok().flatten();
            // `due` is not authenticated: what the text says counts.
            if record.is_some_and(|record| record.expires <= now) {
                self.remove::<TokenRecord>(id).await?;
                self.forget_use(id).await?;
            }
        }
        Ok(())
    }

    async fn forget_use(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM token_uses WHERE id = ?")
            .bind(id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}
