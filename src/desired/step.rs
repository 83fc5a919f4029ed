//! One difference between what is and what is wanted, and how it is made.

use std::fmt;

use crate::policy::egress::EgressRule;
use crate::policy::grant::Grant;
use crate::substitution::slug::Slug;
use crate::vault::Actor;
use crate::vault::egress::{self, Subject};
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{BundleId, Grantee};
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::registrar::{Registrar, RegistrarError};
use crate::vault::sharing::{Offer, describe};

/// One change.
#[derive(Clone, Debug)]
pub enum Step {
    /// A user is added.
    AddUser(NewUser),
    /// A user gets another name for people or another role.
    ChangeUser(Principal, UserChange),
    /// A user is disabled, or enabled.
    SetDisabled(Principal, bool),
    /// A group is added.
    AddGroup(GroupName),
    /// A user is put into a group.
    Join(GroupName, Principal),
    /// A user is taken out of a group.
    Leave(GroupName, Principal),
    /// A credential gets other limits.
    Allow(Principal, Slug, Grant),
    /// A value is due after another time.
    RotateEvery(Principal, Slug, Option<i64>),
    /// A credential is shared, or a share gets other limits.
    Share(Principal, Slug, Offer),
    /// A share is taken back.
    Unshare(Principal, Slug, Grantee),
    /// A bundle is added.
    AddBundle(BundleId),
    /// A credential is put into a bundle.
    PutEntry(BundleId, Slug, Slug),
    /// A credential is taken out of a bundle.
    TakeEntry(BundleId, Slug),
    /// A bundle is shared, or a share gets other limits.
    ShareBundle(BundleId, Offer),
    /// The share of a bundle is taken back.
    UnshareBundle(BundleId, Grantee),
    /// A client may use another bundle only, or everything.
    Bind(ClientName, Option<BundleId>),
    /// A rule about where clients may go is added.
    AddRule(Subject, EgressRule),
    /// The rule of this number is removed.
    RemoveRule(i64, Subject, EgressRule),
}

impl Step {
    /// Makes the change.
    pub async fn make(&self, registrar: &Registrar, actor: &Actor) -> Result<(), RegistrarError> {
        match self {
            Step::AddUser(new) => registrar.add_user(actor, new).await?,
            Step::ChangeUser(name, change) => {
                registrar.change_user(actor, name, change).await?;
            }
            Step::SetDisabled(name, disabled) => {
                registrar.set_disabled(actor, name, *disabled).await?;
            }
            Step::AddGroup(name) => registrar.add_group(actor, name, "").await?,
            Step::Join(group, user) => {
                registrar.join_group(actor, group, user).await?;
            }
            Step::Leave(group, user) => {
                registrar.leave_group(actor, group, user).await?;
            }
            Step::Allow(owner, slug, grant) => {
                registrar.allow(actor, owner, slug, grant.clone()).await?;
            }
            Step::RotateEvery(owner, slug, every) => {
                registrar.rotate_every(actor, owner, slug, *every).await?;
            }
            Step::Share(owner, slug, offer) => {
                registrar.share(actor, owner, slug, offer).await?;
            }
            Step::Unshare(owner, slug, with) => {
                registrar.unshare(actor, owner, slug, with).await?;
            }
            Step::AddBundle(id) => registrar.add_bundle(actor, id).await?,
            Step::PutEntry(id, alias, slug) => {
                registrar.put_into_bundle(actor, id, alias, slug).await?;
            }
            Step::TakeEntry(id, alias) => {
                registrar.take_out_of_bundle(actor, id, alias).await?;
            }
            Step::ShareBundle(id, offer) => {
                registrar.share_bundle(actor, id, offer).await?;
            }
            Step::UnshareBundle(id, with) => {
                registrar.unshare_bundle(actor, id, with).await?;
            }
            Step::Bind(client, bundle) => {
                registrar
                    .bind_client(actor, client, bundle.as_ref())
                    .await?;
            }
            Step::AddRule(subject, rule) => {
                registrar.add_egress(actor, subject, rule).await?;
            }
            Step::RemoveRule(number, ..) => registrar.remove_egress(actor, *number).await?,
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::AddUser(new) => write!(f, "+ user {}, {}", new.name, new.role),
            Step::ChangeUser(name, change) => {
                write!(f, "~ user {name}")?;
                if let Some(display_name) = &change.display_name {
                    write!(f, ", called {display_name:?}")?;
                }
                change.role.map_or(Ok(()), |role| write!(f, ", {role}"))
            }
            Step::SetDisabled(name, true) => write!(f, "~ user {name}, disabled"),
            Step::SetDisabled(name, false) => write!(f, "~ user {name}, enabled"),
            Step::AddGroup(name) => write!(f, "+ group {name}"),
            Step::Join(group, user) => write!(f, "+ {user} in group {group}"),
            Step::Leave(group, user) => write!(f, "- {user} in group {group}"),
            Step::Allow(owner, slug, grant) => {
                let limits = serde_json::to_string(grant).unwrap_or_default();
                write!(f, "~ limits of {owner}/{slug}: {limits}")
            }
            Step::RotateEvery(owner, slug, Some(every)) => {
                write!(f, "~ {owner}/{slug} is due after {every} s")
            }
            Step::RotateEvery(owner, slug, None) => write!(f, "~ {owner}/{slug} is never due"),
            Step::Share(owner, slug, offer) => {
                write!(f, "+ share of {owner}/{slug} {}", describe(offer))
            }
            Step::Unshare(owner, slug, with) => write!(f, "- share of {owner}/{slug} with {with}"),
            Step::AddBundle(id) => write!(f, "+ bundle {id}"),
            Step::PutEntry(id, alias, slug) => write!(f, "+ {slug} as {alias} in bundle {id}"),
            Step::TakeEntry(id, alias) => write!(f, "- {alias} in bundle {id}"),
            Step::ShareBundle(id, offer) => write!(f, "+ share of bundle {id} {}", describe(offer)),
            Step::UnshareBundle(id, with) => write!(f, "- share of bundle {id} with {with}"),
            Step::Bind(client, Some(id)) => write!(f, "~ client {client} may use bundle {id} only"),
            Step::Bind(client, None) => write!(f, "~ client {client} may use everything"),
            Step::AddRule(subject, rule) => {
                write!(f, "+ rule: {}", egress::describe(subject, rule))
            }
            Step::RemoveRule(number, subject, rule) => {
                write!(f, "- rule {number}: {}", egress::describe(subject, rule))
            }
        }
    }
}
