//! The limits of a credential as options, shared by `add` and `allow`.

use clap::Args;

use crate::cli::when::Expiry;
use crate::policy::grant::{self, Grant, HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::policy::share_limits::ShareLimits;
use crate::policy::use_limits::Copies;
use crate::views::rfc3339;

/// Where a credential may be used.
#[derive(Args)]
pub(super) struct Limits {
    /// Where the value may be placed: header, query, path or body
    ///
    /// Narrow it with a colon: header:authorization, query:api_key, body:client_secret (form field)
    /// or body:/auth/token (JSON pointer). A cookie has to be named: header:cookie. Repeatable. By
    /// default a new credential may be placed in any header.
    #[arg(long = "in", value_name = "LOCATION")]
    pub(super) locations: Vec<LocationRule>,
    /// Methods it may be used with, such as GET,POST; any by default
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = grant::parse_method)]
    pub(super) methods: Vec<String>,
    /// Paths it may be used for, by prefix: /repos covers /repos and /repos/x; any by default
    #[arg(long = "path", value_name = "PREFIX", value_parser = grant::parse_path)]
    pub(super) paths: Vec<PathPrefix>,
    /// Actions that may use it; any by default
    #[arg(long = "action", value_name = "ACTION", value_parser = grant::parse_action)]
    pub(super) actions: Vec<String>,
    /// When it stops working: 30d, 2027-01-31, 2027-01-31T12:00:00Z or never
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<Expiry>,
}

impl Limits {
    /// The limits of a new credential.
    pub(super) fn into_grant(self, hosts: Vec<HostPattern>) -> Grant {
        let mut grant = Grant::for_hosts(hosts);
        if !self.locations.is_empty() {
            grant.locations = self.locations;
        }
        Grant {
            methods: self.methods,
            paths: self.paths,
            actions: self.actions,
            expires: self.expires.and_then(Expiry::unix),
            ..grant
        }
    }

    /// Whether no option was given.
    pub(super) fn is_empty(&self) -> bool {
        self.locations.is_empty()
            && self.methods.is_empty()
            && self.paths.is_empty()
            && self.actions.is_empty()
            && self.expires.is_none()
    }

    /// The limits of a share with these options.
    pub(super) fn into_share(self, hosts: Vec<HostPattern>) -> ShareLimits {
        ShareLimits {
            hosts,
            locations: self.locations,
            methods: self.methods,
            paths: self.paths,
            actions: self.actions,
        }
    }

    /// `grant` with the given lists instead of its own, or added to them.
    pub(super) fn change(self, hosts: Vec<HostPattern>, mut grant: Grant, add: bool) -> Grant {
        put(&mut grant.hosts, hosts, add);
        put(&mut grant.locations, self.locations, add);
        put(&mut grant.methods, self.methods, add);
        put(&mut grant.paths, self.paths, add);
        put(&mut grant.actions, self.actions, add);
        if let Some(expires) = self.expires {
            grant.expires = expires.unix();
        }
        grant
    }
}

/// A duration in whole seconds.
pub(super) fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn put<T: PartialEq>(list: &mut Vec<T>, given: Vec<T>, add: bool) {
    if given.is_empty() {
        return;
    }
    if !add {
        list.clear();
    }
    for item in given {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// The items of a limit as text; an empty one limits nothing.
pub(super) fn join<T: ToString>(list: &[T]) -> String {
    match list {
        [] => "any".to_owned(),
        list => list.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// A grant as text, for people: one line for each limit.
pub(super) fn describe(grant: &Grant) -> Vec<(&'static str, String)> {
    let copies = grant.uses.copies.unwrap_or(Copies::Any);
    let budget = grant.uses.budget;
    let budget = budget.map_or("unlimited".to_owned(), |rate| rate.to_string());
    let approve = grant.uses.approve.map_or("never", |mode| mode.as_str());
    vec![
        ("hosts", join(&grant.hosts)),
        ("locations", join(&grant.locations)),
        ("methods", join(&grant.methods)),
        ("paths", join(&grant.paths)),
        ("actions", join(&grant.actions)),
        ("expires", grant.expires.map_or("never".to_owned(), rfc3339)),
        ("copies", copies.to_string()),
        ("max uses", budget),
        ("approve", approve.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().expect("a valid pattern")
    }

    fn limits() -> Limits {
        Limits {
            locations: vec!["query:key".parse().expect("a valid location")],
            methods: vec!["GET".to_owned()],
            paths: Vec::new(),
            actions: Vec::new(),
            expires: None,
        }
    }

    #[test]
    fn what_is_given_replaces_that_limit_and_no_other() {
        let mut before = Grant::for_hosts(vec![host("a.example")]);
        before.actions = vec!["report".to_owned()];
        let after = limits().change(vec![host("b.example")], before, false);
        assert_eq!(after.hosts, [host("b.example")]);
        assert_eq!(after.locations.len(), 1);
        assert_eq!(after.locations[0].to_string(), "query:key");
        assert_eq!(after.actions, ["report"]);
    }

    #[test]
    fn what_is_added_joins_what_is_there_once() {
        let before = Grant::for_hosts(vec![host("a.example")]);
        let hosts = vec![host("a.example"), host("b.example")];
        let after = limits().change(hosts, before, true);
        assert_eq!(after.hosts, [host("a.example"), host("b.example")]);
        let places: Vec<String> = after.locations.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["header", "query:key"]);
    }

    #[test]
    fn an_expiry_can_be_taken_away() {
        let mut before = Grant::for_hosts(vec![host("a.example")]);
        before.expires = Some(1);
        let mut limits = limits();
        limits.expires = Some(Expiry::Never);
        assert_eq!(limits.change(Vec::new(), before, false).expires, None);
    }
}
