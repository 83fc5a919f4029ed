//! The decision: may this credential be used for this placeholder of this request?

use super::destination::Destination;
use super::grant::{Grant, HostMismatch, HostPattern};
use super::location::Location;
use super::path::{Coverage, PathPrefix, ReadPath, Unclear};
use super::share_limits::ShareLimits;

/// One placeholder of one request, as far as policy is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Where the request goes.
    pub destination: &'a Destination,
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent, without query string, placeholders still in it.
    pub path: &'a str,
    /// The action that asks.
    pub action: &'a str,
    /// Where the placeholder is.
    pub location: &'a Location,
}

/// The first limit that an attempt breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No host pattern covers the host.
    Host,
    /// The host is allowed, but not with this scheme.
    Scheme,
    /// The host is allowed, but not on this port.
    Port,
    /// The method is not among the allowed ones.
    Method,
    /// The path is below none of the allowed ones.
    Path,
    /// There is a path rule, and servers read this path differently.
    AmbiguousPath,
    /// A value is not allowed at this location.
    Location,
    /// The action is not among the allowed ones.
    Action,
}

impl Denial {
    /// How to fix it, for the problem document.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Host => {
                "This credential is not allowed for this host. Its owner can allow it with `egret credential allow SLUG --add --host HOST`."
            }
            Self::Scheme => {
                "This credential is allowed for this host, but not with this scheme. Use https, or let its owner allow plain HTTP with `egret credential allow SLUG --add --host http://HOST`."
            }
            Self::Port => {
                "This credential is allowed for this host, but not on this port. Its owner can allow it with `egret credential allow SLUG --add --host HOST:PORT`."
            }
            Self::Method => {
                "This credential is not allowed for this method. Its owner can allow it with `egret credential allow SLUG --add --method METHOD`."
            }
            Self::Path => {
                "This credential is not allowed for this path. Its owner can allow it with `egret credential allow SLUG --add --path PREFIX`."
            }
            Self::AmbiguousPath => {
                "This credential is limited to some paths (`egret credential allow SLUG --add --path PREFIX`), and servers read this path differently. Send it without encoded dots, slashes or backslashes."
            }
            Self::Location => {
                "This credential is not allowed at this place of a request. Its owner can allow it with `egret credential allow SLUG --add --in LOCATION`."
            }
            Self::Action => {
                "This credential is not allowed for this action. Its owner can allow it with `egret credential allow SLUG --add --action ACTION`."
            }
        }
    }
}

impl Denial {
    /// Why a share does not permit it, for the problem document.
    pub fn shared_detail(self) -> &'static str {
        match self {
            Self::Host | Self::Scheme | Self::Port => {
                "This credential is shared with you for other hosts only. Its owner can widen the share with `egret credential share`."
            }
            Self::Method => {
                "This credential is shared with you for other methods only. Its owner can widen the share with `egret credential share`."
            }
            Self::Path => {
                "This credential is shared with you for other paths only. Its owner can widen the share with `egret credential share`."
            }
            Self::AmbiguousPath => {
                "This credential is shared with you for some paths only, and servers read this path differently. Send it without encoded dots, slashes or backslashes."
            }
            Self::Location => {
                "This credential is shared with you for other places of a request only. Its owner can widen the share with `egret credential share`."
            }
            Self::Action => {
                "This credential is shared with you for other actions only. Its owner can widen the share with `egret credential share`."
            }
        }
    }
}

/// Compares an attempt with a grant. The answer names the first limit that the attempt exceeds, the
/// most informative first.
pub fn decide(grant: &Grant, attempt: &Attempt<'_>) -> Result<(), Denial> {
    check_host(&grant.hosts, attempt.destination)?;
    if !is_any_or_contains(&grant.methods, attempt.method) {
        return Err(Denial::Method);
    }
    check_path(&grant.paths, attempt.path)?;
    if !grant
        .locations
        .iter()
        .any(|rule| rule.allows(attempt.location))
    {
        return Err(Denial::Location);
    }
    if !is_any_or_contains(&grant.actions, attempt.action) {
        return Err(Denial::Action);
    }
    Ok(())
}

