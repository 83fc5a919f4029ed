//! Credentials: where they may be used, never their values.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::ledger::Timestamp;
use crate::policy::use_limits::Copies;
use crate::vault;
use crate::vault::people::Grantee;

/// A credential.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Credential {
    /// Its public name.
    pub slug: String,
    /// Whose it is.
    pub owner: String,
    /// `secret`, `login` or `fields`.
    pub kind: Cow<'static, str>,
    /// A remark for people.
    pub description: String,
    /// Hosts that may receive it.
    pub hosts: Vec<String>,
    /// Where in a request it may be placed.
    pub locations: Vec<String>,
    /// Methods it may be used with; empty for any.
    pub methods: Vec<String>,
    /// Prefixes of the paths it may be used for; empty for any.
    pub paths: Vec<String>,
    /// Actions that may use it; empty for any.
    pub actions: Vec<String>,
    /// The current version.
    pub version: u32,
    /// `active` or `revoked`.
    pub state: Cow<'static, str>,
    /// When it was saved.
    pub created: String,
    /// When it got its current value.
    pub rotated: String,
    /// When it stops working.
    pub expires: Option<String>,
    /// When it was last used, as the ledger has it.
    pub last_used: Option<String>,
    /// When its value is due to be replaced.
    pub rotation_due: Option<String>,
    /// How often one request may carry its value: a number, or `any`.
    pub copies: String,
    /// How many requests may use it in a time: `100/h`.
    pub max_uses: Option<String>,
    /// When its owner is asked: `first-use` or `always`.
    pub approve: Option<Cow<'static, str>>,
    /// Since when upstreams refuse its value.
    pub rejected_since: Option<String>,
}

impl Credential {
    /// The view of a stored credential that was last used at `last_used`.
    pub fn new(credential: &vault::Credential, last_used: Option<Timestamp>) -> Self {
        let grant = &credential.grant;
        Self {
            slug: credential.slug.to_string(),
            owner: credential.owner.to_string(),
            kind: credential.kind.as_str().into(),
            description: credential.description.clone(),
            hosts: texts(&grant.hosts),
            locations: texts(&grant.locations),
            methods: grant.methods.clone(),
            paths: texts(&grant.paths),
            actions: grant.actions.clone(),
            version: credential.version,
            state: credential.state.as_str().into(),
            created: rfc3339(credential.created),
            rotated: rfc3339(credential.rotated),
            expires: grant.expires.map(rfc3339),
            last_used: last_used.map(|time| time.to_string()),
            rotation_due: credential.rotation_due().map(rfc3339),
            copies: grant.uses.copies.unwrap_or(Copies::Any).to_string(),
            max_uses: grant.uses.budget.map(|rate| rate.to_string()),
            approve: grant.uses.approve.map(|mode| mode.as_str().into()),
            rejected_since: None,
        }
    }

    /// The same, of one that upstreams refuse since a time, in unix seconds.
    pub fn rejected(self, since: Option<i64>) -> Self {
        Self {
            rejected_since: since.map(rfc3339),
            ..self
        }
    }
}

/// A credential by itself, with what a list leaves out.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CredentialDetails {
    /// What the list shows.
    #[serde(flatten)]
    pub credential: Credential,
    /// The names of its fields; none for a `secret`.
    pub fields: Vec<String>,
    /// Who other than the owner may use it.
    pub shared_with: Vec<String>,
    /// The same, with limits.
    pub shares: Vec<Share>,
    /// The versions that are kept.
    pub versions: Vec<Version>,
    /// Header fields that are set in the owner's requests by themselves.
    pub attachments: Vec<Attachment>,
    /// Texts that mean it in the owner's requests. They are no secret.
    pub stand_ins: Vec<String>,
    /// What may be a mistake about what was just sent, in the answer to that only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A header field that is set in requests by itself. An empty list adds no limit.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attachment {
    /// What it is removed by.
    pub number: u32,
    /// The field, with the placeholder.
    pub header: String,
    /// Where requests have to go.
    pub hosts: Vec<String>,
    /// Methods that get it.
    pub methods: Vec<String>,
    /// Prefixes of the paths that get it.
    pub paths: Vec<String>,
    /// Clients whose requests get it.
    pub clients: Vec<String>,
    /// Actions whose requests get it.
    pub actions: Vec<String>,
    /// Whether it replaces what the client says in this field.
    pub replace: bool,
}

