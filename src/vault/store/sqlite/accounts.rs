//! Changes to what people sign in with. Each is one transaction that also writes its ledger events.

use super::database::{Change, Database};
use super::objects::{self, Object};
use crate::vault::access::account::Identity;
use crate::vault::access::{Account, Link, LinkId, SecretHash};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::{EVERYONE, User};
use crate::vault::record::Record;
use crate::vault::store::account::{AccountEdit, AccountTarget, Standing};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn change_account(
        &self,
        actor: &Actor,
        target: &AccountTarget<'_>,
        edit: impl FnOnce(&mut AccountEdit) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let standing = change.standing(target.user).await?;
        let mut edited = AccountEdit {
            standing,
            user: None,
            account: None,
            link: None,
            owns: false,
            session: None,
            time: change.time,
            events: Vec::new(),
        };
        if let Some(name) = target.user {
            edited.user = change.get(name.as_str()).await?;
            edited.account = change.get(name.as_str()).await?;
            edited.owns = change.owns(name).await?;
        }
        if let Some(id) = target.link {
            edited.link = change.get(id.as_str()).await?;
        }
        let before = (edited.user.clone(), edited.account.clone());
        edit(&mut edited)?;
        if edited.events.is_empty() {
            return Ok(());
        }
        if let Some(name) = target.user {
            let (user, account) = before;
            change.put_if_new(name, user, &edited.user).await?;
            change.put_if_new(name, account, &edited.account).await?;
            change.end_sessions_before(name, &edited).await?;
        }
        if let Some(id) = target.link {
            match &edited.link {
                Some(link) => change.put(id.as_str(), link, Some(link.expires)).await?,
                None => change.remove::<Link>(id.as_str()).await?,
            }
        }
        if let Some(new) = &edited.session {
            change.put_session(new).await?;
        }
        for event in edited.events {
            change.record_people(event).await?;
        }
        change.commit().await
    }

    pub async fn account(
        &self,
        name: &Principal,
    ) -> Result<Option<(User, Option<Account>)>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let user = objects::get(&mut snapshot, &key, name.as_str()).await?;
        let Some(user) = user else { return Ok(None) };
        let account = objects::get(&mut snapshot, &key, name.as_str()).await?;
        Ok(Some((user, account)))
    }

    pub async fn link(
        &self,
        hash: &SecretHash,
        now: i64,
    ) -> Result<Option<LinkId>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(Link::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        for row in &rows {
            let object = Object::read(row)?;
            let link = object.content::<Link>(&key);
            if link.is_some_and(|link| link.matches(hash, now)) {
                return Ok(LinkId::parse(object.id));
            }
        }
        Ok(None)
    }

    pub async fn is_administered(&self) -> Result<bool, StoreUnavailable> {
        let one = "SELECT 1 FROM objects WHERE kind = ? OR (kind = ? AND id = ?) LIMIT 1";
        let row = sqlx::query(one)
            .bind(Account::KIND)
            .bind(Link::KIND)
            .bind(LinkId::Administrator.as_str())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    pub async fn put_identity(
        &self,
        actor: &Actor,
        id: &str,
        identity: &Identity,
        new: bool,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let user: Option<User> = change.get(identity.user.as_str()).await?;
        if new && (user.is_some() || identity.user.as_str() == EVERYONE) {
            return Err(StoreError::UserExists(identity.user.clone()));
        }
        change.know(&identity.user).await?;
        change.put(id, identity, None).await?;
        change
            .record_person(Event::UserLinked, &identity.user)
            .await?;
        change.commit().await
    }

    pub async fn identity(&self, id: &str) -> Result<Option<Identity>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        objects::get(&mut snapshot, &key, id).await
    }
}

impl Change<'_> {
    async fn standing(&mut self, target: Option<&Principal>) -> Result<Standing, StoreError> {
        let acts_for = self.actor.acts_for();
        if acts_for.is_some() && target == acts_for {
            return Ok(Standing::Own);
        }
        self.permit_administration().await?;
        match acts_for {
            Some(_) => Ok(Standing::Administrator),
            None => Ok(Standing::Operator),
        }
    }

    /// Whether a user owns a credential. `0` follows `/` in ASCII.
    async fn owns(&mut self, name: &Principal) -> Result<bool, StoreError> {
        let one = "SELECT 1 FROM objects WHERE kind = 'credential' AND id > ? AND id < ? LIMIT 1";
        let row = sqlx::query(one)
            .bind(format!("{name}/"))
            .bind(format!("{name}0"))
            .fetch_optional(&mut *self.transaction)
            .await?;
        Ok(row.is_some())
    }

    async fn put_if_new<T: Record + PartialEq + Sync>(
        &mut self,
        name: &Principal,
        before: Option<T>,
        after: &Option<T>,
    ) -> Result<(), StoreError> {
        match after {
            Some(record) if before.as_ref() != Some(record) => {
                self.put(name.as_str(), record, None).await
            }
            _ => Ok(()),
        }
    }

    /// Removes the sessions that are over. They could not be used any more: this only tidies up.
    async fn end_sessions_before(
        &mut self,
        name: &Principal,
        edited: &AccountEdit,
    ) -> Result<(), StoreError> {
        let ends = |account: &Account| account.sessions_after == edited.time;
        if edited.account.as_ref().is_some_and(ends) {
            self.remove_sessions(name).await?;
        }
        Ok(())
    }
}
