//! The limits of a share: what its holder may do of what the owner may.
//!
//! They are added to the owner's limits and never replace them: a request has to satisfy both. An
//! owner who narrows a credential therefore narrows every share of it.

use serde::{Deserialize, Serialize};

use super::grant::{Grant, HostPattern, PathPrefix};
use super::location::LocationRule;

/// Further limits on the use of a credential. An empty list adds no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareLimits {
    /// Where the value may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Where in a request it may be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<LocationRule>,
    /// Methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Prefixes of paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Names of actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

/// Something that a share would allow and its owner's limits do not. Sharing cannot widen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential itself is not allowed for {what} {item}, and a share cannot be wider")]
pub struct WiderThanOwner {
    /// Which limit.
    pub what: &'static str,
    /// The item that the owner's limit does not cover.
    pub item: String,
}

impl ShareLimits {
    /// Whether there is any limit.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that everything named here is within `grant`, so that a mistake is said and not saved
    /// as a limit that never matches.
    pub fn check_within(&self, grant: &Grant) -> Result<(), WiderThanOwner> {
        let covers_host = |item: &HostPattern| grant.hosts.iter().any(|own| own.includes(item));
        let covers_place =
            |item: &LocationRule| grant.locations.iter().any(|own| own.includes(item));
        let covers_path = |item: &PathPrefix| {
            grant.paths.is_empty() || grant.paths.iter().any(|own| own.includes(item))
        };
        check("host", &self.hosts, covers_host)?;
        check("place", &self.locations, covers_place)?;
        check("method", &self.methods, |item| names(&grant.methods, item))?;
        check("path", &self.paths, covers_path)?;
        check("action", &self.actions, |item| names(&grant.actions, item))
    }
}

impl Grant {
    /// Whether this permits something that `before` did not: another host, place, method, path or
    /// action, or a longer time.
    pub fn is_wider_than(&self, before: &Grant) -> bool {
        let limits = ShareLimits {
            hosts: self.hosts.clone(),
            locations: self.locations.clone(),
            methods: self.methods.clone(),
            paths: self.paths.clone(),
            actions: self.actions.clone(),
        };
        let is_lifted = self.methods.is_empty() && !before.methods.is_empty()
            || self.paths.is_empty() && !before.paths.is_empty()
            || self.actions.is_empty() && !before.actions.is_empty();
        let lasts_longer = before
            .expires
            .is_some_and(|before| self.expires.is_none_or(|at| at > before));
        is_lifted
            || self.uses.is_wider_than(&before.uses)
            || lasts_longer
            || limits.check_within(before).is_err()
    }
}

/// Whether a list of names permits what `item` permits.
fn names(own: &[String], item: &str) -> bool {
    let any = own.is_empty() || own.iter().any(|name| name == "*");
    any || own.iter().any(|name| name == item)
}

