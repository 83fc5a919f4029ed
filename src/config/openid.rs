//! The identity provider where people sign in.

use std::path::PathBuf;
use std::time::Duration;

use crate::vault::GroupName;

/// `[openid]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenId {
    /// The issuer, which is compared literally.
    pub issuer: String,
    /// The name under which Egret is registered there.
    pub client_id: String,
    /// The file with the secret of that client; a public client has none.
    pub client_secret: Option<PathBuf>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that names a user who signs in for the first time.
    pub user_claim: String,
    /// Whether somebody who signs in for the first time becomes a user.
    pub create_users: bool,
    /// The claim that lists the groups of a user.
    pub groups_claim: Option<String>,
    /// Which groups there are groups here.
    pub groups: Vec<GroupMapping>,
    /// How long a membership holds without another sign-in.
    pub groups_max_age: Duration,
}

/// A group of the provider that is a group here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMapping {
    /// Its name at the provider.
    pub theirs: String,
    /// Its name here.
    pub ours: GroupName,
}
