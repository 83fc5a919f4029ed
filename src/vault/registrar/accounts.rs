//! What people sign in with, and their sessions.

use super::Registrar;
use super::people::readable;
use crate::vault::access::{
    Account, Link, LinkId, Method, SecretHash, Session, SessionLimits, account::Identity,
};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::{EVERYONE, Role, User};
use crate::vault::rights::Forbidden;
use crate::vault::store::account::{
    AccountEdit, AccountTarget, FoundSession, NewSession, Standing,
};
use crate::vault::store::{Event, StoreError, StoreUnavailable};

#[cfg(test)]
mod tests;

/// A session that is to begin.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// The hash of its cookie.
    pub hash: &'a SecretHash,
    /// How long it lasts.
    pub limits: SessionLimits,
}

/// What somebody does with a one-time link.
#[derive(Debug)]
pub struct Claim<'a> {
    /// What the link is for.
    pub link: &'a LinkId,
    /// The hash of its secret.
    pub hash: &'a SecretHash,
    /// Who it is from now on.
    pub user: &'a Principal,
    /// The name for people, of a user who is new.
    pub display_name: &'a str,
    /// The argon2id hash of the password, in PHC form.
    pub password: &'a str,
    /// The session that begins.
    pub session: Beginning<'a>,
}

/// How a session's beginning is justified.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// The password with this hash was typed. It has to be the user's still.
    Password(&'a str),
    /// The identity provider says so.
    OpenId {
        /// When the user proved to be the user, unix seconds, as far as the provider says.
        proved: i64,
    },
}

impl Registrar {
    /// Makes a one-time link, in the place of one before.
    ///
    /// The operator makes every link. An administrator makes one for a user who has no way to sign in
    /// and owns no credential: with any other, the administrator could use what belongs to somebody
    /// else.
    pub async fn make_link(
        &self,
        actor: &Actor,
        id: &LinkId,
        hash: &SecretHash,
    ) -> Result<(), StoreError> {
        let edit = |edit: &mut AccountEdit| {
            match id.user() {
                None if edit.standing != Standing::Operator => {
                    return Err(StoreError::Forbidden(Forbidden::NotAdministrator));
                }
                None => {}
                Some(user) => {
                    edit.active_user(user)?;
                    let claimed = edit.account.is_some() || edit.owns;
                    match edit.standing {
                        Standing::Operator => {}
                        Standing::Administrator if claimed => {
                            return Err(StoreError::HasAccount(user.clone()));
                        }
                        Standing::Administrator => {}
                        Standing::Own => {
                            return Err(StoreError::Forbidden(Forbidden::NotAdministrator));
                        }
                    }
                }
            }
            edit.link = Some(Link::new(hash, edit.now()));
            edit.record_event(Event::UserInvited, id.user(), format!("one-time link {id}"));
            Ok(())
        };
        let target = AccountTarget {
            user: id.user(),
            link: Some(id),
        };
        self.store.change_account(actor, &target, edit).await
    }

    /// Takes the password of a user away, ends every session, and makes a one-time link. The operator
    /// alone does this.
    pub async fn reset_account(
        &self,
        actor: &Actor,
        user: &Principal,
        hash: &SecretHash,
    ) -> Result<(), StoreError> {
        let id = LinkId::User(user.clone());
        let edit = |edit: &mut AccountEdit| {
            if edit.standing != Standing::Operator {
                return Err(StoreError::Forbidden(Forbidden::NotOwner));
            }
            edit.active_user(user)?;
            edit.end_sessions();
            let account = edit.account_mut();
            account.password = None;
            account.password_set = None;
            edit.link = Some(Link::new(hash, edit.now()));
            edit.record_event(Event::UserReset, Some(user), "");
            Ok(())
        };
        let target = AccountTarget {
            user: Some(user),
            link: Some(&id),
        };
        self.store.change_account(actor, &target, edit).await
    }

    /// What a one-time link is for; `None` for one that does not work, or not any more.
    pub async fn link(
        &self,
        hash: &SecretHash,
        now: i64,
    ) -> Result<Option<LinkId>, StoreUnavailable> {
        self.store.link(hash, now).await
    }

    /// Uses a link up: sets the password, and begins a session. Of two at once, one succeeds.
    pub async fn claim(&self, actor: &Actor, claim: &Claim<'_>) -> Result<(), StoreError> {
        let edit = |edit: &mut AccountEdit| {
            let now = edit.now();
            let link = edit.link.take();
            if !link.is_some_and(|link| link.matches(claim.hash, now)) {
                return Err(StoreError::LinkOver);
            }
            match claim.link {
                LinkId::User(user) if user == claim.user => {
                    edit.active_user(user)?;
                }
                LinkId::User(_) => return Err(StoreError::LinkOver),
                LinkId::Administrator => become_administrator(edit, claim)?,
            }
            edit.end_sessions();
            set_password(edit, claim.password);
            edit.record_event(Event::UserPasswordChanged, Some(claim.user), "with a link");
            begin(edit, claim.user, Method::Link, claim.session);
            Ok(())
        };
        let target = AccountTarget {
            user: Some(claim.user),
            link: Some(claim.link),
        };
        self.store.change_account(actor, &target, edit).await
    }

    /// A user, and what the user signs in with.
    pub async fn account(
        &self,
        user: &Principal,
    ) -> Result<Option<(User, Option<Account>)>, StoreUnavailable> {
        self.store.account(user).await
    }

