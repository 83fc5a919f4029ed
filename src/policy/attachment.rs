//! Header fields that Egret sets by itself, for programs that can send no placeholder.
//!
//! The field is set in the requests of the credential's owner that a rule covers, where it is absent;
//! where the owner says so, it replaces the client's own. Whether the credential may be used there is
//! decided afterwards, as for a placeholder that the client wrote.

use serde::{Deserialize, Serialize};

use super::decide::{self, Attempt};
use super::grant::HostPattern;
use super::path::PathPrefix;

/// Methods that get nothing attached. The answer to TRACE repeats the request; OPTIONS is what a browser
/// asks on behalf of any page, without credentials.
pub const NEVER: [&str; 2] = ["TRACE", "OPTIONS"];

/// One rule. A request must satisfy all parts to be covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is removed by.
    pub number: u32,
    /// The field's name, in lower case.
    pub name: String,
    /// What the field says, with the placeholder.
    pub value: String,
    /// Where requests have to go.
    pub hosts: Vec<HostPattern>,
    /// Methods. Empty is any but [`NEVER`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Prefixes of paths. Empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Names of clients. Empty is all of the owner's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Names of actions. Empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Whether it replaces what the client says in this field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

impl Attachment {
    /// A rule without limits for a field that is written `NAME: VALUE`. Its number is 0.
    pub fn of_line(line: &str) -> Option<Self> {
        let (name, value) = line.split_once(':')?;
        Some(Self {
            number: 0,
            name: name.trim().to_ascii_lowercase(),
            value: value.trim().to_owned(),
            hosts: Vec::new(),
            methods: Vec::new(),
            paths: Vec::new(),
            clients: Vec::new(),
            actions: Vec::new(),
            replace: false,
        })
    }

    /// Whether it covers a request of `client`. A path that servers read differently is covered by no
    /// rule about paths.
    pub fn covers(&self, attempt: &Attempt<'_>, client: &str) -> bool {
        let names = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|known| known == "*" || known == name)
        };
        let mut never = NEVER.iter();
        !never.any(|method| method.eq_ignore_ascii_case(attempt.method))
            && self
                .hosts
                .iter()
                .any(|host| host.matches(attempt.destination))
            && names(&self.methods, attempt.method)
            && names(&self.actions, attempt.action)
            && names(&self.clients, client)
            && decide::check_path(&self.paths, attempt.path).is_ok()
    }

    /// Whether it goes before another that covers the same request and sets the same field: the one
    /// that names the host, then the one that names the longer path.
    pub fn precedence(&self) -> impl Ord + use<> {
        let names_host = !self.hosts.iter().any(HostPattern::is_wildcard);
        let longest = self.paths.iter().map(|path| path.to_string().len()).max();
        std::cmp::Reverse((names_host, longest))
    }

    /// The same apart from its number.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let number = self.number;
        Self {
            number,
            ..other.clone()
        } == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::destination::{Destination, Scheme};
    use crate::policy::location::Location;

    fn attachment() -> Attachment {
        Attachment {
            number: 1,
            name: "authorization".to_owned(),
            value: "Bearer <<pat>>".to_owned(),
            hosts: vec!["api.example.com".parse().unwrap()],
            methods: Vec::new(),
            paths: Vec::new(),
            clients: Vec::new(),
            actions: Vec::new(),
            replace: false,
        }
    }

    fn covers(rule: &Attachment, method: &str, path: &str) -> bool {
        let attempt = Attempt {
            destination: &Destination::from_authority(Scheme::Https, "api.example.com").unwrap(),
            method,
            path,
            action: "build",
            location: &Location::Header("authorization".into()),
        };
        rule.covers(&attempt, "ci")
    }

    #[test]
    fn every_part_has_to_match() {
        let all = attachment();
        assert!(covers(&all, "GET", "/x"));
        let elsewhere = Attachment {
            hosts: vec!["api.example.com:8443".parse().unwrap()],
            ..attachment()
        };
        assert!(!covers(&elsewhere, "GET", "/x"));
        let narrow = Attachment {
            methods: vec!["GET".to_owned()],
            paths: vec!["/v1".parse().unwrap()],
            clients: vec!["ci".to_owned()],
            actions: vec!["build".to_owned()],
            ..attachment()
        };
        assert!(covers(&narrow, "GET", "/v1/a"));
        assert!(!covers(&narrow, "POST", "/v1/a") && !covers(&narrow, "GET", "/v2"));
        assert!(!covers(&narrow, "GET", "/v1/%2e%2e/v2"));
        for other in [
            Attachment {
                clients: vec!["dev".to_owned()],
                ..narrow.clone()
            },
            Attachment {
                actions: vec!["deploy".to_owned()],
                ..narrow.clone()
            },
        ] {
            assert!(!covers(&other, "GET", "/v1/a"));
        }
    }

    #[test]
    fn trace_and_options_get_nothing_whatever_a_rule_says() {
        let named = Attachment {
            methods: vec!["TRACE".to_owned(), "OPTIONS".to_owned(), "*".to_owned()],
            ..attachment()
        };
        for method in ["TRACE", "OPTIONS", "trace", "Options"] {
            assert!(!covers(&named, method, "/"), "{method}");
        }
        assert!(covers(&named, "PATCH", "/"));
    }

    #[test]
    fn the_rule_that_names_the_host_goes_before_one_with_a_wildcard() {
        let exact = attachment();
        let wildcard = Attachment {
            hosts: vec!["*.example.com".parse().unwrap()],
            paths: vec!["/v1/long".parse().unwrap()],
            ..attachment()
        };
        let path = Attachment {
            paths: vec!["/v1".parse().unwrap()],
            ..attachment()
        };
        assert!(path.precedence() < exact.precedence());
        assert!(exact.precedence() < wildcard.precedence());
    }

    #[test]
    fn it_is_stored_as_text_and_unknown_parts_are_refused() {
        let stored = serde_json::to_string(&attachment()).unwrap();
        assert_eq!(
            stored,
            r#"{"number":1,"name":"authorization","value":"Bearer <<pat>>","hosts":["api.example.com"]}"#
        );
        assert_eq!(
            serde_json::from_str::<Attachment>(&stored).unwrap(),
            attachment()
        );
        let newer = stored.replace("\"hosts\"", "\"weekdays\":[],\"hosts\"");
        assert!(serde_json::from_str::<Attachment>(&newer).is_err());
    }
}
