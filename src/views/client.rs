//! Clients and tokens.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::vault;
use crate::vault::client_proof::ClientProof;

/// A client, without its token.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Whose credentials it may use.
    pub principal: String,
    /// When it was added.
    pub created: String,
    /// When its token stops working.
    pub expires: Option<String>,
    /// Owner and name of the only bundle that it may use.
    pub bundle: Option<String>,
    /// The Ed25519 key with which it signs its tokens, in base64url; `null` for one that has a token.
    pub public_key: Option<String>,
}

impl Client {
    /// The view of a stored client.
    pub fn new(client: &vault::Client) -> Self {
        Self {
            name: client.name.to_string(),
            principal: client.principal.to_string(),
            created: rfc3339(client.created),
            expires: client.expires.map(rfc3339),
            bundle: client.bundle.as_ref().map(ToString::to_string),
            public_key: match &client.proof {
                ClientProof::Key(key) => Some(key.base64url()),
                ClientProof::Token(_) => None,
            },
        }
    }
}

/// A client that was just added. Not `Debug`: it holds the token.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewClient {
    /// Its name.
    pub name: String,
    /// Whose credentials it may use.
    pub principal: String,
    /// The token, shown this once; `null` for a client that signs its own.
    pub token: Option<String>,
}

/// Tokens of a client of an issuer that were just revoked.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RevokedIssued {
    /// The client.
    pub client: String,
    /// The `jti` of the token; `null` for all that were issued until now.
    pub id: Option<String>,
}

/// A one-time link that was just made. Not `Debug`: it holds the secret.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct OneTimeLink {
    /// Where it leads, shown this once.
    pub url: String,
}

/// What a command changed about a client.
#[derive(Debug, Serialize)]
pub struct ClientChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// The client.
    pub name: &'a str,
}

/// A personal API token, without the token.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApiToken {
    /// Its public name.
    pub id: String,
    /// For whom it acts.
    pub user: String,
    /// What it is for.
    pub name: String,
    /// `read`, `audit` or `manage`.
    pub scope: Cow<'static, str>,
    /// When it was made.
    pub created: String,
    /// When it stops working.
    pub expires: String,
    /// When it was last used, to within a minute.
    pub last_used: Option<String>,
}

impl ApiToken {
    /// The view of a stored token.
    pub fn new(token: &vault::access::ApiToken) -> Self {
        let record = &token.record;
        Self {
            id: token.id.to_string(),
            user: record.user.to_string(),
            name: record.name.clone(),
            scope: record.scope.as_str().into(),
            created: rfc3339(record.created),
            expires: rfc3339(record.expires),
            last_used: token.used.map(rfc3339),
        }
    }
}

/// A personal API token that was just made. Not `Debug`: it holds the token.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewApiToken<'a> {
    /// Its public name.
    pub id: &'a str,
    /// The token, shown this once.
    pub token: &'a str,
    /// When it stops working.
    pub expires: String,
}

/// Who asks.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Me {
    /// The user.
    pub user: String,
    /// The name for people.
    pub display_name: String,
    /// `administrator`, `member` or `auditor`.
    pub role: Cow<'static, str>,
    /// What this request may do of what the user may: `read`, `audit` or `manage`.
    pub scope: Cow<'static, str>,
    /// How that is known: `session` or `token`.
    pub through: Cow<'static, str>,
    /// Whether it may change who may do what: after signing in again, for five minutes.
    pub fresh: bool,
    /// When the session ends, however much it is used.
    pub ends: Option<String>,
}

/// An action token that was just minted. Not `Debug`: it holds the token.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewToken<'a> {
    /// Its name, by which it can be revoked.
    pub id: &'a str,
    /// When it stops working.
    pub expires: String,
    /// The token, shown this once.
    pub token: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_their_names_and_order() {
        let client = Client {
            name: "ci".to_owned(),
            principal: "build".to_owned(),
            created: rfc3339(0),
            expires: None,
            bundle: None,
            public_key: None,
        };
        assert_eq!(
            serde_json::to_string(&client).unwrap(),
            r#"{"name":"ci","principal":"build","created":"1970-01-01T00:00:00Z","expires":null,"bundle":null,"public_key":null}"#
        );
        let (name, principal, token) = ("ci", "build", "egc_x");
        let new = NewClient {
            name: name.to_owned(),
            principal: principal.to_owned(),
            token: Some(token.to_owned()),
        };
        assert_eq!(
            serde_json::to_string(&new).unwrap(),
            r#"{"name":"ci","principal":"build","token":"egc_x"}"#
        );
        let expires = rfc3339(0);
        assert_eq!(
            serde_json::to_string(&NewToken {
                id: "1-2",
                expires,
                token
            })
            .unwrap(),
            r#"{"id":"1-2","expires":"1970-01-01T00:00:00Z","token":"egc_x"}"#
        );
        let change = ClientChange {
            changed: true,
            name,
        };
        assert_eq!(
            serde_json::to_string(&change).unwrap(),
            r#"{"changed":true,"name":"ci"}"#
        );
    }
}
