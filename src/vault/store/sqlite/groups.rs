//! Removes a group that nothing names.

use super::database::{Change, Database};
use super::objects::{Object, unverified};
use crate::vault::egress::EgressEntry;
use crate::vault::model::OVERLAP;
use crate::vault::name::{Actor, GroupName};
use crate::vault::people::{Grantee, Group, Share};
use crate::vault::record::{BundleRecord, CredentialRecord, Record as _};
use crate::vault::store::edit::PendingEvent;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    /// A share or a rule would mean the next group of the same name. Therefore a group that one names
    /// stays.
    pub async fn remove_group(&self, actor: &Actor, name: &GroupName) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_administration().await?;
        if change.get::<Group>(name.as_str()).await?.is_none() {
            return Err(StoreError::GroupNotFound(name.clone()));
        }
        let uses = change.uses_of_group(name).await?;
        if !uses.is_empty() {
            let name = name.clone();
            return Err(StoreError::GroupInUse { name, uses });
        }
        change.remove::<Group>(name.as_str()).await?;
        let event = PendingEvent {
            event: Event::GroupRemoved,
            version: None,
            principal: None,
            detail: format!("group:{name}"),
        };
        change.record_people(event).await?;
        change.commit().await
    }
}

/// Everything whose text holds a name in quotes, as JSON writes a grantee.
const NAMING: &str = "SELECT kind, id, revision, document, tag FROM objects
     WHERE kind IN (?, ?, ?) AND instr(document, ?) > 0 ORDER BY kind, id";

impl Change<'_> {
    /// What names a group: shares, those included whose values are still searched for, and rules.
    async fn uses_of_group(&mut self, name: &GroupName) -> Result<Vec<String>, StoreError> {
        let grantee = Grantee::Group(name.clone());
        let rows = sqlx::query(NAMING)
            .bind(CredentialRecord::KIND)
            .bind(BundleRecord::KIND)
            .bind(EgressEntry::KIND)
            .bind(format!("\"{grantee}\""))
            .fetch_all(&mut *self.transaction)
            .await?;
        let mut uses = Vec::new();
        for row in &rows {
            let object = Object::read(row)?;
            uses.extend(self.use_by(&object, &grantee)?);
        }
        Ok(uses)
    }

    /// The name of an object that means `grantee`.
    fn use_by(
        &self,
        object: &Object<'_>,
        grantee: &Grantee,
    ) -> Result<Option<String>, StoreUnavailable> {
        let not_ours = || unverified(object.kind, &object.id);
        let now = self.now();
        let means = match object.kind {
            CredentialRecord::KIND => match object.content(&self.key).ok_or_else(not_ours)? {
                CredentialRecord::Live(policy) => counts(&policy.shares, grantee, now),
                CredentialRecord::Deleted(_) => false,
            },
            BundleRecord::KIND => {
                let record: Option<BundleRecord> = object.content(&self.key);
                counts(record.ok_or_else(not_ours)?.shares(), grantee, now)
            }
            _ => {
                let entry: Option<EgressEntry> = object.content(&self.key);
                let subject = entry.ok_or_else(not_ours)?.subject;
                return Ok((subject.to_string() == grantee.to_string())
                    .then(|| format!("egress rule {}", object.id)));
            }
        };
        Ok(means.then(|| format!("{} {}", object.kind, object.id)))
    }
}