/// Compares an attempt with the limits of a share, of which an empty one permits everything. The
/// owner's limits have to permit the attempt as well.
pub fn decide_share(limits: &ShareLimits, attempt: &Attempt<'_>) -> Result<(), Denial> {
    if !limits.hosts.is_empty() {
        check_host(&limits.hosts, attempt.destination)?;
    }
    if !is_any_or_contains(&limits.methods, attempt.method) {
        return Err(Denial::Method);
    }
    check_path(&limits.paths, attempt.path)?;
    let mut places = limits.locations.iter();
    if !limits.locations.is_empty() && !places.any(|rule| rule.allows(attempt.location)) {
        return Err(Denial::Location);
    }
    if !is_any_or_contains(&limits.actions, attempt.action) {
        return Err(Denial::Action);
    }
    Ok(())
}

fn check_host(hosts: &[HostPattern], destination: &Destination) -> Result<(), Denial> {
    // `HostMismatch` is ordered: the pattern that came closest explains the denial.
    let mut closest = HostMismatch::Host;
    for pattern in hosts {
        match pattern.compare(destination) {
            Ok(()) => return Ok(()),
            Err(mismatch) => closest = closest.max(mismatch),
        }
    }
    Err(match closest {
        HostMismatch::Host => Denial::Host,
        HostMismatch::Scheme => Denial::Scheme,
        HostMismatch::Port => Denial::Port,
    })
}

/// Whether a path is at or below one of `prefixes`, of which none is no limit.
pub(super) fn check_path(prefixes: &[PathPrefix], path: &str) -> Result<(), Denial> {
    if prefixes.is_empty() {
        return Ok(());
    }
    let path = ReadPath::read(path).map_err(|unclear| match unclear {
        Unclear::NotAbsolute => Denial::Path,
        Unclear::Ambiguous => Denial::AmbiguousPath,
    })?;
    let mut denial = Denial::Path;
    for prefix in prefixes {
        match prefix.coverage(&path) {
            Coverage::Covered => return Ok(()),
            Coverage::Ambiguous => denial = Denial::AmbiguousPath,
            Coverage::Outside => {}
        }
    }
    Err(denial)
}

