//! Changes to users and groups. Each is one transaction that also writes its ledger events.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use super::together::{People, Together};
use crate::vault::name::{Actor, GroupName, InvalidName, Principal};
use crate::vault::people::{Group, User};
use crate::vault::policy_key::PolicyKey;
use crate::vault::record::Record;
use crate::vault::store::edit::PeopleEdit;
use crate::vault::store::error::{StoreError, StoreUnavailable};

impl Database {
    pub async fn change_people(
        &self,
        actor: &Actor,
        edit: impl FnOnce(&mut PeopleEdit) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_administration().await?;
        let before = change.people().await?;
        let People { users, groups } = before.clone();
        let mut edited = PeopleEdit::new(users, groups, change.now());
        edit(&mut edited)?;
        let events = std::mem::take(&mut edited.events);
        if events.is_empty() {
            change.keep_people(before);
            return change.leave().await;
        }
        change.takes_away |= edited.takes_away;
        change.put_changed(&before.users, &edited.users).await?;
        change.put_changed(&before.groups, &edited.groups).await?;
        for event in events {
            change.record_people(event).await?;
        }
        change.keep_people(People {
            users: edited.users,
            groups: edited.groups,
        });
        change.commit().await
    }

    pub async fn list_users(&self) -> Result<BTreeMap<Principal, User>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        all(&mut snapshot, &key, Principal::parse).await
    }

    pub async fn list_groups(&self) -> Result<BTreeMap<GroupName, Group>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        all(&mut snapshot, &key, GroupName::parse).await
    }
}

/// Every object of a kind, by name.
async fn all<N: Ord, T: Record>(
    connection: &mut SqliteConnection,
    key: &PolicyKey,
    name: fn(&str) -> Result<N, InvalidName>,
) -> Result<BTreeMap<N, T>, StoreUnavailable> {
    let rows = sqlx::query(objects::OF_KIND)
        .bind(T::KIND)
        .fetch_all(connection)
        .await?;
    let mut all = BTreeMap::new();
    for row in &rows {
        let object = Object::read(row)?;
        let content = object.content(key).zip(name(object.id).ok());
        let (content, name) = content.ok_or_else(|| unverified(T::KIND, &object.id))?;
        all.insert(name, content);
    }
    Ok(all)
}

impl Change<'_> {
    /// All users and groups.
    async fn people(&mut self) -> Result<People, StoreError> {
        let known = self.together.as_ref().and_then(Together::take_people);
        if let Some(people) = known {
            return Ok(people);
        }
        let key = self.key.clone();
        Ok(People {
            users: all(&mut self.transaction, &key, Principal::parse).await?,
            groups: all(&mut self.transaction, &key, GroupName::parse).await?,
        })
    }

    fn keep_people(&self, people: People) {
        if let Some(together) = &self.together {
            together.keep_people(Some(people));
        }
    }

    async fn put_changed<N: Ord + AsRef<str>, T: Record + PartialEq>(
        &mut self,
        before: &BTreeMap<N, T>,
        after: &BTreeMap<N, T>,
    ) -> Result<(), StoreError> {
        for (name, content) in after {
            if before.get(name) != Some(content) {
                self.put(name.as_ref(), content, None).await?;
            }
        }
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        for name in gone {
            self.remove::<T>(name.as_ref()).await?;
        }
        Ok(())
    }
}
