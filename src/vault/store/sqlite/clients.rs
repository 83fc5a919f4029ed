//! Clients: programs that may send requests to the proxy.

use super::database::{Change, Database};
use super::rows;
use crate::vault::model::{Client, TokenHash};
use crate::vault::name::{Actor, ClientName, Principal};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn add_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        principal: &Principal,
        token_hash: &TokenHash,
        expires: Option<i64>,
    ) -> Result<Client, StoreError> {
        let mut change = self.begin(actor).await?;
        let created = change.now();
        sqlx::query("DELETE FROM clients WHERE expires <= ?")
            .bind(created)
            .execute(&mut *change.transaction)
            .await?;
        let added = sqlx::query(
            "INSERT OR IGNORE INTO clients (name, principal, token_hash, created, expires, enrolment)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(name.as_str())
        .bind(principal.as_str())
        .bind(token_hash.as_slice())
        .bind(created)
        .bind(expires)
        .bind(change.revision)
        .execute(&mut *change.transaction)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::ClientExists(name.clone()));
        }
        let enrolment = change.revision;
        change.clients_changed().await?;
        change
            .record_client(Event::ClientAdded, name, principal)
            .await?;
        change.commit().await?;
        Ok(Client {
            name: name.clone(),
            principal: principal.clone(),
            created,
            expires,
            enrolment,
            token_hash: *token_hash,
        })
    }

    pub async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName,
    ) -> Result<Client, StoreError> {
        let mut change = self.begin(actor).await?;
        let removed = sqlx::query("DELETE FROM clients WHERE name = ? RETURNING *")
            .bind(name.as_str())
            .fetch_optional(&mut *change.transaction)
            .await?;
        let client = match removed {
            Some(row) => rows::client(&row)?,
            None => return Err(StoreError::ClientNotFound(name.clone())),
        };
        change.clients_changed().await?;
        change
            .record_client(Event::ClientRemoved, name, &client.principal)
            .await?;
        change.commit().await?;
        Ok(client)
    }

    pub async fn extend_client(&self, name: &ClientName, expires: i64) -> Result<(), StoreError> {
        let actor = Actor::new("client", name.as_str());
        let mut change = self.begin(&actor).await?;
        let extended =
            sqlx::query("UPDATE clients SET expires = ? WHERE name = ? AND expires IS NOT NULL")
                .bind(expires)
                .bind(name.as_str())
                .execute(&mut *change.transaction)
                .await?;
        if extended.rows_affected() == 0 {
            return Err(StoreError::ClientNotFound(name.clone()));
        }
        change.clients_changed().await?;
        change.commit().await
    }

    pub async fn list_clients(&self) -> Result<Vec<Client>, StoreUnavailable> {
        let rows = sqlx::query("SELECT * FROM clients ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rows::client).collect()
    }
}

impl Change<'_> {
    async fn clients_changed(&mut self) -> Result<(), StoreError> {
        sqlx::query("UPDATE state SET client_revision = ? WHERE id = 1")
            .bind(self.revision)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}
