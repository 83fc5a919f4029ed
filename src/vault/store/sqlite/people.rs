//! Changes to users and groups. Each is one transaction that also writes its ledger events.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
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
        let key = change.key.clone();
        let users = all(&mut change.transaction, &key, Principal::parse).await?;
        let groups = all(&mut change.transaction, &key, GroupName::parse).await?;
        let mut edited = PeopleEdit::new(users.clone(), groups.clone(), change.now());
        edit(&mut edited)?;
        if edited.events.is_empty() {
            return change.leave().await;
        }
        change.put_changed(&users, &edited.users).await?;
        change.put_changed(&groups, &edited.groups).await?;
        for event in edited.events {
            change.record_people(event).await?;
        }
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
