//! Egress rules. Each is an object under its number, the revision of the change that added it.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::database::Database;
use super::objects::{self, Object, unverified};
use crate::policy::egress::{EgressRule, Stance};
use crate::vault::egress::{EgressEntry, MOST_RULES, Subject, describe};
use crate::vault::name::Actor;
use crate::vault::record::Record as _;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn add_egress(
        &self,
        actor: &Actor,
        subject: &Subject,
        rule: &EgressRule,
    ) -> Result<i64, StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_administration().await?;
        if let Subject::Of(grantee) = subject {
            change.require(grantee).await?;
        }
        let row = sqlx::query("SELECT count(*) AS rules FROM objects WHERE kind = ?")
            .bind(EgressEntry::KIND)
            .fetch_one(&mut *change.transaction)
            .await?;
        if row.try_get::<i64, _>("rules")? >= MOST_RULES as i64 {
            return Err(StoreError::TooMany("egress rules"));
        }
        let entry = EgressEntry {
            subject: subject.clone(),
            rule: rule.clone(),
            created: change.now(),
        };
        // Changes that are made together share a revision, and a number names one rule.
        while change
            .get::<EgressEntry>(&change.revision.to_string())
            .await?
            .is_some()
        {
            change.revision += 1;
        }
        let number = change.revision;
        change.put(&number.to_string(), &entry, None).await?;
        change.takes_away = rule.stance == Stance::Deny;
        let detail = format!("rule {number}; {}", describe(subject, rule));
        change.record_store(Event::EgressAdded, &detail).await?;
        change.commit().await?;
        Ok(number)
    }

    pub async fn remove_egress(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_administration().await?;
        let id = number.to_string();
        let said = match change.get::<EgressEntry>(&id).await {
            Ok(Some(entry)) => describe(&entry.subject, &entry.rule),
            Ok(None) => return Err(StoreError::EgressNotFound(number)),
            Err(StoreError::Unavailable(error)) if error.is_alarming() => {
                "its entry was not written by Egret".to_owned()
            }
            Err(error) => return Err(error),
        };
        change.remove::<EgressEntry>(&id).await?;
        let detail = format!("rule {number}; {said}");
        change.record_store(Event::EgressRemoved, &detail).await?;
        change.commit().await
    }

    pub async fn list_egress(&self) -> Result<BTreeMap<i64, EgressEntry>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(EgressEntry::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        let entries = rows.iter().map(|row| {
            let object = Object::read(row)?;
            let entry = object.id.parse().ok().zip(object.content(&key));
            entry.ok_or_else(|| unverified("egress rule", &object.id))
        });
        entries.collect()
    }
}
