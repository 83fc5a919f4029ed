//! Clients and tokens.

use serde::Serialize;

use super::time::rfc3339;
use crate::vault;

/// A client, without its token.
#[derive(Debug, Serialize)]
pub struct Client<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whose credentials it may use.
    pub principal: &'a str,
    /// When it was added.
    pub created: String,
    /// When its token stops working.
    pub expires: Option<String>,
}

impl<'a> Client<'a> {
    /// The view of a stored client.
    pub fn new(client: &'a vault::Client) -> Self {
        Self {
            name: client.name.as_str(),
            principal: client.principal.as_str(),
            created: rfc3339(client.created),
            expires: client.expires.map(rfc3339),
        }
    }
}

/// A client that was just added. Not `Debug`: it holds the token.
#[derive(Serialize)]
pub struct NewClient<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whose credentials it may use.
    pub principal: &'a str,
    /// The token, shown this once.
    pub token: &'a str,
}

/// What a command changed about a client.
#[derive(Debug, Serialize)]
pub struct ClientChange<'a> {
    /// Whether anything is different now.
    pub changed: bool,
    /// The client.
    pub name: &'a str,
}

/// An action token that was just minted. Not `Debug`: it holds the token.
#[derive(Serialize)]
pub struct NewToken<'a> {
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
            name: "ci",
            principal: "build",
            created: rfc3339(0),
            expires: None,
        };
        assert_eq!(
            serde_json::to_string(&client).unwrap(),
            r#"{"name":"ci","principal":"build","created":"1970-01-01T00:00:00Z","expires":null}"#
        );
        let (name, principal, token) = ("ci", "build", "egc_x");
        let new = NewClient {
            name,
            principal,
            token,
        };
        assert_eq!(
            serde_json::to_string(&new).unwrap(),
            r#"{"name":"ci","principal":"build","token":"egc_x"}"#
        );
        let expires = rfc3339(0);
        assert_eq!(
            serde_json::to_string(&NewToken { expires, token }).unwrap(),
            r#"{"expires":"1970-01-01T00:00:00Z","token":"egc_x"}"#
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
