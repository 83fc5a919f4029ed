//! Memberships that the identity provider gives. They have an age; those that were given here do not, and
//! are left alone.

use std::collections::BTreeSet;

use super::Registrar;
use super::people::{forget_former, group_text};
use crate::vault::name::{Actor, GroupName, Principal};
use crate::vault::people::{Group, MOST_MEMBERS, Membership};
use crate::vault::store::edit::PeopleEdit;
use crate::vault::store::{Event, StoreError};

impl Registrar {
    /// Makes the mapped memberships of a user those in `groups`, until a moment (unix seconds). A group
    /// that does not exist here is passed over.
    pub async fn map_groups(
        &self,
        actor: &Actor,
        user: &Principal,
        groups: &BTreeSet<GroupName>,
        until: i64,
    ) -> Result<(), StoreError> {
        let edit = |edit: &mut PeopleEdit| {
            let now = edit.now;
            let mut events = Vec::new();
            for (name, group) in &mut edit.groups {
                let change = if groups.contains(name) {
                    join(group, user, now, until)
                } else {
                    leave(group, user, now)
                };
                events.extend(change.map(|event| (event, name.clone())));
            }
            for (event, name) in events {
                edit.record_event(event, Some(user), group_text(&name) + ", mapped");
            }
            Ok(())
        };
        self.store.change_people(actor, edit).await
    }

    /// Ends the mapped memberships whose time is over. Looks first without the right to write.
    pub async fn end_mapped(&self, actor: &Actor, now: i64) -> Result<(), StoreError> {
        let is_due = |group: &Group| group.members.values().any(|member| is_over(member, now));
        if !self.store.list_groups().await?.values().any(is_due) {
            return Ok(());
        }
        let edit = |edit: &mut PeopleEdit| {
            let mut ended = Vec::new();
            for (name, group) in &mut edit.groups {
                let over = group.members.iter_mut();
                for (user, membership) in over.filter(|(_, member)| is_over(member, now)) {
                    membership.ended = Some(now);
                    ended.push((user.clone(), name.clone()));
                }
            }
            for (user, name) in ended {
                let detail = group_text(&name) + ", mapped, too old";
                edit.record_event(Event::GroupLeft, Some(&user), detail);
            }
            Ok(())
        };
        self.store.change_people(actor, edit).await
    }
}

fn is_over(membership: &Membership, now: i64) -> bool {
    membership.is_mapped() && membership.mapped_until.is_some_and(|until| until <= now)
}

fn join(group: &mut Group, user: &Principal, now: i64, until: i64) -> Option<Event> {
    forget_former(group, now);
    let is_full = group.members.len() >= MOST_MEMBERS;
    match group.members.get_mut(user) {
        Some(membership) if membership.is_mapped() => membership.mapped_until = Some(until),
        Some(membership) if membership.ended.is_none() => return None,
        None if is_full => return None,
        _ => {
            let membership = Membership::new(now, Some(until));
            group.members.insert(user.clone(), membership);
        }
    }
    Some(Event::GroupJoined)
}

fn leave(group: &mut Group, user: &Principal, now: i64) -> Option<Event> {
    let membership = group.members.get_mut(user)?;
    if !membership.is_mapped() {
        return None;
    }
    membership.ended = Some(now);
    Some(Event::GroupLeft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::fixture::*;

    async fn members(registrar: &Registrar) -> Vec<String> {
        let groups = registrar.store().list_groups().await.unwrap();
        let mut pairs = Vec::new();
        for (name, group) in &groups {
            pairs.extend(group.present().map(|user| format!("{name}:{user}")));
        }
        pairs
    }

    #[tokio::test]
    async fn mapped_memberships_follow_the_provider_and_age_and_local_ones_do_not() {
        let fixture = Fixture::new();
        let registrar = fixture.registrar().await;
        registrar.add_users(&["alice"]).await;
        let alice = principal("alice");
        let [dev, ops] = ["dev", "ops"].map(|name| GroupName::parse(name).unwrap());
        for group in [&dev, &ops] {
            registrar.add_group(&actor(), group, "").await.unwrap();
        }
        let server = Actor::server("openid");
        let both = BTreeSet::from([dev.clone(), ops.clone(), GroupName::parse("no").unwrap()]);
        let map = |groups: BTreeSet<GroupName>, until: i64| {
            let (registrar, server, alice) = (&registrar, &server, &alice);
            async move { registrar.map_groups(server, alice, &groups, until).await }
        };
        map(both.clone(), NOW + 10).await.unwrap();
        assert_eq!(members(&registrar).await, ["dev:alice", "ops:alice"]);
        map(BTreeSet::from([ops.clone()]), NOW + 20).await.unwrap();
        assert_eq!(members(&registrar).await, ["ops:alice"]);
        registrar.end_mapped(&server, NOW + 19).await.unwrap();
        assert_eq!(members(&registrar).await, ["ops:alice"]);
        registrar.end_mapped(&server, NOW + 20).await.unwrap();
        assert!(members(&registrar).await.is_empty());

        // What was given here stays, whatever the provider says.
        registrar.join_group(&actor(), &dev, &alice).await.unwrap();
        map(both, NOW + 30).await.unwrap();
        assert!(registrar.join_group(&actor(), &ops, &alice).await.unwrap());
        map(BTreeSet::new(), NOW + 30).await.unwrap();
        registrar.end_mapped(&server, NOW + 100).await.unwrap();
        assert_eq!(members(&registrar).await, ["dev:alice", "ops:alice"]);
    }
}
