//! What a user may know of what the store holds.
//!
//! Owners know of what is theirs, those with whom something is shared know of that, administrators
//! and auditors know of everything. For everyone else it does not exist. Names of users and groups
//! are known to all users: they are what one shares with.

mod listed;
mod questions;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::directory::DirectoryIndex;
use super::explain::Explained;
use super::{Found, Vault};
use crate::clock;
use crate::policy::floor::Floor;
use crate::secret::{SecretBytes, is_same};
use crate::substitution::slug::Slug;
use crate::vault::model::{Client, Credential};
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{Bundle, BundleId, Grantee, Group, Role, User};
use crate::vault::rights::Requester;
use crate::vault::store::{ObjectName, StoreUnavailable};

/// Reads for the admin side. Behind it is the vault, and nothing here gives a value out.
///
/// ```compile_fail,E0599
/// # use egret::vault::{Credential, Reader};
/// fn read(reader: &Reader, credential: &Credential) {
///     reader.open_value(credential, None);
/// }
/// ```
#[derive(Clone)]
pub struct Reader(Arc<Vault>);

impl Reader {
    /// Reads what `vault` holds.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// What `viewer` may know of at this moment, with every change that was committed before.
    pub async fn look(&self, viewer: &Principal) -> Result<Sight, StoreUnavailable> {
        self.0.refresh().await?;
        Ok(Sight {
            directory: self.0.directory.load_full(),
            vault: Arc::clone(&self.0),
            viewer: viewer.clone(),
            now: clock::unix_seconds(),
            is_narrowed: false,
        })
    }
}

/// Credentials of one owner that a value is compared with.
const MOST_COMPARED: usize = 1000;

/// What one user may know of.
pub struct Sight {
    vault: Arc<Vault>,
    directory: Arc<DirectoryIndex>,
    viewer: Principal,
    now: i64,
    /// What belongs to others is not shown, whatever the role.
    is_narrowed: bool,
}

impl Sight {
    /// Who looks.
    pub fn viewer(&self) -> &Principal {
        &self.viewer
    }

    /// The moment of the look, unix seconds.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The user who looks, if there is one that may do anything.
    pub fn active_user(&self) -> Option<&User> {
        self.user(&self.viewer).filter(|user| !user.disabled)
    }

    /// The same without what belongs to others and is not shared with the viewer, whatever the role.
    pub fn of_own(self) -> Self {
        Self {
            is_narrowed: true,
            ..self
        }
    }

    /// Whether the viewer sees what belongs to others.
    pub fn sees_all(&self) -> bool {
        let user = self.active_user();
        !self.is_narrowed && user.is_some_and(|user| user.role != Role::Member)
    }

    fn may_see(&self, owner: &Principal, uses: bool) -> bool {
        let user = self.directory.all.users.get(&self.viewer);
        let is_known = *owner == self.viewer || uses || !self.is_narrowed;
        is_known && Requester::User(&self.viewer, user).may_see(owner, uses)
    }

    /// A credential.
    pub fn credential(&self, owner: &Principal, slug: &Slug) -> Option<Arc<Credential>> {
        let own = self.vault.own.get(owner)?;
        let credential = own.credentials.get(slug)?;
        self.sees(credential).then(|| Arc::clone(credential))
    }