impl Attachment {
    /// The view of a stored rule.
    pub fn new(rule: &crate::policy::attachment::Attachment) -> Self {
        Self {
            number: rule.number,
            header: format!("{}: {}", rule.name, rule.value),
            hosts: texts(&rule.hosts),
            methods: rule.methods.clone(),
            paths: texts(&rule.paths),
            clients: rule.clients.clone(),
            actions: rule.actions.clone(),
            replace: rule.replace,
        }
    }
}

/// Permission for others to use a credential. An empty list adds no limit to the credential's own.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Share {
    /// A user, `group:NAME` or `everyone`.
    pub with: String,
    /// Hosts that may receive it.
    pub hosts: Vec<String>,
    /// Where in a request it may be placed.
    pub locations: Vec<String>,
    /// Methods it may be used with.
    pub methods: Vec<String>,
    /// Prefixes of the paths it may be used for.
    pub paths: Vec<String>,
    /// Actions that may use it.
    pub actions: Vec<String>,
    /// Since when.
    pub since: String,
    /// When it ends.
    pub until: Option<String>,
}

impl Share {
    fn new(share: &vault::people::Share) -> Self {
        Self {
            with: share.with.to_string(),
            hosts: texts(&share.limits.hosts),
            locations: texts(&share.limits.locations),
            methods: share.limits.methods.clone(),
            paths: texts(&share.limits.paths),
            actions: share.limits.actions.clone(),
            since: rfc3339(share.created),
            until: share.until.map(rfc3339),
        }
    }
}

/// A version of a value, without the value.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// `staged`, `current` or `replaced`.
    pub phase: Cow<'static, str>,
    /// When it was saved.
    pub created: String,
    /// When a replaced one is erased.
    pub kept_until: Option<String>,
    /// Whether `rollback` may return to it.
    pub rollback: bool,
}

impl Version {
    fn new(version: &vault::model::Version) -> Self {
        Self {
            version: version.number,
            phase: version.phase.as_str().into(),
            created: rfc3339(version.created),
            kept_until: version.kept_until.map(rfc3339),
            rollback: version.rollback,
        }
    }
}

/// The shares that were not taken back.
fn shares(credential: &vault::Credential) -> impl Iterator<Item = &vault::people::Share> {
    let shares = credential.shares.iter().map(|share| &**share);
    shares.filter(|share| share.ended.is_none())
}

impl CredentialDetails {
    /// The view of a stored credential that was last used at `last_used`.
    pub fn new(credential: &vault::Credential, last_used: Option<Timestamp>) -> Self {
        Self::for_viewer(credential, last_used, |_| true)
    }

    /// The same for someone who is to see only the shares with some.
    pub fn for_viewer(
        credential: &vault::Credential,
        last_used: Option<Timestamp>,
        sees: impl Fn(&Grantee) -> bool,
    ) -> Self {
        let attachments = credential.attachments.iter();
        let stand_ins = credential.stand_ins.iter();
        let stand_ins = stand_ins.filter(|known| known.revoked.is_none());
        let shares: Vec<_> = shares(credential)
            .filter(|share| sees(&share.with))
            .collect();
        Self {
            fields: credential.field_names().map(ToString::to_string).collect(),
            shared_with: shares.iter().map(|share| share.with.to_string()).collect(),
            shares: shares.into_iter().map(Share::new).collect(),
            versions: credential.versions.iter().map(Version::new).collect(),
            stand_ins: stand_ins.map(|known| known.text.clone()).collect(),
            attachments: attachments.map(|rule| Attachment::new(rule)).collect(),
            remarks: Vec::new(),
            credential: Credential::new(credential, last_used),
        }
    }
}

