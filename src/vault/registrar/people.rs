//! Users and groups.

use super::Registrar;
use crate::vault::model::OVERLAP;
use crate::vault::name::{Actor, GroupName, Principal};
use crate::vault::people::{
    EVERYONE, Group, MAX_DISPLAY_NAME, MOST_MEMBERS, Membership, Role, User,
};
use crate::vault::store::edit::PeopleEdit;
use crate::vault::store::{Event, StoreError};

/// A user that is to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name, which is never used again for someone else.
    pub name: Principal,
    /// The name for people.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
}

/// What is to be different about a user.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// Another name for people.
    pub display_name: Option<String>,
    /// Another role.
    pub role: Option<Role>,
}

impl Registrar {
    /// Adds a user.
    pub async fn add_user(&self, actor: &Actor, new: &NewUser) -> Result<(), StoreError> {
        let edit = |edit: &mut PeopleEdit| {
            if new.name.as_str() == EVERYONE {
                return Err(StoreError::ReservedName);
            }
            if edit.users.contains_key(&new.name) {
                return Err(StoreError::UserExists(new.name.clone()));
            }
            let user = User {
                display_name: readable(&new.display_name)?,
                role: new.role,
                ..User::member(edit.now)
            };
            edit.users.insert(new.name.clone(), user);
            edit.record_event(
                Event::UserAdded,
                Some(&new.name),
                format!("role {}", new.role),
            );
            Ok(())
        };
        self.store.change_people(actor, edit).await
    }

    /// Changes a user. Returns whether anything is different.
    pub async fn change_user(
        &self,
        actor: &Actor,
        name: &Principal,
        change: &UserChange,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let edit = |edit: &mut PeopleEdit| {
            let user = edit.user(name)?;
            let before = user.clone();
            if let Some(display_name) = &change.display_name {
                user.display_name = readable(display_name)?;
            }
            user.role = change.role.unwrap_or(user.role);
            let detail = format!("role {}", user.role);
            changed = *user != before;
            edit.takes_away = takes_rights_away(before.role, edit.user(name)?.role);
            if changed {
                keep_an_administrator(edit, name, &before)?;
                edit.record_event(Event::UserChanged, Some(name), detail);
            }
            Ok(())
        };
        self.store.change_people(actor, edit).await?;
        Ok(changed)
    }

    /// Disables a user or enables one again. A disabled user's clients and tokens do not work, and
    /// what the user shares is not offered. Returns whether anything is different.
    pub async fn set_disabled(
        &self,
        actor: &Actor,
        name: &Principal,
        disabled: bool,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let edit = |edit: &mut PeopleEdit| {
            let user = edit.user(name)?;
            let before = user.clone();
            user.disabled = disabled;
            changed = *user != before;
            if changed {
                keep_an_administrator(edit, name, &before)?;
                let event = if disabled {
                    Event::UserDisabled
                } else {
                    Event::UserEnabled
                };
                edit.record_event(event, Some(name), "");
            }
            Ok(())
        };
        self.store.change_people(actor, edit).await?;
        Ok(changed)
    }

    /// Adds a group.
    pub async fn add_group(
        &self,
        actor: &Actor,
        name: &GroupName,
        description: &str,
    ) -> Result<(), StoreError> {
        let edit = |edit: &mut PeopleEdit| {
            if name.as_str() == EVERYONE {
                return Err(StoreError::ReservedName);
            }
            if edit.groups.contains_key(name) {
                return Err(StoreError::GroupExists(name.clone()));
            }
            if edit.groups.len() >= MOST_MEMBERS {
                return Err(StoreError::TooMany("groups"));
            }
            let group = Group {
                description: readable(description)?,
                members: std::collections::BTreeMap::new(),
                created: edit.now,
            };
            edit.groups.insert(name.clone(), group);
            edit.record_event(Event::GroupAdded, None, group_text(name));
            Ok(())
        };
        self.store.change_people(actor, edit).await
    }

    /// Removes a group. One that a share or an egress rule names stays: the next group of that name
    /// would have what was meant for this one.
    pub async fn remove_group(&self, actor: &Actor, name: &GroupName) -> Result<(), StoreError> {
        self.store.remove_group(actor, name).await
    }

    /// Puts a user into a group. Returns whether that is new.
    pub async fn join_group(
        &self,
        actor: &Actor,
        name: &GroupName,
        user: &Principal,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let edit = |edit: &mut PeopleEdit| {
            edit.user(user)?;
            let now = edit.now;
            let group = edit.group(name)?;
            let known = group.members.get_mut(user);
            let known = known.filter(|membership| membership.ended.is_none());
            if let Some(membership) = known {
                // One that the identity provider gave lasts from now on.
                changed = membership.mapped_until.take().is_some();
                if changed {
                    edit.record_event(Event::GroupJoined, Some(user), group_text(name));
                }
                return Ok(());
            }
            forget_former(group, now);
            if group.members.len() >= MOST_MEMBERS {
                return Err(StoreError::TooMany("members of this group"));
            }
            group
                .members
                .insert(user.clone(), Membership::new(now, None));
            changed = true;
            edit.record_event(Event::GroupJoined, Some(user), group_text(name));
            Ok(())
        };
        self.store.change_people(actor, edit).await?;
        Ok(changed)
    }

    /// Takes a user out of a group. Returns whether the user was in it.
    pub async fn leave_group(
        &self,
        actor: &Actor,
        name: &GroupName,
        user: &Principal,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let edit = |edit: &mut PeopleEdit| {
            let now = edit.now;
            let group = edit.group(name)?;
            forget_former(group, now);
            let membership = group.members.get_mut(user);
            let Some(membership) = membership.filter(|membership| membership.ended.is_none())
            else {
                return Ok(());
            };
            membership.ended = Some(now);
            changed = true;
            edit.record_event(Event::GroupLeft, Some(user), group_text(name));
            Ok(())
        };
        self.store.change_people(actor, edit).await?;
        Ok(changed)
    }
}

/// Whether somebody with another role can do less than before.
fn takes_rights_away(before: Role, after: Role) -> bool {
    before != after && (before == Role::Administrator || after == Role::Auditor)
}

/// Forgets those who left so long ago that the values are no longer searched for.
pub(super) fn forget_former(group: &mut Group, now: i64) {
    let searched = |at: i64| at.saturating_add(OVERLAP) > now;
    group
        .members
        .retain(|_, membership| membership.ended.is_none_or(searched));
}

pub(super) fn group_text(name: &GroupName) -> String {
    format!("group:{name}")
}

pub(super) fn readable(text: &str) -> Result<String, StoreError> {
    let fits = text.chars().count() <= MAX_DISPLAY_NAME && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or(StoreError::Invalid(
        "a name for people has at most 100 characters and no control characters",
    ))
}

/// Refuses a change that takes the last active administrator away, if there was one.
fn keep_an_administrator(
    edit: &PeopleEdit,
    name: &Principal,
    before: &User,
) -> Result<(), StoreError> {
    if before.is_active_administrator() && !edit.users.values().any(User::is_active_administrator) {
        return Err(StoreError::LastAdministrator(name.clone()));
    }
    Ok(())
}
