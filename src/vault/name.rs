//! The names of who owns credentials, who uses them and who changes them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that does not follow the grammar `[a-z0-9][a-z0-9._@-]{0,63}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name is 1 to 64 characters of a-z, 0-9, '.', '_', '@' and '-', and starts with a letter or digit"
)]
pub struct InvalidName;

fn parse_name(text: &str) -> Result<Arc<str>, InvalidName> {
    let head = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let tail = |byte: u8| head(byte) || matches!(byte, b'.' | b'_' | b'@' | b'-');
    match text.as_bytes() {
        [first, rest @ ..] if rest.len() < 64 && head(*first) && rest.iter().all(|b| tail(*b)) => {
            Ok(text.into())
        }
        _ => Err(InvalidName),
    }
}

/// Declares a validated name. All have one grammar, and a type each: a client's name cannot be
/// passed as a principal's.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar `[a-z0-9][a-z0-9._@-]{0,63}`.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                parse_name(text).map(Self)
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// A user whose credentials a request may use, and who owns a credential: `alice`.
    Principal
}

name! {
    /// The name of a program that may send requests to the proxy.
    ClientName
}

name! {
    /// The name of a group of users: `ops`.
    GroupName
}

name! {
    /// The name of a bundle of credentials: `work`.
    BundleName
}

/// What comes before the claim in the name of a client of an issuer of JWTs. No registered client has a
/// colon in its name.
pub const ISSUED_PREFIX: &str = "jwt:";

/// Longest name of a client of an issuer, in characters.
const LONGEST_ISSUED: usize = 128;

/// What the ledger calls those who need no client: requests without a token, and those of a listener that
/// stands for a principal. No client can have one of these names.
pub const NAMELESS: [&str; 3] = ["anonymous", "transparent", "base-url"];

/// A client as a rule or a search names it, and as the ledger writes it: one that was registered, or one
/// of an issuer of JWTs, which is in no store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerName(Arc<str>);

impl CallerName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as the name of a registered client; `None` for a client of an issuer.
    pub fn registered(&self) -> Option<ClientName> {
        ClientName::parse(&self.0).ok()
    }
}

impl From<ClientName> for CallerName {
    fn from(name: ClientName) -> Self {
        Self(name.0)
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that no client is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a client is named as the ledger names it: ci, or with the prefix jwt: and the issuer's label \
     (jwt:system:serviceaccount:build:ci); its own name has 1 to 64 characters of a-z, 0-9, '.', '_', \
     '@' and '-'"
)]
pub struct InvalidCaller;

impl FromStr for CallerName {
    type Err = InvalidCaller;

    fn from_str(text: &str) -> Result<Self, InvalidCaller> {
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let is_issued = text.strip_prefix(ISSUED_PREFIX).is_some_and(|claim| {
            !claim.is_empty() && text.len() <= LONGEST_ISSUED && printable(claim)
        });
        if is_issued {
            return Ok(Self(text.into()));
        }
        ClientName::parse(text)
            .map(Self::from)
            .map_err(|_| InvalidCaller)
    }
}

/// Who makes an administrative change: for the ledger `cli:alice`, and with which rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    text: String,
    acts_for: ActsFor,
}

/// Whose rights an actor has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ActsFor {
    Operator,
    User(Principal),
    Client,
}

impl Actor {
    /// The operator: someone who can run commands on the host, and may do everything. Names the
    /// interface (`cli`) and its user.
    pub fn operator(interface: &str, user: &str) -> Self {
        Self::new(interface, user, ActsFor::Operator)
    }

    /// The server itself, which has the operator's rights. Names the part of it that makes the change.
    pub fn server(part: &str) -> Self {
        Self::operator("server", part)
    }

    /// A user, who may do what the role of that user permits.
    pub fn user(interface: &str, user: &Principal) -> Self {
        Self::new(interface, user.as_str(), ActsFor::User(user.clone()))
    }

    /// A client, which may ask and never answers.
    pub fn client(name: &str) -> Self {
        Self::new("client", name, ActsFor::Client)
    }

    /// Control characters are replaced, so that a hostile user name cannot forge output on a terminal
    /// that shows the ledger.
    fn new(interface: &str, name: &str, acts_for: ActsFor) -> Self {
        let text = format!("{interface}:{name}")
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(128)
            .collect();
        Self { text, acts_for }
    }

    /// The user whose rights limit the change, if it is one.
    pub fn acts_for(&self) -> Option<&Principal> {
        match &self.acts_for {
            ActsFor::User(user) => Some(user),
            ActsFor::Operator | ActsFor::Client => None,
        }
    }

    /// Whether it is a client.
    pub fn is_client(&self) -> bool {
        self.acts_for == ActsFor::Client
    }

    /// The text for the ledger.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in [
            "a",
            "0",
            "alice",
            "alice@example.org",
            "a.b_c-d",
            &"x".repeat(64),
        ] {
            assert_eq!(
                Principal::parse(good).map(|p| p.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "-a",
            ".a",
            "A",
            "a b",
            "a/b",
            "ä",
            "a\n",
            &"x".repeat(65),
        ] {
            assert_eq!(Principal::parse(bad), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn a_caller_is_a_registered_client_or_one_of_an_issuer() {
        let longest = format!("jwt:{}", "x".repeat(124));
        for good in [
            "ci",
            "jwt",
            "jwt:system:serviceaccount:build:ci",
            "jwt:a b; $(c)",
            &longest,
        ] {
            let name: CallerName = good.parse().unwrap();
            assert_eq!(name.to_string(), good);
            assert_eq!(name.registered().is_some(), !good.contains(':'), "{good}");
        }
        let too_long = format!("{longest}x");
        for bad in [
            "",
            "CI",
            "jwt:",
            "JWT:a",
            "k8s:a",
            "jwt:\u{e9}",
            "jwt:a\n",
            "a:b",
            &too_long,
        ] {
            assert_eq!(bad.parse::<CallerName>(), Err(InvalidCaller), "{bad}");
        }
    }

    #[test]
    fn a_hostile_user_name_cannot_move_the_cursor() {
        assert_eq!(
            Actor::operator("cli", "eve\u{1b}[2J\n").as_str(),
            "cli:eve?[2J?"
        );
    }

    proptest! {
        #[test]
        fn whatever_parses_survives_json(text in "\\PC{0,70}") {
            if let Ok(name) = ClientName::parse(&text) {
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<ClientName>(&json).unwrap(), name);
            } else {
                let json = serde_json::to_string(&text).unwrap();
                prop_assert!(serde_json::from_str::<ClientName>(&json).is_err());
            }
        }
    }
}
