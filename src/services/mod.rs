//! Well-known services: where their keys go, what they look like, and where to make a narrower one.
//!
//! The catalogue is data (`config/services.toml`), built into the program. It proposes; whoever
//! saves a credential decides. Pure.
//!
//! A host of a service that gives each customer a name of their own is written with a blank,
//! `{shop}.myshopify.com`, that the user fills in. A wildcard in its place would let an assistant
//! send the key to a shop that somebody else has opened there.

mod host;
pub mod remark;
mod shape;
pub mod stand_in;

use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

pub use self::host::ServiceHost;
pub use self::shape::{KeyShape, Misfit};
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;

const TEXT: &str = include_str!("../../config/services.toml");

static CATALOGUE: LazyLock<Vec<Service>> = LazyLock::new(|| {
    let file: File = toml::from_str(TEXT).expect("a test reads the file that is built in");
    file.service
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: Vec<Service>,
}

/// One service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What `--service` calls it, and the slug that is proposed.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where the key is sent.
    pub hosts: Vec<ServiceHost>,
    /// `secret`, or `login` for a user name and a password.
    #[serde(default)]
    pub kind: ServiceKind,
    /// How a request carries the key, with `<<slug>>` in its place.
    #[serde(rename = "use")]
    pub form: String,
    /// What its keys look like today.
    #[serde(default)]
    pub keys: Vec<KeyShape>,
    /// Where a key is made.
    pub create: String,
    /// Which key is enough.
    pub narrower: String,
}

/// What a service takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// One value.
    #[default]
    Secret,
    /// A user name and a password.
    Login,
}

/// Every service, in the order of the file.
pub fn all() -> &'static [Service] {
    &CATALOGUE
}

/// The service with this id.
pub fn find(id: &str) -> Option<&'static Service> {
    all().iter().find(|service| service.id == id)
}

/// The service whose keys begin with a prefix that this value begins with; the longest decides. A
/// service whose keys have no prefix is never guessed.
pub fn of_key(value: &[u8]) -> Option<&'static Service> {
    let begun = |service: &'static Service| {
        let shapes = service.keys.iter().filter(|shape| shape.is_marked());
        let longest = shapes.filter(|shape| shape.check(value).is_ok());
        let length = longest.map(|shape| shape.prefix.len()).max()?;
        Some((length, service))
    };
    let found = all().iter().filter_map(begun);
    found
        .max_by_key(|(length, _)| *length)
        .map(|(_, service)| service)
}

impl Service {
    /// Where in a request the key is placed.
    pub fn location(&self) -> LocationRule {
        let text = if let Some(query) = self.form.strip_prefix('?') {
            format!("query:{}", query.split('=').next().unwrap_or_default())
        } else if self.form.starts_with('/') {
            "path".to_owned()
        } else {
            let name = self.form.split(':').next().unwrap_or_default();
            format!("header:{}", name.to_ascii_lowercase())
        };
        LocationRule::from_str(&text).expect("a test reads every form")
    }

    /// The hosts, with `filled` in place of those that have a blank.
    ///
    /// # Errors
    /// The hosts with a blank, when nothing was given for them.
    pub fn hosts(&self, filled: &[HostPattern]) -> Result<Vec<HostPattern>, Vec<&ServiceHost>> {
        if !filled.is_empty() {
            return Ok(filled.to_vec());
        }
        let blank: Vec<_> = self
            .hosts
            .iter()
            .filter(|host| host.pattern().is_none())
            .collect();
        if blank.is_empty() {
            Ok(self.hosts.iter().filter_map(ServiceHost::pattern).collect())
        } else {
            Err(blank)
        }
    }

    /// Why `value` is hardly a key of this service; `None` if it may be one.
    pub fn misfit(&self, value: &[u8]) -> Option<Misfit> {
        let mut checks = self.keys.iter().map(|shape| (shape, shape.check(value)));
        if self.keys.is_empty() || checks.clone().any(|(_, check)| check.is_ok()) {
            return None;
        }
        // The kind of key that it begins like says most.
        let begun = checks.clone().find(|(shape, check)| {
            shape.is_marked() && !matches!(check, Ok(()) | Err(Misfit::Prefix))
        });
        begun
            .or_else(|| checks.next())
            .and_then(|(_, check)| check.err())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::substitution::slug::Slug;

    #[test]
    fn every_entry_is_whole() {
        assert!(all().len() >= 60);
        let ids: BTreeSet<_> = all().iter().map(|service| &service.id).collect();
        assert_eq!(ids.len(), all().len(), "an id occurs twice");
        for service in all() {
            let id = &service.id;
            assert!(Slug::from_str(id).is_ok(), "{id} is no slug");
            assert!(!service.hosts.is_empty(), "{id}");
            assert!(service.form.contains("<<slug"), "{id}");
            assert!(service.create.starts_with("https://"), "{id}");
            assert!(service.narrower.ends_with('.'), "{id}");
            let login = service.kind == ServiceKind::Login;
            assert_eq!(service.form.contains("<<slug.password>>"), login, "{id}");
            let _ = service.location();
        }
    }

    /// Whoever opens an account at such a service would get the key of every other customer.
    #[test]
    fn no_host_is_a_wildcard() {
        let hosts = all().iter().flat_map(|service| &service.hosts);
        for host in hosts {
            assert!(!host.to_string().contains('*'), "{host}");
        }
    }

    #[test]
    fn places_are_those_of_the_form() {
        let place = |id: &str| find(id).expect("in the catalogue").location().to_string();
        assert_eq!(place("github"), "header:authorization");
        assert_eq!(place("anthropic"), "header:x-api-key");
        assert_eq!(place("serpapi"), "query:api_key");
        assert_eq!(place("telegram"), "path");
    }

    #[test]
    fn a_blank_has_to_be_filled_in() {
        let shopify = find("shopify").expect("in the catalogue");
        let blank = shopify.hosts(&[]).expect_err("a blank");
        assert_eq!(blank[0].to_string(), "{shop}.myshopify.com");
        let mine: HostPattern = "mine.myshopify.com".parse().expect("a host");
        assert_eq!(
            shopify.hosts(std::slice::from_ref(&mine)),
            Ok(vec![mine.clone()])
        );
        let github = find("github").expect("in the catalogue");
        assert_eq!(
            github.hosts(&[]).expect("no blank").len(),
            github.hosts.len()
        );
    }

    #[test]
    fn the_kind_of_a_key_is_told_by_its_prefix() {
        let kind = |value: String| of_key(value.as_bytes()).map(|service| service.id.as_str());
        assert_eq!(kind(format!("ghp_{}", "a".repeat(36))), Some("github"));
        assert_eq!(
            kind(format!("sk-ant-{}", "a".repeat(95))),
            Some("anthropic")
        );
        assert_eq!(kind(format!("sk-proj-{}", "a".repeat(80))), Some("openai"));
        assert_eq!(kind("a".repeat(32)), None);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let misfit = |id: &str, value: &str| find(id).expect("known").misfit(value.as_bytes());
        assert_eq!(misfit("github", &format!("ghp_{}", "a".repeat(36))), None);
        assert_eq!(misfit("github", "hunter2hunter2"), Some(Misfit::Prefix));
        assert_eq!(misfit("github", "ghp_short"), Some(Misfit::Length));
        assert_eq!(
            misfit("github", &format!("ghp_{}", "-".repeat(36))),
            Some(Misfit::Characters)
        );
        assert_eq!(misfit("planetscale", "anything"), None);
    }
}
