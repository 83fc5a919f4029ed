//! Credentials: where they may be used, never their values.

use serde::Serialize;

use super::time::rfc3339;
use crate::ledger::Timestamp;
use crate::vault;

/// A credential.
#[derive(Debug, Serialize)]
pub struct Credential {
    /// Its public name.
    pub slug: String,
    /// Whose it is.
    pub owner: String,
    /// `secret`, `login` or `fields`.
    pub kind: &'static str,
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
    pub state: &'static str,
    /// When it was saved.
    pub created: String,
    /// When it got its current value.
    pub rotated: String,
    /// When it stops working.
    pub expires: Option<String>,
    /// When it was last used, as the ledger has it.
    pub last_used: Option<String>,
}

impl Credential {
    /// The view of a stored credential that was last used at `last_used`.
    pub fn new(credential: &vault::Credential, last_used: Option<Timestamp>) -> Self {
        let grant = &credential.grant;
        Self {
            slug: credential.slug.to_string(),
            owner: credential.owner.to_string(),
            kind: credential.kind.as_str(),
            description: credential.description.clone(),
            hosts: texts(&grant.hosts),
            locations: texts(&grant.locations),
            methods: grant.methods.clone(),
            paths: texts(&grant.paths),
            actions: grant.actions.clone(),
            version: credential.version,
            state: credential.state.as_str(),
            created: rfc3339(credential.created),
            rotated: rfc3339(credential.rotated),
            expires: grant.expires.map(rfc3339),
            last_used: last_used.map(|time| time.to_string()),
        }
    }
}

/// A credential by itself, with what a list leaves out.
#[derive(Debug, Serialize)]
pub struct CredentialDetails {
    /// What the list shows.
    #[serde(flatten)]
    pub credential: Credential,
    /// The names of its fields; none for a `secret`.
    pub fields: Vec<String>,
    /// Principals other than the owner that may use it.
    pub shared_with: Vec<String>,
}

impl CredentialDetails {
    /// The view of a stored credential that was last used at `last_used`.
    pub fn new(credential: &vault::Credential, last_used: Option<Timestamp>) -> Self {
        Self {
            fields: credential.field_names().map(ToString::to_string).collect(),
            shared_with: credential
                .shared_with
                .iter()
                .map(ToString::to_string)
                .collect(),
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

/// What a command changed about a credential.
#[derive(Debug, Serialize)]
pub struct CredentialChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// The credential.
    pub slug: &'a str,
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
            kind: "login",
            description: String::new(),
            hosts: vec!["crm.example.com".to_owned()],
            locations: vec!["header".to_owned()],
            methods: Vec::new(),
            paths: Vec::new(),
            actions: Vec::new(),
            version: 1,
            state: "active",
            created: rfc3339(0),
            rotated: rfc3339(0),
            expires: None,
            last_used: None,
        }
    }

    const LISTED: &str = r#""slug":"crm","owner":"alice","kind":"login","description":"","hosts":["crm.example.com"],"locations":["header"],"methods":[],"paths":[],"actions":[],"version":1,"state":"active","created":"1970-01-01T00:00:00Z","rotated":"1970-01-01T00:00:00Z","expires":null,"last_used":null"#;

    #[test]
    fn members_have_their_names_and_order() {
        let json = serde_json::to_string(&credential()).unwrap();
        assert_eq!(json, format!("{{{LISTED}}}"));
        let details = CredentialDetails {
            credential: credential(),
            fields: vec!["password".to_owned()],
            shared_with: Vec::new(),
        };
        let json = serde_json::to_string(&details).unwrap();
        let more = r#","fields":["password"],"shared_with":[]"#;
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
