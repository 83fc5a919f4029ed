//! A change to what somebody signs in with, as the code that decides about it sees it.

use crate::vault::access::{Account, Link, LinkId, SecretHash, Session};
use crate::vault::name::Principal;
use crate::vault::people::User;
use crate::vault::rights::Forbidden;
use crate::vault::store::edit::PendingEvent;
use crate::vault::store::error::StoreError;
use crate::vault::store::outbox::Event;

/// Whose account is to be changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountTarget<'a> {
    /// The user, whether or not the store knows one of that name.
    pub user: Option<&'a Principal>,
    /// A link that is read, and written, with it.
    pub link: Option<&'a LinkId>,
}

/// Who asks for the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Someone who can run commands on the host.
    Operator,
    /// Whose account it is, or who has a link for it.
    Own,
    /// Another user, who is an administrator.
    Administrator,
}

/// An account with all that hangs on it, and what is to become of it. Without an event nothing is
/// written.
#[derive(Debug)]
pub struct AccountEdit {
    /// Who asks.
    pub standing: Standing,
    /// The user; `None` if the store knows none.
    pub user: Option<User>,
    /// What the user signs in with.
    pub account: Option<Account>,
    /// The link, as long as it was not used.
    pub link: Option<Link>,
    /// Whether the user owns a credential.
    pub owns: bool,
    /// A session that begins.
    pub session: Option<NewSession>,
    /// The time of the change, unix microseconds.
    pub time: i64,
    pub(super) events: Vec<PendingEvent>,
}

/// A session that begins.
#[derive(Debug)]
pub struct NewSession {
    /// The hash of its cookie.
    pub hash: SecretHash,
    /// The session.
    pub session: Session,
}

/// A session with whom it belongs to.
#[derive(Debug)]
pub struct FoundSession {
    /// The session.
    pub session: Session,
    /// Its user.
    pub user: User,
    /// What the user signs in with.
    pub account: Account,
}

impl AccountEdit {
    /// The time of the change in unix seconds.
    pub fn now(&self) -> i64 {
        self.time / 1_000_000
    }

    /// The account, which is made if there is none.
    pub fn account_mut(&mut self) -> &mut Account {
        let now = self.now();
        self.account.get_or_insert_with(|| Account::new(now))
    }

    /// The user, if there is one and it is not disabled.
    pub fn active_user(&self, name: &Principal) -> Result<&User, StoreError> {
        let user = self.user.as_ref();
        let user = user.ok_or_else(|| StoreError::UserNotFound(name.clone()))?;
        if user.disabled {
            return Err(StoreError::Forbidden(Forbidden::Disabled));
        }
        Ok(user)
    }

    /// Ends every session that began before now.
    pub fn end_sessions(&mut self) {
        let time = self.time;
        self.account_mut().sessions_after = time;
    }

    /// Records what was done to a user, if it concerns one.
    pub fn record_event(
        &mut self,
        event: Event,
        user: Option<&Principal>,
        detail: impl Into<String>,
    ) {
        self.events.push(PendingEvent {
            event,
            version: None,
            principal: user.cloned(),
            detail: detail.into(),
        });
    }
}
