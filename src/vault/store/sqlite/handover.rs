//! Credentials that go from one owner to another.

use super::clients::client_of;
use super::credentials::id;
use super::database::{Change, Database};
use super::objects;
use crate::substitution::slug::Slug;
use crate::vault::model::{Phase, SealedFields, Version};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::Grantee;
use crate::vault::record::{ClientRecord, CredentialRecord, Policy, Record as _};
use crate::vault::rights::Right;
use crate::vault::seal::SealError;
use crate::vault::store::edit::{CredentialTarget, Handover, PendingEvent};
use crate::vault::store::error::StoreError;
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn hand_over(
        &self,
        actor: &Actor,
        handover: &Handover<'_>,
        seal: impl Fn(&Slug, u32) -> Result<SealedFields, SealError> + Send,
    ) -> Result<(), StoreError> {
        if handover.owner == handover.to {
            return Err(StoreError::OwnCredential(handover.to.clone()));
        }
        let mut change = self.begin(actor).await?;
        let with = Grantee::User(handover.to.clone());
        for (slug, version) in &handover.slugs {
            let from = CredentialTarget {
                owner: handover.owner,
                slug,
                right: Right::Own,
                with: Some(&with),
            };
            let to = CredentialTarget {
                owner: handover.to,
                ..from
            };
            change.move_credential(from, to, *version, &seal).await?;
        }
        if handover.with_clients {
            change.require(&with).await?;
            change.move_clients(handover.owner, handover.to).await?;
        }
        change.commit().await?;
        self.erase_log().await;
        Ok(())
    }
}

impl Change<'_> {
    async fn move_credential(
        &mut self,
        from: CredentialTarget<'_>,
        to: CredentialTarget<'_>,
        opened: u32,
        seal: &(impl Fn(&Slug, u32) -> Result<SealedFields, SealError> + Send),
    ) -> Result<(), StoreError> {
        let record = self.get(&id(from.owner, from.slug)).await?;
        self.permit(&from, record.as_ref()).await?;
        if let Some(with) = from.with {
            self.require(with).await?;
        }
        let Some(CredentialRecord::Live(policy)) = record else {
            return Err(StoreError::NotFound {
                owner: from.owner.clone(),
                slug: from.slug.clone(),
            });
        };
        if policy.current() != opened {
            return Err(StoreError::Invalid(
                "the credential was rotated in the meantime; nothing was handed over",
            ));
        }
        let number = match self.get(&id(to.owner, to.slug)).await? {
            None => 1,
            Some(CredentialRecord::Deleted(last)) => last + 1,
            Some(CredentialRecord::Live(_)) => {
                return Err(StoreError::Exists {
                    owner: to.owner.clone(),
                    slug: to.slug.clone(),
                });
            }
        };
        let fields = seal(to.slug, number)?;
        self.put_values(&to, number, fields).await?;
        let moved = CredentialRecord::Live(Box::new(moved(&policy, number, self.now())));
        self.put(&id(to.owner, to.slug), &moved, None).await?;
        for version in &policy.versions {
            self.erase_values(&from, version.number).await?;
        }
        let left = CredentialRecord::Deleted(policy.last_version);
        self.put(&id(from.owner, from.slug), &left, None).await?;
        let event = PendingEvent {
            event: Event::CredentialHandedOver,
            version: Some(opened),
            principal: Some(to.owner.clone()),
            detail: format!("as version {number} of {}", to.owner),
        };
        self.record_credential(&from, event).await
    }

    async fn move_clients(&mut self, from: &Principal, to: &Principal) -> Result<(), StoreError> {
        let rows = sqlx::query(objects::OF_KIND)
            .bind(ClientRecord::KIND)
            .fetch_all(&mut *self.transaction)
            .await?;
        for row in &rows {
            let name = objects::Object::read(row)?.id;
            let record = self.get::<ClientRecord>(name).await?;
            let mut client = client_of(name, record)?;
            if client.principal == *from {
                client.principal = to.clone();
                self.put_client(&client).await?;
                self.record_client(Event::ClientChanged, &client.name, to)
                    .await?;
            }
        }
        Ok(())
    }
}

/// The same credential with one version, without shares and without what is attached, which were its
/// former owner's decisions.
fn moved(policy: &Policy, number: u32, now: i64) -> Policy {
    Policy {
        last_version: number,
        versions: vec![Version {
            number,
            phase: Phase::Current,
            created: now,
            kept_until: None,
            rollback: false,
        }],
        shares: Vec::new(),
        attachments: Vec::new(),
        stand_ins: Vec::new(),
        searched_until: policy.searched_until,
        ..policy.clone()
    }
}
