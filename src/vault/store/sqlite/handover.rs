//! Credentials that go from one owner to another.

use super::clients::client_of;
use super::credentials::{due, id};
use super::database::{Change, Database};
use super::objects;
use crate::policy::share_limits::ShareLimits;
use crate::substitution::slug::Slug;
use crate::vault::model::{OVERLAP, Phase, SealedFields, Version};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::{Grantee, Share};
use crate::vault::record::{ClientRecord, CredentialRecord, Policy, Record as _};
use crate::vault::rights::Right;
use crate::vault::seal::SealError;
use crate::vault::sharing;
use crate::vault::store::edit::{CredentialTarget, Handover, PendingEvent};
use crate::vault::store::error::StoreError;
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn hand_over(
        &self,
        actor: &Actor,
        handover: &Handover<'_>,
        seal: impl Fn(&Slug, u32, u32) -> Result<Option<SealedFields>, SealError> + Send,
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
        seal: &(impl Fn(&Slug, u32, u32) -> Result<Option<SealedFields>, SealError> + Send),
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
        let first = match self.get(&id(to.owner, to.slug)).await? {
            None => 1,
            Some(CredentialRecord::Deleted(last)) => last + 1,
            Some(CredentialRecord::Live(_)) => {
                return Err(StoreError::Exists {
                    owner: to.owner.clone(),
                    slug: to.slug.clone(),
                });
            }
        };
        let mut moved = moved(&policy);
        for (version, number) in policy.versions.iter().zip(first..) {
            if let Some(fields) = seal(to.slug, version.number, number)? {
                self.put_values(&to, number, fields).await?;
                moved.versions.push(Version {
                    number,
                    ..handed_over(version, self.now())
                });
                moved.last_version = number;
            }
        }
        let number = moved.current();
        let in_bundles = self.shares_in_bundles(from.owner, from.slug).await?;
        let own = own_until_now(from.owner, self.now());
        let former = policy.shares.iter().chain(&in_bundles).chain([&own]);
        sharing::keep_ended(&mut moved.shares, former, self.now());
        let moved = CredentialRecord::Live(Box::new(moved));
        self.put(&id(to.owner, to.slug), &moved, due(&moved))
            .await?;
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

/// The same credential without versions, without shares and without what is attached, which were its
/// former owner's decisions.
fn moved(policy: &Policy) -> Policy {
    Policy {
        versions: Vec::new(),
        shares: Vec::new(),
        attachments: Vec::new(),
        stand_ins: Vec::new(),
        ..policy.clone()
    }
}

/// A version at its new owner. One that is not in force is there for the search alone.
fn handed_over(version: &Version, now: i64) -> Version {
    if version.phase == Phase::Current {
        return Version {
            created: now,
            ..version.clone()
        };
    }
    Version {
        phase: Phase::Replaced,
        kept_until: version.kept_until.or(Some(now.saturating_add(OVERLAP))),
        rollback: false,
        ..version.clone()
    }
}

/// What the former owner had, as a share: what that user receives is still searched for the value.
fn own_until_now(owner: &Principal, now: i64) -> Share {
    Share {
        with: Grantee::User(owner.clone()),
        limits: ShareLimits::default(),
        until: None,
        created: now,
        ended: Some(now),
    }
}
