//! Users and groups.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::vault::cache::explain::{self, Explained};
use crate::vault::{GroupName, Principal, people};

/// A user.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct User {
    /// The name.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// `administrator`, `member` or `auditor`.
    pub role: Cow<'static, str>,
    /// `active` or `disabled`.
    pub state: Cow<'static, str>,
    /// When the user was added.
    pub created: String,
}

impl User {
    /// The view of a stored user.
    pub fn new(name: &Principal, user: &people::User) -> Self {
        Self {
            name: name.to_string(),
            display_name: user.display_name.clone(),
            role: user.role.as_str().into(),
            state: user_state(user).into(),
            created: rfc3339(user.created),
        }
    }
}

/// `active` or `disabled`.
pub fn user_state(user: &people::User) -> &'static str {
    if user.disabled { "disabled" } else { "active" }
}

/// A group.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Group {
    /// The name.
    pub name: String,
    /// A remark for people.
    pub description: String,
    /// The users in it now.
    pub members: Vec<String>,
    /// When it was added.
    pub created: String,
}

impl Group {
    /// The view of a stored group.
    pub fn new(name: &GroupName, group: &people::Group) -> Self {
        Self {
            name: name.to_string(),
            description: group.description.clone(),
            members: group.present().map(ToString::to_string).collect(),
            created: rfc3339(group.created),
        }
    }
}

/// A bundle.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Bundle {
    /// The name.
    pub name: String,
    /// Who owns it.
    pub owner: String,
    /// By which slug a request names which credential.
    pub entries: BTreeMap<String, String>,
    /// Who other than the owner may use it.
    pub shared_with: Vec<String>,
    /// When it was added.
    pub created: String,
}

impl Bundle {
    /// The view of a stored bundle.
    pub fn new(id: &people::BundleId, bundle: &people::Bundle) -> Self {
        Self::for_viewer(id, bundle, |_| true)
    }

    /// The same for someone who is to see only the shares with some.
    pub fn for_viewer(
        id: &people::BundleId,
        bundle: &people::Bundle,
        sees: impl Fn(&people::Grantee) -> bool,
    ) -> Self {
        let entries = bundle.entries.iter();
        let shares = bundle.shares.iter();
        let shares = shares.filter(|share| share.ended.is_none() && sees(&share.with));
        Self {
            name: id.name.to_string(),
            owner: id.owner.to_string(),
            entries: entries
                .map(|(alias, slug)| (alias.to_string(), slug.to_string()))
                .collect(),
            shared_with: shares.map(|share| share.with.to_string()).collect(),
            created: rfc3339(bundle.created),
        }
    }
}

/// What a command changed about a user or a group.
#[derive(Debug, Serialize)]
pub struct PersonChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// The user or the group.
    pub name: &'a str,
}

/// What a user took over.
#[derive(Debug, Serialize)]
pub struct Claimed<'a> {
    /// Who owned it.
    pub from: &'a str,
    /// Who owns it now.
    pub to: &'a str,
    /// The slugs.
    pub credentials: &'a [String],
}

/// Which credential a slug names for a user, and why.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    /// The slug.
    pub slug: String,
    /// The user.
    pub user: String,
    /// Whether the user is disabled, and may use nothing.
    pub disabled: bool,
    /// What a request gets instead of a value; `null` if it gets one, within the limits.
    pub code: Option<Cow<'static, str>>,
    /// The credentials of that slug that reach the user.
    pub candidates: Vec<Candidate>,
    /// What the operator's floor finds wrong with the limits of the one that is used.
    pub floor: Option<String>,
}

impl Explanation {
    /// The view of what the vault explains, with what the operator's floor says.
    pub fn new(explained: &Explained, floor: Option<String>) -> Self {
        Self {
            slug: explained.slug.to_string(),
            user: explained.user.to_string(),
            disabled: explained.disabled,
            code: explained.code().map(Into::into),
            candidates: explained.candidates.iter().map(Candidate::new).collect(),
            floor,
        }
    }
}

/// One of them.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Candidate {
    /// Who owns it.
    pub owner: String,
    /// `own`, or with whom it is shared.
    pub through: String,
    /// `used`, or why it is not.
    pub standing: Cow<'static, str>,
}

impl Candidate {
    /// The view of a candidate.
    pub fn new(candidate: &explain::Candidate) -> Self {
        Self {
            owner: candidate.owner.to_string(),
            through: candidate.through.clone(),
            standing: candidate.standing.as_str().into(),
        }
    }
}

/// What a file would change, or changed.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Whether it is changed now.
    pub applied: bool,
    /// The store's revision that the plan was made for.
    pub revision: i64,
    /// The changes, in words.
    pub steps: Vec<String>,
    /// What the file names and only a command can make.
    pub missing: Vec<String>,
    /// What is there and the file does not name.
    pub unmanaged: Vec<String>,
    /// What of the file may be a mistake: rules that never decide anything.
    pub remarks: Vec<String>,
}

/// Whether the store is what Egret wrote.
#[derive(Debug, Serialize)]
pub struct StoreCheck<'a> {
    /// Whether all of it is.
    pub verified: bool,
    /// Entries that are not, and are not used.
    pub unverified: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::people::Membership;

    #[test]
    fn members_have_their_names_and_order() {
        let name = Principal::parse("bob").unwrap();
        let user = User::new(&name, &people::User::member(0));
        assert_eq!(
            serde_json::to_string(&user).unwrap(),
            r#"{"name":"bob","display_name":"","role":"member","state":"active","created":"1970-01-01T00:00:00Z"}"#
        );
        let membership = |ended| Membership {
            ended,
            ..Membership::new(0, None)
        };
        let group = people::Group {
            description: String::new(),
            members: [
                (name, membership(None)),
                (Principal::parse("carol").unwrap(), membership(Some(1))),
            ]
            .into(),
            created: 0,
        };
        let view = Group::new(&GroupName::parse("ops").unwrap(), &group);
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            r#"{"name":"ops","description":"","members":["bob"],"created":"1970-01-01T00:00:00Z"}"#
        );
        let (changed, name) = (true, "ops");
        let change = serde_json::to_string(&PersonChange { changed, name });
        assert_eq!(change.unwrap(), r#"{"changed":true,"name":"ops"}"#);
    }
}
