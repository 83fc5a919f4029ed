//! JWTs of issuers that are revoked before their time is over.

use sqlx::Row as _;

use super::database::Database;
use crate::vault::name::{Actor, CallerName};
use crate::vault::record::Record as _;
use crate::vault::store::error::StoreError;
use crate::vault::token_id::{MOST_REVOKED_CLIENTS, Revoked, RevokedIssued};

impl Database {
    pub async fn revoke_issued(
        &self,
        actor: &Actor,
        client: &CallerName,
        which: &Revoked,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        // The store does not know for whom such a client acts.
        change.permit_administration().await?;
        let known = change.get::<RevokedIssued>(client.as_str()).await;
        let mut revoked = match known {
            // What it said is not known, and covered by this.
            Err(StoreError::Unavailable(error))
                if error.is_alarming() && *which == Revoked::All =>
            {
                RevokedIssued::default()
            }
            Ok(Some(revoked)) => revoked,
            Ok(None) => {
                let row = sqlx::query("SELECT count(*) AS clients FROM objects WHERE kind = ?")
                    .bind(RevokedIssued::KIND)
                    .fetch_one(&mut *change.transaction)
                    .await?;
                if row.try_get::<i64, _>("clients")? >= MOST_REVOKED_CLIENTS {
                    return Err(StoreError::TooMany(
                        "clients of issuers with revoked tokens",
                    ));
                }
                RevokedIssued::default()
            }
            Err(error) => return Err(error),
        };
        let detail = match which {
            Revoked::All => {
                revoked.revoke_all(change.now());
                "all tokens that were issued until now are revoked".to_owned()
            }
            Revoked::One(id) => {
                if !revoked.revoke(id) {
                    return Err(StoreError::Invalid(
                        "1000 tokens of this client are revoked one by one; revoke all of them: --all",
                    ));
                }
                format!("the token {id} is revoked")
            }
        };
        change.takes_away = true;
        change.put(client.as_str(), &revoked, None).await?;
        change.record_issued(client, &detail).await?;
        change.commit().await
    }
}