/// Whether a share with `grantee` is in force, or its value is still searched for.
fn counts(shares: &[Share], grantee: &Grantee, now: i64) -> bool {
    let searched = |share: &Share| {
        let over = share.ended.or(share.until);
        over.is_none_or(|at| at.saturating_add(OVERLAP) > now)
    };
    shares
        .iter()
        .any(|share| share.with == *grantee && searched(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::egress::{EgressRule, Stance};
    use crate::policy::share_limits::ShareLimits;
    use crate::vault::Registrar;
    use crate::vault::fixture::*;

    fn group() -> GroupName {
        GroupName::parse("ops").unwrap()
    }

    async fn removed(command: &Registrar) -> Result<(), Vec<String>> {
        match command.remove_group(&actor(), &group()).await {
            Ok(()) => Ok(()),
            Err(StoreError::GroupInUse { uses, .. }) => Err(uses),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_group_goes_once_nothing_names_it() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob"]).await;
        command.add_secret("alice", "key", "v").await;
        let near = GroupName::parse("ops2").unwrap();
        for name in [&group(), &near] {
            command
                .add_group(&actor(), name, "group:ops")
                .await
                .unwrap();
        }
        let bob = principal("bob");
        command.join_group(&actor(), &group(), &bob).await.unwrap();
        // Another group whose name begins alike does not matter.
        let (alice, key) = (principal("alice"), slug("key"));
        let offer = with("group:ops2");
        command.share(&actor(), &alice, &key, &offer).await.unwrap();
        removed(&command).await.unwrap();

        let again = command.remove_group(&actor(), &group()).await;
        assert!(matches!(again, Err(StoreError::GroupNotFound(_))));
        let waiting = command.store().outbox_take(100).await.unwrap();
        let last = waiting.events.last().unwrap();
        assert_eq!(
            (last.event, &*last.detail),
            (Event::GroupRemoved, "group:ops")
        );
        assert!(command.store().check().await.unwrap().is_empty());
        // The next group of that name is empty.
        command.add_group(&actor(), &group(), "").await.unwrap();
        let groups = command.store().list_groups().await.unwrap();
        assert_eq!(groups[&group()].present().count(), 0);
    }

    #[tokio::test]
    async fn a_group_that_something_names_stays() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice"]).await;
        command.add_secret("alice", "key", "v").await;
        command.add_group(&actor(), &group(), "").await.unwrap();
        let (alice, key, offer) = (principal("alice"), slug("key"), with("group:ops"));
        let bundle = "alice/work".parse().unwrap();
        command.add_bundle(&actor(), &bundle).await.unwrap();
        command.share(&actor(), &alice, &key, &offer).await.unwrap();
        command
            .share_bundle(&actor(), &bundle, &offer)
            .await
            .unwrap();
        let hosts = vec!["a.example.com".parse().unwrap()];
        let rule = EgressRule::for_hosts(Stance::Allow, hosts);
        let subject = "group:ops".parse().unwrap();
        let number = command.add_egress(&actor(), &subject, &rule).await.unwrap();
        let rule = format!("egress rule {number}");
        let all = ["bundle alice/work", "credential alice/key", &rule].map(str::to_owned);
        assert_eq!(removed(&command).await.unwrap_err(), all);

        command.remove_egress(&actor(), number).await.unwrap();
        let (by, whom) = (actor(), &offer.with);
        command.unshare_bundle(&by, &bundle, whom).await.unwrap();
        command.unshare(&by, &alice, &key, whom).await.unwrap();
        // What the group received is still searched for these values.
        assert_eq!(removed(&command).await.unwrap_err(), all[..2]);
        command.remove_bundle(&actor(), &bundle).await.unwrap();
        command.delete(&actor(), &alice, &key).await.unwrap();
        removed(&command).await.unwrap();
    }

    #[tokio::test]
    async fn a_share_that_was_edited_keeps_the_group() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice"]).await;
        command.add_secret("alice", "key", "v").await;
        command.add_group(&actor(), &group(), "").await.unwrap();
        let (alice, key, offer) = (principal("alice"), slug("key"), with("group:ops"));
        command.share(&actor(), &alice, &key, &offer).await.unwrap();
        let edit = "UPDATE objects SET document = ' ' || document WHERE kind = 'credential'";
        command.store().sqlite().execute(edit).await;
        let error = command.remove_group(&actor(), &group()).await.unwrap_err();
        assert!(error.is_alarming(), "{error}");
    }

    #[test]
    fn a_share_counts_until_its_value_is_no_longer_searched_for() {
        let share = |until, ended| Share {
            with: "group:ops".parse().unwrap(),
            limits: ShareLimits::default(),
            until,
            created: 0,
            ended,
        };
        let with = Grantee::Group(group());
        for (share, over) in [
            (share(None, Some(NOW)), NOW),
            (share(Some(NOW), None), NOW),
            (share(Some(NOW + 9), Some(NOW)), NOW),
        ] {
            let shares = [share];
            assert!(counts(&shares, &with, over + OVERLAP - 1));
            assert!(!counts(&shares, &with, over + OVERLAP));
            assert!(!counts(&shares, &Grantee::Everyone, over));
        }
        assert!(counts(&[share(None, None)], &with, i64::MAX));
    }
}
