//! Questions to owners, and their answers. Each is an object under an id of its own.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::credentials::id as credential_id;
use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use crate::vault::approval::{Answer, Approval, MOST_APPROVALS, MOST_OPEN, Verdict};
use crate::vault::name::Actor;
use crate::vault::record::{CredentialRecord, Record as _};
use crate::vault::rights::Right;
use crate::vault::store::edit::{CredentialTarget, PendingEvent};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn ask_approval(
        &self,
        actor: &Actor,
        id: &str,
        approval: &Approval,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let all = change.approvals().await?;
        let is_open = |other: &Approval| other.answer.is_none();
        let same = |other: &&Approval| is_open(other) && other.is_about(&approval.question);
        if all.values().any(|other| same(&other)) {
            // Another request that is the same waits for the same answer.
            return Ok(());
        }
        let client = &approval.question.client;
        let of_client = |other: &&Approval| is_open(other) && other.question.client == *client;
        if all.values().filter(of_client).count() >= MOST_OPEN || all.len() >= MOST_APPROVALS {
            return Err(StoreError::Invalid(
                "too many questions wait for an answer already",
            ));
        }
        change.put(id, approval, approval.due()).await?;
        change
            .record_approval(Event::ApprovalAsked, id, approval)
            .await?;
        change.commit().await
    }

    pub async fn answer_approval(
        &self,
        actor: &Actor,
        id: &str,
        verdict: Verdict,
    ) -> Result<Approval, StoreError> {
        let mut change = self.begin(actor).await?;
        let mut approval = change.approval(id).await?;
        change.permit_approval(&approval).await?;
        let now = change.now();
        if approval.answer.is_some() || !approval.is_kept(now) {
            return Err(StoreError::ApprovalNotFound(id.to_owned()));
        }
        approval.answer = Some(Answer {
            verdict,
            by: actor.as_str().to_owned(),
            at: now,
        });
        change.put(id, &approval, approval.due()).await?;
        let event = match verdict {
            Verdict::Once | Verdict::Always => Event::ApprovalGranted,
            Verdict::No => Event::ApprovalDenied,
        };
        change.record_approval(event, id, &approval).await?;
        change.commit().await?;
        Ok(approval)
    }

    pub async fn use_approval(&self, actor: &Actor, id: &str) -> Result<bool, StoreError> {
        let mut change = self.begin(actor).await?;
        let found = match change.approval(id).await {
            Ok(approval) => approval,
            Err(StoreError::ApprovalNotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        if found.verdict() != Some(Verdict::Once) || !found.is_kept(change.now()) {
            return Ok(false);
        }
        change.remove::<Approval>(id).await?;
        change
            .record_approval(Event::ApprovalUsed, id, &found)
            .await?;
        change.commit().await?;
        Ok(true)
    }

    pub async fn remove_approval(&self, actor: &Actor, id: &str) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let approval = change.approval(id).await?;
        change.permit_approval(&approval).await?;
        change.remove::<Approval>(id).await?;
        change
            .record_approval(Event::ApprovalRemoved, id, &approval)
            .await?;
        change.commit().await
    }

    pub async fn list_approvals(&self) -> Result<BTreeMap<String, Approval>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(Approval::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        let all = rows.iter().map(|row| {
            let object = Object::read(row)?;
            let content = object.content(&key);
            let approval = content.ok_or_else(|| unverified(Approval::KIND, &object.id))?;
            Ok((object.id.to_owned(), approval))
        });
        all.collect()
    }
}

impl Change<'_> {
    async fn approval(&mut self, id: &str) -> Result<Approval, StoreError> {
        let found = self.get::<Approval>(id).await?;
        found.ok_or_else(|| StoreError::ApprovalNotFound(id.to_owned()))
    }

    /// All that are kept. What is not is removed: nobody has to be told.
    async fn approvals(&mut self) -> Result<BTreeMap<String, Approval>, StoreError> {
        let now = self.now();
        let rows = sqlx::query("SELECT id FROM objects WHERE kind = ?")
            .bind(Approval::KIND)
            .fetch_all(&mut *self.transaction)
            .await?;
        let mut all = BTreeMap::new();
        for row in &rows {
            let id: &str = row.try_get("id")?;
            // One that was not written by Egret is no answer, and is reported where it is loaded.
            let Ok(Some(approval)) = self.get::<Approval>(id).await else {
                continue;
            };
            if approval.is_kept(now) {
                all.insert(id.to_owned(), approval);
            } else {
                self.remove::<Approval>(id).await?;
            }
        }
        Ok(all)
    }

    /// Only the owner of the credential answers. For anyone else there is no such question.
    async fn permit_approval(&mut self, approval: &Approval) -> Result<(), StoreError> {
        let target = target(approval);
        let id = credential_id(target.owner, target.slug);
        let record = self.get::<CredentialRecord>(&id).await?;
        self.permit(&target, record.as_ref()).await
    }

    async fn record_approval(
        &mut self,
        event: Event,
        id: &str,
        approval: &Approval,
    ) -> Result<(), StoreError> {
        let question = &approval.question;
        let mut detail = format!(
            "approval {id}; client {}; action {}; {} {}{}",
            question.client, question.action, question.method, question.destination, question.path
        );
        if let Some(verdict) = approval.verdict() {
            detail.push_str(&format!("; {}", verdict.as_str()));
        }
        let event = PendingEvent {
            event,
            version: None,
            principal: Some(question.principal.clone()),
            detail,
        };
        self.record_credential(&target(approval), event).await
    }
}

fn target(approval: &Approval) -> CredentialTarget<'_> {
    CredentialTarget {
        owner: &approval.owner,
        slug: &approval.slug,
        right: Right::Own,
        with: None,
    }
}