fn is_any_or_contains(allowed: &[String], value: &str) -> bool {
    allowed.is_empty() || allowed.iter().any(|name| name == "*" || name == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::destination::Scheme;
    use crate::policy::location::BodyField;
    use crate::policy::use_limits::UseLimits;

    fn grant() -> Grant {
        Grant {
            hosts: vec![
                "api.github.com".parse().unwrap(),
                "http://plain.example:8080".parse().unwrap(),
            ],
            locations: vec!["header".parse().unwrap(), "body:/token".parse().unwrap()],
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            paths: vec!["/repos".parse().unwrap(), "/user".parse().unwrap()],
            actions: vec!["weekly-report".to_owned()],
            expires: None,
            uses: UseLimits::default(),
        }
    }

    struct Request {
        scheme: Scheme,
        authority: &'static str,
        method: &'static str,
        path: &'static str,
        action: &'static str,
        location: Location,
    }

    impl Default for Request {
        fn default() -> Self {
            Self {
                scheme: Scheme::Https,
                authority: "api.github.com",
                method: "GET",
                path: "/repos/a",
                action: "weekly-report",
                location: Location::Header("authorization".into()),
            }
        }
    }

    fn judge(grant: &Grant, request: &Request) -> Result<(), Denial> {
        let destination = Destination::from_authority(request.scheme, request.authority).unwrap();
        decide(
            grant,
            &Attempt {
                destination: &destination,
                method: request.method,
                path: request.path,
                action: request.action,
                location: &request.location,
            },
        )
    }

    #[test]
    fn a_request_within_all_limits_is_allowed() {
        assert_eq!(judge(&grant(), &Request::default()), Ok(()));
    }

    #[test]
    fn each_limit_is_enforced_and_named() {
        type Case = (fn(&mut Request), Denial);
        let cases: &[Case] = &[
            (|r| r.authority = "evil.example", Denial::Host),
            (|r| r.scheme = Scheme::Http, Denial::Scheme),
            (|r| r.authority = "api.github.com:8443", Denial::Port),
            (|r| r.authority = "plain.example:8080", Denial::Scheme),
            (
                |r| {
                    r.scheme = Scheme::Http;
                    r.authority = "plain.example";
                },
                Denial::Port,
            ),
            (|r| r.method = "DELETE", Denial::Method),
            (|r| r.method = "get", Denial::Method),
            (|r| r.path = "/orgs", Denial::Path),
            (|r| r.path = "/repositories", Denial::Path),
            (|r| r.path = "/repos/../orgs", Denial::Path),
            (|r| r.path = "*", Denial::Path),
            (|r| r.path = "/repos/%2e%2e/orgs", Denial::AmbiguousPath),
            (|r| r.path = "/repos/%252e%252e/orgs", Denial::AmbiguousPath),
            (|r| r.path = "/repos%2Fa", Denial::AmbiguousPath),
            (|r| r.path = "/repos\\a", Denial::AmbiguousPath),
            (|r| r.location = Location::Path, Denial::Location),
            (
                |r| r.location = Location::Body(BodyField::Whole),
                Denial::Location,
            ),
            (
                |r| r.location = Location::Header("cookie".into()),
                Denial::Location,
            ),
            (|r| r.action = "other", Denial::Action),
        ];
        for (change, denial) in cases {
            let mut request = Request::default();
            change(&mut request);
            let judged = judge(&grant(), &request);
            assert_eq!(judged, Err(*denial), "{denial:?} {}", request.path);
        }
    }

    #[test]
    fn one_of_several_path_rules_is_enough() {
        for path in ["/user", "/user/keys", "/repos/a%2Fb", "/orgs/../user"] {
            let request = Request {
                path,
                ..Request::default()
            };
            assert_eq!(judge(&grant(), &request), Ok(()), "{path}");
        }
    }

    #[test]
    fn without_a_path_rule_no_path_is_ambiguous() {
        let mut grant = grant();
        grant.paths.clear();
        for path in ["/a/%2e%2e/b", "/a\\b", "*", "/%"] {
            let request = Request {
                path,
                ..Request::default()
            };
            assert_eq!(judge(&grant, &request), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_star_or_an_empty_list_is_any_method_and_any_action() {
        let request = Request {
            method: "PURGE",
            action: "x",
            ..Request::default()
        };
        for any in [Vec::new(), vec!["*".to_owned()]] {
            let grant = Grant {
                methods: any.clone(),
                actions: any,
                ..grant()
            };
            assert_eq!(judge(&grant, &request), Ok(()));
        }
    }

    #[test]
    fn a_grant_without_hosts_or_places_allows_nothing() {
        let no_hosts = Grant {
            hosts: Vec::new(),
            ..grant()
        };
        assert_eq!(judge(&no_hosts, &Request::default()), Err(Denial::Host));
        let no_places = Grant {
            locations: Vec::new(),
            ..grant()
        };
        assert_eq!(
            judge(&no_places, &Request::default()),
            Err(Denial::Location)
        );
    }

    #[test]
    fn every_denial_names_the_flag_that_mends_it() {
        let flags = [
            (Denial::Host, "--host"),
            (Denial::Scheme, "--host http://"),
            (Denial::Port, "--host HOST:PORT"),
            (Denial::Method, "--method"),
            (Denial::Path, "--path"),
            (Denial::AmbiguousPath, "--path"),
            (Denial::Location, "--in"),
            (Denial::Action, "--action"),
        ];
        for (denial, flag) in flags {
            assert!(denial.detail().contains(flag), "{denial:?}");
        }
    }
}