    /// Every credential, in no order: to put all of them in one costs more than to look at each.
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        let mut found = Vec::new();
        if self.sees_all() {
            for own in &self.vault.own {
                found.extend(own.credentials.values().cloned());
            }
        } else if self.active_user().is_some() {
            if let Some(own) = self.vault.own.get(&self.viewer) {
                found.extend(own.credentials.values().cloned());
            }
            found.retain(|credential| self.sees(credential));
            found.extend(self.offered());
        }
        found
    }

    /// What others share with the viewer.
    fn offered(&self) -> Vec<Arc<Credential>> {
        if self.active_user().is_none() {
            return Vec::new();
        }
        let standing = self.directory.standing(&self.viewer);
        let mut offered = self.vault.offers.all(&standing.present, &self.viewer);
        offered.retain(|credential| self.sees(credential));
        offered
    }

    /// A credential of the viewer's own that has this value. Who asks has the value already, so this tells
    /// no more than the name. Only the first thousand are compared.
    pub fn stored_as(&self, value: &SecretBytes) -> Option<Slug> {
        let own = self.vault.own.get(&self.viewer)?;
        let mut compared = own.credentials.values().take(MOST_COMPARED);
        let has_it = |one: &&Arc<Credential>| {
            let stored = self.vault.open_value(one, None);
            stored.is_ok_and(|stored| is_same(&stored, value))
        };
        compared.find(has_it).map(|one| one.slug.clone())
    }

    /// Slugs of an owner's credentials whose entry in the store was not written by Egret.
    pub fn unverified(&self, owner: &Principal) -> Vec<Slug> {
        if !self.may_see(owner, false) {
            return Vec::new();
        }
        let own = self.vault.own.get(owner);
        own.map(|own| own.unverified.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Tells of a slug whether the viewer has a credential of that name, whoever wrote its entry.
    pub fn own_slugs(&self) -> impl Fn(&Slug) -> bool + '_ {
        let unverified = self.unverified(&self.viewer);
        move |slug| self.credential(&self.viewer, slug).is_some() || unverified.contains(slug)
    }

    fn sees(&self, credential: &Credential) -> bool {
        self.may_see(&credential.owner, self.uses(credential))
    }

    /// Whether a credential of somebody else is shared with the viewer.
    pub fn uses(&self, credential: &Credential) -> bool {
        let shares = credential.shares.iter();
        self.reaches(
            shares
                .filter(|share| share.usable(self.now))
                .map(|s| &s.with),
        )
    }

    /// Whether what is shared with `grantee` is shared with the viewer.
    pub fn is_reached_by(&self, grantee: &Grantee) -> bool {
        self.reaches(std::iter::once(grantee))
    }

    fn reaches<'a>(&self, mut grantees: impl Iterator<Item = &'a Grantee>) -> bool {
        let standing = self.directory.standing(&self.viewer);
        grantees.any(|grantee| standing.present.contains(grantee))
    }

    /// All users.
    pub fn users(&self) -> &BTreeMap<Principal, User> {
        &self.directory.all.users
    }

    /// A user.
    pub fn user(&self, name: &Principal) -> Option<&User> {
        self.directory.all.users.get(name)
    }

    /// All groups.
    pub fn groups(&self) -> &BTreeMap<GroupName, Group> {
        &self.directory.all.groups
    }

    /// Bundles, ordered by owner and name.
    pub fn bundles(&self) -> impl Iterator<Item = (&BundleId, &Bundle)> {
        let bundles = self.directory.all.bundles.iter();
        bundles.filter(|(id, bundle)| self.sees_bundle(id, bundle))
    }

    /// A bundle.
    pub fn bundle(&self, id: &BundleId) -> Option<&Bundle> {
        let bundle = self.directory.all.bundles.get(id)?;
        self.sees_bundle(id, bundle).then_some(bundle)
    }

    fn sees_bundle(&self, id: &BundleId, bundle: &Bundle) -> bool {
        let shares = bundle.shares.iter();
        let uses = self.reaches(
            shares
                .filter(|share| share.usable(self.now))
                .map(|s| &s.with),
        );
        self.may_see(&id.owner, uses)
    }

    /// Clients whose tokens work, ordered by name.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        let clients = self.directory.all.clients.iter();
        clients.filter(|client| client.usable(self.now) && self.may_see(&client.principal, false))
    }

    /// A client whose token works.
    pub fn client(&self, name: &ClientName) -> Option<&Client> {
        self.clients().find(|client| client.name == *name)
    }

    /// The revision of a user, a group, a bundle or a client.
    pub fn revision(&self, object: &ObjectName) -> Option<i64> {
        self.directory.all.revisions.get(object).copied()
    }

    /// Which credential a slug names for a user, and why: for the viewer, and for those who see
    /// everything for anyone.
    pub fn explain(&self, user: &Principal, slug: &Slug) -> Option<Explained> {
        let may = *user == self.viewer || self.sees_all();
        may.then(|| self.vault.explained(user, slug, self.now))
    }

    /// Whether a user's requests that name the slug of the viewer's credential get that credential,
    /// because it is shared.
    pub fn is_used_by(&self, credential: &Credential, user: &Principal) -> bool {
        let is_active = self.user(user).is_some_and(|user| !user.disabled);
        if credential.owner != self.viewer || !is_active {
            return false;
        }
        match self.vault.find(user, &credential.slug, self.now) {
            Found::One(usable) => {
                let found = &usable.credential;
                (&found.owner, &found.slug) == (&credential.owner, &credential.slug)
            }
            _ => false,
        }
    }

    /// What the operator's floor refuses of the credential that was found, whatever the destination.
    pub fn floor_violation(&self, found: &Found) -> Option<String> {
        floor_violation(&self.vault.floor.load(), found, self.now)
    }
}