    /// Whether somebody could sign in as an administrator: there is an account, or a link for one was
    /// made, whether or not it was used.
    pub async fn is_administered(&self) -> Result<bool, StoreUnavailable> {
        self.store.is_administered().await
    }

    /// Begins a session.
    pub async fn begin_session(
        &self,
        actor: &Actor,
        user: &Principal,
        proof: Proof<'_>,
        session: Beginning<'_>,
    ) -> Result<(), StoreError> {
        let edit = |edit: &mut AccountEdit| {
            edit.active_user(user)?;
            let method = match proof {
                Proof::OpenId { .. } => Method::OpenId,
                Proof::Password(hash) if has_password(edit, hash) => Method::Password,
                Proof::Password(_) => return Err(StoreError::Forbidden(Forbidden::NotOwner)),
            };
            begin(edit, user, method, session);
            if let (Proof::OpenId { proved }, Some(new)) = (proof, &mut edit.session) {
                new.session.proved = proved.min(new.session.proved);
            }
            Ok(())
        };
        self.store.change_account(actor, &of_user(user), edit).await
    }

    /// Exchanges the password with the hash `old` for another, ends every session, and begins one.
    pub async fn change_password(
        &self,
        actor: &Actor,
        user: &Principal,
        old: &str,
        new: &str,
        session: Beginning<'_>,
    ) -> Result<(), StoreError> {
        let edit = |edit: &mut AccountEdit| {
            edit.active_user(user)?;
            if !has_password(edit, old) {
                return Err(StoreError::Forbidden(Forbidden::NotOwner));
            }
            edit.end_sessions();
            set_password(edit, new);
            edit.record_event(Event::UserPasswordChanged, Some(user), "");
            begin(edit, user, Method::Password, session);
            Ok(())
        };
        self.store.change_account(actor, &of_user(user), edit).await
    }

    /// Ends every session of a user. A user does this, or an administrator.
    pub async fn end_sessions(&self, actor: &Actor, user: &Principal) -> Result<(), StoreError> {
        let edit = |edit: &mut AccountEdit| {
            if edit.user.is_none() {
                return Err(StoreError::UserNotFound(user.clone()));
            }
            edit.end_sessions();
            edit.record_event(Event::UserSignedOut, Some(user), "everywhere");
            Ok(())
        };
        self.store.change_account(actor, &of_user(user), edit).await
    }

    /// A session and its user, whether or not it can still be used.
    pub async fn session(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<FoundSession>, StoreUnavailable> {
        self.store.session(hash).await
    }

    /// Writes a session again that was used or proved. One that ended meanwhile stays away.
    pub async fn keep_session(
        &self,
        hash: &SecretHash,
        session: &Session,
    ) -> Result<(), StoreUnavailable> {
        self.store.keep_session(hash, session).await
    }

    /// Ends one session.
    pub async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreUnavailable> {
        self.store.end_session(hash).await
    }

    /// Makes someone at the identity provider a user here. `id` is a digest of issuer and subject. If
    /// the user is to be `new`, a name that somebody has is refused.
    pub async fn put_identity(
        &self,
        actor: &Actor,
        id: &str,
        identity: &Identity,
        new: bool,
    ) -> Result<(), StoreError> {
        self.store.put_identity(actor, id, identity, new).await
    }

    /// Who someone at the identity provider is here.
    pub async fn identity(&self, id: &str) -> Result<Option<Identity>, StoreUnavailable> {
        self.store.identity(id).await
    }
}

fn of_user(user: &Principal) -> AccountTarget<'_> {
    AccountTarget {
        user: Some(user),
        link: None,
    }
}

/// Whoever has the link for it becomes an administrator under a name of their own. A name with a
/// password belongs to somebody already.
fn become_administrator(edit: &mut AccountEdit, claim: &Claim<'_>) -> Result<(), StoreError> {
    if claim.user.as_str() == EVERYONE {
        return Err(StoreError::ReservedName);
    }
    if edit.account.as_ref().is_some_and(|a| a.password.is_some()) {
        return Err(StoreError::HasAccount(claim.user.clone()));
    }
    let (event, mut user) = match &edit.user {
        Some(_) => (Event::UserChanged, edit.active_user(claim.user)?.clone()),
        None => (Event::UserAdded, User::member(edit.now())),
    };
    if event == Event::UserAdded {
        user.display_name = readable(claim.display_name)?;
    }
    user.role = Role::Administrator;
    if edit.user.as_ref() != Some(&user) {
        edit.record_event(event, Some(claim.user), format!("role {}", user.role));
    }
    edit.user = Some(user);
    Ok(())
}

fn has_password(edit: &AccountEdit, hash: &str) -> bool {
    let account = edit.account.as_ref();
    account.is_some_and(|account| account.password.as_deref() == Some(hash))
}

fn set_password(edit: &mut AccountEdit, hash: &str) {
    let now = edit.now();
    let account = edit.account_mut();
    account.password = Some(hash.to_owned());
    account.password_set = Some(now);
}

fn begin(edit: &mut AccountEdit, user: &Principal, method: Method, session: Beginning<'_>) {
    edit.account_mut();
    edit.session = Some(NewSession {
        hash: *session.hash,
        session: Session::new(user, method, edit.time, session.limits),
    });
    edit.record_event(Event::UserSignedIn, Some(user), method.as_str());
}
