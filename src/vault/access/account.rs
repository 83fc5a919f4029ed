//! What a user signs in with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vault::name::Principal;
use crate::vault::record::Record;

/// What a user signs in with. It is stored under the user's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The argon2id hash of the password, in PHC form; `None` for a user who has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// When the password was set, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set: Option<i64>,
    /// Sessions that began before this moment (unix microseconds) are over.
    pub sessions_after: i64,
    /// When it was made, unix seconds.
    pub created: i64,
}

impl Account {
    /// An account without a way to sign in.
    pub fn new(created: i64) -> Self {
        Self {
            password: None,
            password_set: None,
            sessions_after: 0,
            created,
        }
    }
}

impl Record for Account {
    const KIND: &'static str = "account";
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("has_password", &self.password.is_some())
            .field("sessions_after", &self.sessions_after)
            .finish_non_exhaustive()
    }
}

/// Someone at the identity provider who is a user here. The issuer and the subject are the key: an
/// e-mail address can be given to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The issuer, compared literally.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// Who that is here.
    pub user: Principal,
    /// When the person first signed in, unix seconds.
    pub created: i64,
}

impl Record for Identity {
    const KIND: &'static str = "identity";
}