/// What the operator's floor refuses of the credential that was found, whatever the destination.
pub fn floor_violation(floor: &Floor, found: &Found, now: i64) -> Option<String> {
    let Found::One(usable) = found else {
        return None;
    };
    let credential = &usable.credential;
    let granted = floor.check_grant(credential.owner.as_str(), &credential.grant);
    let violation = granted.and_then(|()| floor.check_age(credential.rotated, now));
    violation.err().map(|violation| violation.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::client_proof::ClientProof;
    use crate::vault::fixture::*;
    use crate::vault::registrar::people::NewUser;
    use crate::vault::store::Condition;
    use crate::vault::{Registrar, StoreError};

    /// Alice owns `key`, `shared` (with bob) and `team` (with the group of carol), and a bundle with
    /// bob. Dave has nothing, olga is an administrator, wim an auditor.
    async fn populated(fixture: &Fixture) -> Registrar {
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob", "carol", "dave"]).await;
        for (name, role) in [("olga", Role::Administrator), ("wim", Role::Auditor)] {
            let new = NewUser {
                name: principal(name),
                display_name: String::new(),
                role,
            };
            command.add_user(&actor(), &new).await.unwrap();
        }
        let (ops, alice) = (GroupName::parse("ops").unwrap(), principal("alice"));
        command.add_group(&actor(), &ops, "").await.unwrap();
        let joined = command
            .join_group(&actor(), &ops, &principal("carol"))
            .await;
        joined.unwrap();
        for name in ["key", "shared", "team"] {
            command.add_secret("alice", name, "v").await;
        }
        for (name, whom) in [("shared", "bob"), ("team", "group:ops")] {
            let shared = command
                .share(&actor(), &alice, &slug(name), &with(whom))
                .await;
            shared.unwrap();
        }
        let id = "alice/work".parse().unwrap();
        command.add_bundle(&actor(), &id).await.unwrap();
        let shared = command.share_bundle(&actor(), &id, &with("bob")).await;
        shared.unwrap();
        let client = ClientName::parse("laptop").unwrap();
        let by = actor();
        let added = command.add_client(&by, &client, &alice, ClientProof::Token([1; 32]), None);
        added.await.unwrap();
        command
    }

    async fn seen(reader: &Reader, who: &str) -> String {
        let sight = reader.look(&principal(who)).await.unwrap();
        let mut credentials = sight.credentials();
        credentials.sort_by_key(|one| (one.owner.clone(), one.slug.clone()));
        let mut seen: Vec<String> = credentials
            .iter()
            .map(|one| {
                assert!(sight.credential(&one.owner, &one.slug).is_some());
                one.slug.to_string()
            })
            .collect();
        for name in ["key", "shared", "team"] {
            let found = sight.credential(&principal("alice"), &slug(name));
            assert_eq!(found.is_some(), seen.iter().any(|one| one == name));
        }
        seen.extend(sight.bundles().map(|(id, _)| id.name.to_string()));
        seen.extend(sight.clients().map(|client| client.name.to_string()));
        seen.join(" ")
    }

    #[tokio::test]
    async fn everyone_sees_what_they_may_know_of() {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let reader = Reader::new(Arc::new(fixture.vault().await));
        let all = "key shared team work laptop";
        for (who, expected) in [
            ("alice", all),
            ("bob", "shared work"),
            ("carol", "team"),
            ("dave", ""),
            ("olga", all),
            ("wim", all),
            ("nobody", ""),
        ] {
            assert_eq!(seen(&reader, who).await, expected, "{who}");
        }
        let ops = GroupName::parse("ops").unwrap();
        let left = command
            .leave_group(&actor(), &ops, &principal("carol"))
            .await;
        left.unwrap();
        let disabled = command
            .set_disabled(&actor(), &principal("wim"), true)
            .await;
        disabled.unwrap();
        for who in ["carol", "wim"] {
            assert_eq!(seen(&reader, who).await, "", "{who}, afterwards");
        }
        let sight = reader.look(&principal("dave")).await.unwrap();
        assert!(sight.explain(&principal("bob"), &slug("shared")).is_none());
        assert!(sight.explain(&principal("dave"), &slug("shared")).is_some());
    }

    #[tokio::test]
    async fn a_change_on_a_condition_is_made_only_while_it_holds() {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let reader = Reader::new(Arc::new(fixture.vault().await));
        let (alice, key) = (principal("alice"), slug("key"));
        let sight = reader.look(&alice).await.unwrap();
        let seen = Condition {
            object: ObjectName::credential(&alice, &key),
            revision: sight.credential(&alice, &key).unwrap().revision,
        };
        let guarded = command.when(seen);
        assert!(guarded.revoke(&actor(), &alice, &key).await.unwrap());
        let again = guarded.delete(&actor(), &alice, &key).await;
        assert!(matches!(again, Err(StoreError::Changed)), "{again:?}");

        let user = ObjectName::user(&alice);
        let guarded = command.when(Condition {
            revision: sight.revision(&user).unwrap(),
            object: user,
        });
        assert!(guarded.set_disabled(&actor(), &alice, true).await.unwrap());
        let again = guarded.set_disabled(&actor(), &alice, false).await;
        assert!(matches!(again, Err(StoreError::Changed)), "{again:?}");
    }
}