fn check<T: ToString>(
    what: &'static str,
    items: &[T],
    covered: impl Fn(&T) -> bool,
) -> Result<(), WiderThanOwner> {
    match items.iter().find(|item| !covered(item)) {
        Some(item) => Err(WiderThanOwner {
            what,
            item: item.to_string(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::decide::{Attempt, decide, decide_share};
    use crate::policy::destination::{Destination, Scheme};
    use crate::policy::location::Location;
    use crate::policy::use_limits::UseLimits;

    fn list<T: std::str::FromStr>(items: &[&str]) -> Vec<T>
    where
        T::Err: std::fmt::Debug,
    {
        items.iter().map(|item| item.parse().unwrap()).collect()
    }

    fn owner() -> Grant {
        Grant {
            hosts: list(&["*.example.com", "api.github.com"]),
            locations: list(&["header", "body"]),
            methods: list(&["GET", "POST"]),
            paths: list(&["/repos", "/v1/"]),
            actions: Vec::new(),
            expires: None,
            uses: UseLimits::default(),
        }
    }

    #[test]
    fn a_share_names_only_what_the_owner_may_do() {
        let fits = ShareLimits {
            hosts: list(&["a.example.com", "*.example.com"]),
            locations: list(&["header:x-key", "body:/token"]),
            methods: list(&["GET"]),
            paths: list(&["/repos/a", "/v1/x", "/v1/"]),
            actions: list(&["report"]),
        };
        assert_eq!(fits.check_within(&owner()), Ok(()));
        assert_eq!(ShareLimits::default().check_within(&owner()), Ok(()));
        let wider = [
            (
                "host",
                ShareLimits {
                    hosts: list(&["example.com"]),
                    ..fits.clone()
                },
            ),
            (
                "host",
                ShareLimits {
                    hosts: list(&["a.example.com:8443"]),
                    ..fits.clone()
                },
            ),
            (
                "place",
                ShareLimits {
                    locations: list(&["query"]),
                    ..fits.clone()
                },
            ),
            (
                "place",
                ShareLimits {
                    locations: list(&["header:cookie"]),
                    ..fits.clone()
                },
            ),
            (
                "method",
                ShareLimits {
                    methods: list(&["DELETE"]),
                    ..fits.clone()
                },
            ),
            (
                "method",
                ShareLimits {
                    methods: list(&["*"]),
                    ..fits.clone()
                },
            ),
            (
                "path",
                ShareLimits {
                    paths: list(&["/"]),
                    ..fits.clone()
                },
            ),
            (
                "path",
                ShareLimits {
                    paths: list(&["/v1"]),
                    ..fits.clone()
                },
            ),
            (
                "path",
                ShareLimits {
                    paths: list(&["/repos2"]),
                    ..fits.clone()
                },
            ),
        ];
        for (what, limits) in wider {
            assert_eq!(limits.check_within(&owner()).unwrap_err().what, what);
        }
    }

    #[test]
    fn a_limit_that_is_lifted_or_lasts_longer_is_wider() {
        let mut before = owner();
        before.expires = Some(100);
        assert!(!before.is_wider_than(&before));
        let changed = |change: fn(&mut Grant)| {
            let mut after = before.clone();
            change(&mut after);
            after.is_wider_than(&before)
        };
        assert!(!changed(|grant| grant.expires = Some(99)));
        assert!(!changed(|grant| {
            grant.hosts.pop();
        }));
        assert!(changed(|grant| grant.expires = None));
        assert!(changed(|grant| grant.methods.clear()));
        assert!(changed(|grant| grant.paths.clear()));
        assert!(changed(|grant| grant
            .hosts
            .push("evil.example".parse().unwrap())));
    }

    #[test]
    fn limits_are_stored_as_text_and_unknown_ones_are_refused() {
        let limits = ShareLimits {
            methods: list(&["GET"]),
            ..ShareLimits::default()
        };
        let stored = serde_json::to_string(&limits).unwrap();
        assert_eq!(stored, r#"{"methods":["GET"]}"#);
        assert_eq!(
            serde_json::from_str::<ShareLimits>(&stored).unwrap(),
            limits
        );
        assert!(serde_json::from_str::<ShareLimits>(r#"{"weekdays":["mon"]}"#).is_err());
    }

    fn some_of(items: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(items, 0..=items.len())
    }

    proptest! {
        /// What is within the owner's limits is permitted by them, whatever is attempted.
        #[test]
        fn what_fits_permits_nothing_that_the_owner_may_not(
            hosts in some_of(&["a.example.com", "*.example.com", "api.github.com", "b.example.org"]),
            locations in some_of(&["header", "header:x-key", "query", "body:/a", "body:a", "path"]),
            methods in some_of(&["GET", "PUT", "*"]),
            paths in some_of(&["/", "/repos", "/repos/", "/v1", "/v1/", "/v1/x", "/other"]),
            host in prop::sample::select(vec!["a.example.com", "api.github.com", "b.example.org"]),
            method in prop::sample::select(vec!["GET", "PUT", "DELETE"]),
            path in prop::sample::select(vec!["/", "/repos", "/repos/x", "/v1", "/v1/x", "/other"]),
            place in prop::sample::select(vec![
                Location::Header("x-key".into()), Location::Query("q".into()), Location::Path,
            ]),
        ) {
            let limits = ShareLimits {
                hosts: list(&hosts), locations: list(&locations), methods: list(&methods),
                paths: list(&paths), actions: Vec::new(),
            };
            let destination = Destination::from_authority(Scheme::Https, host).unwrap();
            let attempt = Attempt {
                destination: &destination, method, path, action: "a", location: &place,
            };
            let whole = !hosts.is_empty() && !locations.is_empty() && !methods.is_empty()
                && !paths.is_empty();
            if whole && limits.check_within(&owner()).is_ok() && decide_share(&limits, &attempt).is_ok() {
                prop_assert_eq!(decide(&owner(), &attempt), Ok(()));
            }
        }
    }
}