/// A value that was just saved.
#[derive(Debug, Serialize)]
pub struct CredentialVersion<'a> {
    /// Whose credential it is.
    pub owner: &'a str,
    /// Its public name.
    pub slug: &'a str,
    /// The version that the value got.
    pub version: u32,
}

/// What became of a probe.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Probe {
    /// The version that was sent.
    pub version: u32,
    /// The status of the answer.
    pub status: u16,
    /// The code, if Egret refused the request.
    pub code: Option<String>,
}

/// What a command changed about a credential.
#[derive(Debug, Serialize)]
pub struct CredentialChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// The credential.
    pub slug: &'a str,
}

/// A text that means a credential.
#[derive(Debug, Serialize)]
pub struct StandIn<'a> {
    /// The credential.
    pub slug: &'a str,
    /// The text.
    pub text: &'a str,
}

/// A rule that was added.
#[derive(Debug, Serialize)]
pub struct Attached<'a> {
    /// Whether it is new.
    pub changed: bool,
    /// The credential.
    pub slug: &'a str,
    /// The rule's number.
    pub number: u32,
}

/// What a command changed about where a credential may be used.
#[derive(Debug, Serialize)]
pub struct LimitsChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// Whose credential it is.
    pub owner: &'a str,
    /// Its public name.
    pub slug: &'a str,
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential {
            slug: "crm".to_owned(),
            owner: "alice".to_owned(),
            kind: "login".into(),
            description: String::new(),
            hosts: vec!["crm.example.com".to_owned()],
            locations: vec!["header".to_owned()],
            methods: Vec::new(),
            paths: Vec::new(),
            actions: Vec::new(),
            version: 1,
            state: "active".into(),
            created: rfc3339(0),
            rotated: rfc3339(0),
            expires: None,
            last_used: None,
            rotation_due: None,
            copies: "1".to_owned(),
            max_uses: None,
            approve: None,
            rejected_since: None,
        }
    }

    const LISTED: &str = r#""slug":"crm","owner":"alice","kind":"login","description":"","hosts":["crm.example.com"],"locations":["header"],"methods":[],"paths":[],"actions":[],"version":1,"state":"active","created":"1970-01-01T00:00:00Z","rotated":"1970-01-01T00:00:00Z","expires":null,"last_used":null,"rotation_due":null,"copies":"1","max_uses":null,"approve":null,"rejected_since":null"#;

    #[test]
    fn members_have_their_names_and_order() {
        let json = serde_json::to_string(&credential()).unwrap();
        assert_eq!(json, format!("{{{LISTED}}}"));
        let details = CredentialDetails {
            credential: credential(),
            fields: vec!["password".to_owned()],
            shared_with: Vec::new(),
            shares: Vec::new(),
            versions: Vec::new(),
            attachments: Vec::new(),
            stand_ins: Vec::new(),
            remarks: Vec::new(),
        };
        let json = serde_json::to_string(&details).unwrap();
        let more = r#","fields":["password"],"shared_with":[],"shares":[],"versions":[],"attachments":[],"stand_ins":[]"#;
        assert_eq!(json, format!("{{{LISTED}{more}}}"));
        let (owner, slug, changed) = ("alice", "crm", true);
        let version = CredentialVersion {
            owner,
            slug,
            version: 2,
        };
        assert_eq!(
            serde_json::to_string(&version).unwrap(),
            r#"{"owner":"alice","slug":"crm","version":2}"#
        );
        assert_eq!(
            serde_json::to_string(&CredentialChange { changed, slug }).unwrap(),
            r#"{"changed":true,"slug":"crm"}"#
        );
        let limits = LimitsChange {
            changed,
            owner,
            slug,
        };
        assert_eq!(
            serde_json::to_string(&limits).unwrap(),
            r#"{"changed":true,"owner":"alice","slug":"crm"}"#
        );
    }
}
