//! What the owner of a credential allows: hosts, places, methods, paths, actions, an expiry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::destination::{self, Destination, Host, InvalidAuthority, Scheme};
use super::location::{LocationRule, is_token_byte};
use super::serde_text::serde_as_string;
use super::use_limits::UseLimits;

pub use super::path::{InvalidPathPrefix, PathPrefix};

/// The limits of one credential. A request must satisfy all of them.
///
/// Unknown members are refused when it is read back: a limit that a newer Egret stored must not be
/// dropped by an older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Where the value may go. Empty allows nothing.
    pub hosts: Vec<HostPattern>,
    /// Where in a request it may be written. Empty allows nothing.
    pub locations: Vec<LocationRule>,
    /// Upper-case methods, as [`parse_method`] gives them. Empty or `*` is any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Empty is any.
    #[serde(default)]
    pub paths: Vec<PathPrefix>,
    /// Names of actions, as [`parse_action`] gives them. Empty or `*` is any.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Seconds since 1970-01-01T00:00:00Z from which on the credential counts as absent.
    #[serde(default)]
    pub expires: Option<i64>,
    /// How often it may be used.
    #[serde(default, skip_serializing_if = "UseLimits::is_empty")]
    pub uses: UseLimits,
}

impl Grant {
    /// The default grant: these hosts, in headers, with no further limit.
    pub fn for_hosts(hosts: Vec<HostPattern>) -> Self {
        Self {
            hosts,
            locations: vec![LocationRule::Header(None)],
            methods: Vec::new(),
            paths: Vec::new(),
            actions: Vec::new(),
            expires: None,
            uses: UseLimits::default(),
        }
    }

    /// Whether it refuses something that `before` allowed. Also says so of some that only look narrower.
    pub fn takes_away_from(&self, before: &Self) -> bool {
        let is_any = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
        !has_all(&self.hosts, &before.hosts)
            || !has_all(&self.locations, &before.locations)
            || limits(&self.methods, &before.methods, is_any)
            || limits(&self.actions, &before.actions, is_any)
            || limits(&self.paths, &before.paths, <[_]>::is_empty)
            || self.expires.unwrap_or(i64::MAX) < before.expires.unwrap_or(i64::MAX)
            || self.uses != before.uses && !self.uses.is_empty()
    }

    /// Whether the expiry has come, `now` in seconds since 1970-01-01T00:00:00Z. This is not part
    /// of [`super::decide::decide`]: an expired credential is "not found", like an unknown one.
    pub fn expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| now >= at)
    }
}

fn has_all<T: PartialEq>(those: &[T], of: &[T]) -> bool {
    of.iter().all(|one| those.contains(one))
}

/// Whether a list allows less than one before, where some lists mean any.
fn limits<T: PartialEq>(after: &[T], before: &[T], is_any: impl Fn(&[T]) -> bool) -> bool {
    !is_any(after) && (is_any(before) || !has_all(after, before))
}

/// Why a text is not a method or an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrantName {
    /// Not a token of RFC 9110 section 5.6.2.
    #[error("a method is a name such as `GET`, or `*` for any")]
    Method,
    /// A `*` inside a name, which would be compared as it is.
    #[error("`*` by itself means any; inside a name it has no meaning")]
    Wildcard,
    /// Not 1 to 128 printable ASCII characters.
    #[error("an action is 1 to 128 printable ASCII characters, or `*` for any")]
    Action,
}

/// A prefix of paths for [`Grant::paths`], as people enter it: one that looks like a pattern would
/// never match, and is refused here. (A stored one is read by `FromStr`.)
pub fn parse_path(text: &str) -> Result<PathPrefix, InvalidGrantPath> {
    if text.contains('*') {
        return Err(InvalidGrantPath::Wildcard);
    }
    Ok(text.parse()?)
}

/// Why a text is not a limit on paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrantPath {
    /// A `*`, which paths do not understand.
    #[error("a path is a prefix and has no wildcards: `/repos` covers all that is below it")]
    Wildcard,
    /// No path rule.
    #[error(transparent)]
    Prefix(#[from] InvalidPathPrefix),
}

/// A method for [`Grant::methods`]: upper-cased here once, compared byte for byte later, because
/// methods are case-sensitive (RFC 9110 section 9.1).
pub fn parse_method(text: &str) -> Result<String, InvalidGrantName> {
    if text.is_empty() || !text.bytes().all(is_token_byte) {
        return Err(InvalidGrantName::Method);
    }
    if text.contains('*') && text != "*" {
        return Err(InvalidGrantName::Wildcard);
    }
    Ok(text.to_ascii_uppercase())
}

/// An action for [`Grant::actions`].
pub fn parse_action(text: &str) -> Result<String, InvalidGrantName> {
    let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_printable) {
        return Err(InvalidGrantName::Action);
    }
    if text.contains('*') && text != "*" {
        return Err(InvalidGrantName::Wildcard);
    }
    Ok(text.to_owned())
}

/// The hosts that a grant opens: `api.github.com`, `*.example.com` for exactly one more label,
/// either with `:PORT`; `http://` in front for plain HTTP.
///
/// Without a scheme it is `https`, so that no secret travels in the clear unless its owner wrote
/// `http://`. Without a port it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    scheme: Scheme,
    host: HostRule,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum HostRule {
    Exact(Host),
    /// One label before this domain.
    OneLabelBefore(Arc<str>),
}

/// Which part of a pattern a destination fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostMismatch {
    /// The host itself.
    Host,
    /// The host fits, the scheme does not.
    Scheme,
    /// Host and scheme fit, the port does not.
    Port,
}

impl HostPattern {
    /// The pattern that covers this destination and nothing else.
    pub fn of(destination: &Destination) -> Self {
        Self {
            scheme: destination.scheme,
            host: HostRule::Exact(destination.host.clone()),
            port: destination.port,
        }
    }

    /// Whether the pattern covers this destination.
    pub fn matches(&self, destination: &Destination) -> bool {
        self.compare(destination).is_ok()
    }

    /// Whether it covers more than one host.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host, HostRule::OneLabelBefore(_))
    }

    /// The one host that it names, or else the domain before which it allows one label.
    pub(super) fn named(&self) -> Result<&Host, &Arc<str>> {
        match &self.host {
            HostRule::Exact(host) => Ok(host),
            HostRule::OneLabelBefore(domain) => Err(domain),
        }
    }

    /// Whether every destination that `other` covers is covered by this pattern.
    pub fn includes(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (_, HostRule::Exact(host)) => self.host.covers(host),
            (HostRule::OneLabelBefore(own), HostRule::OneLabelBefore(domain)) => own == domain,
            (HostRule::Exact(_), HostRule::OneLabelBefore(_)) => false,
        };
        host && self.scheme == other.scheme && self.port == other.port
    }

    pub(super) fn compare(&self, destination: &Destination) -> Result<(), HostMismatch> {
        if !self.host.covers(&destination.host) {
            Err(HostMismatch::Host)
        } else if self.scheme != destination.scheme {
            Err(HostMismatch::Scheme)
        } else if self.port != destination.port {
            Err(HostMismatch::Port)
        } else {
            Ok(())
        }
    }
}

impl HostRule {
    fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(allowed), host) => allowed == host,
            (Self::OneLabelBefore(domain), Host::Domain(name)) => name
                .strip_suffix(&**domain)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            _ => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Http {
            f.write_str("http://")?;
        }
        match &self.host {
            HostRule::Exact(host) => write!(f, "{host}")?,
            HostRule::OneLabelBefore(domain) => write!(f, "*.{domain}")?,
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Why a text is not a host pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostPattern {
    /// A scheme that is neither of the two.
    #[error("only `https://` and `http://` are allowed before the host")]
    Scheme,
    /// Something after the host and port.
    #[error("a host ends after its name and port; a path is a limit of its own")]
    Path,
    /// A `*` that is not the whole first label of a longer domain.
    #[error(
        "`*` is allowed only as the first label, before a domain of two labels or more: `*.example.com`"
    )]
    Wildcard,
    /// An international name without an ASCII form.
    #[error("the international name has no valid ASCII form")]
    International,
    /// The host or port itself.
    #[error(transparent)]
    Authority(#[from] InvalidAuthority),
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, InvalidHostPattern> {
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Https, text),
            Some((name, rest)) if name.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((name, rest)) if name.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some(_) => return Err(InvalidHostPattern::Scheme),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(InvalidHostPattern::Path);
        }
        if rest.contains('@') {
            return Err(InvalidAuthority::UserInfo.into());
        }
        // A bare IPv6 address has no port: `::1` is a host, `[::1]:8443` both.
        let (host, port) = match rest.parse() {
            Ok(address) => (HostRule::Exact(Host::Ipv6(address)), None),
            Err(_) => {
                let (host, port) = destination::split_port(rest);
                (parse_host_rule(host)?, port)
            }
        };
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => destination::parse_port(digits)?,
        };
        Ok(Self { scheme, host, port })
    }
}

serde_as_string!(HostPattern);

fn parse_host_rule(text: &str) -> Result<HostRule, InvalidHostPattern> {
    match text.strip_prefix("*.") {
        None if text.contains('*') => Err(InvalidHostPattern::Wildcard),
        None => Ok(HostRule::Exact(parse_host(text)?)),
        Some(rest) => match parse_host(rest) {
            // `*.com` would give the secret to anyone who registers a name.
            Ok(Host::Domain(domain)) if domain.contains('.') => {
                Ok(HostRule::OneLabelBefore(domain))
            }
            Ok(_) => Err(InvalidHostPattern::Wildcard),
            Err(_) if rest.contains('*') => Err(InvalidHostPattern::Wildcard),
            Err(error) => Err(error),
        },
    }
}

/// People write international names as they read them; requests carry the ASCII form.
fn parse_host(text: &str) -> Result<Host, InvalidHostPattern> {
    if text.is_ascii() {
        return Ok(Host::parse(text)?);
    }
    let ascii = idna::domain_to_ascii(text).map_err(|_| InvalidHostPattern::International)?;
    Ok(Host::parse(&ascii)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    fn https(authority: &str) -> Destination {
        Destination::from_authority(Scheme::Https, authority).unwrap()
    }

    fn http(authority: &str) -> Destination {
        Destination::from_authority(Scheme::Http, authority).unwrap()
    }

    #[test]
    fn a_bare_host_is_https_on_443_alone() {
        let rule = pattern("api.github.com");
        assert!(rule.matches(&https("api.github.com")));
        assert!(rule.matches(&https("API.github.com.:443")));
        assert!(!rule.matches(&https("api.github.com:8443")));
        assert!(!rule.matches(&http("api.github.com")));
        assert!(!rule.matches(&http("api.github.com:443")));
        assert!(!rule.matches(&https("xapi.github.com")));
        assert!(!rule.matches(&https("api.github.com.evil.example")));
        assert_eq!(rule, pattern("https://API.GitHub.com.:443"));
    }

    #[test]
    fn a_port_replaces_the_default_and_http_must_be_written() {
        assert!(pattern("a.example:8443").matches(&https("a.example:8443")));
        assert!(!pattern("a.example:8443").matches(&https("a.example")));
        assert!(pattern("a.example:80").matches(&https("a.example:80")));
        assert!(!pattern("a.example:80").matches(&http("a.example")));
        assert!(pattern("http://a.example").matches(&http("a.example")));
        assert!(!pattern("http://a.example").matches(&https("a.example")));
        assert!(!pattern("http://a.example").matches(&http("a.example:8080")));
        assert!(pattern("HTTP://a.example:8080").matches(&http("a.example:8080")));
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let rule = pattern("*.Example.com");
        assert!(rule.matches(&https("a.example.com")));
        assert!(!rule.matches(&https("example.com")));
        assert!(!rule.matches(&https("a.b.example.com")));
        assert!(!rule.matches(&https("aexample.com")));
        assert!(!rule.matches(&https("a.example.com:8443")));
        assert!(pattern("*.example.com:8443").matches(&https("a.example.com:8443")));
    }

    #[test]
    fn addresses_match_as_written() {
        assert!(pattern("127.0.0.1:8443").matches(&https("127.0.0.1:8443")));
        assert!(pattern("[::1]:8443").matches(&https("[0:0::1]:8443")));
        assert!(pattern("::1").matches(&https("[::1]")));
        assert!(!pattern("127.0.0.1").matches(&https("[::ffff:127.0.0.1]")));
    }

    #[test]
    fn international_names_match_their_ascii_form() {
        assert_eq!(
            pattern("Bücher.example").to_string(),
            "xn--bcher-kva.example"
        );
        assert!(pattern("*.bücher.example").matches(&https("a.xn--bcher-kva.example")));
        assert!("xn--\u{80}.example".parse::<HostPattern>().is_err());
    }

    #[test]
    fn malformed_host_patterns_are_refused() {
        use InvalidHostPattern as E;
        let cases = [
            ("ftp://a.example", E::Scheme),
            ("https://a.example/", E::Path),
            ("a.example/v1", E::Path),
            ("a.example?x", E::Path),
            ("*", E::Wildcard),
            ("*.com", E::Wildcard),
            ("*.*.example.com", E::Wildcard),
            ("a.*.com", E::Wildcard),
            ("a*.example.com", E::Wildcard),
            ("*.10.0.0.1", E::Wildcard),
            ("u:p@a.example", E::Authority(InvalidAuthority::UserInfo)),
            ("", E::Authority(InvalidAuthority::EmptyHost)),
            ("a.example:", E::Authority(InvalidAuthority::InvalidPort)),
            ("a.example:0", E::Authority(InvalidAuthority::InvalidPort)),
            ("a b", E::Authority(InvalidAuthority::InvalidCharacter)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<HostPattern>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn methods_and_actions_are_checked_when_they_are_entered() {
        assert_eq!(parse_method("get").unwrap(), "GET");
        assert_eq!(parse_method("*").unwrap(), "*");
        assert_eq!(parse_method("GET,POST"), Err(InvalidGrantName::Method));
        assert_eq!(parse_method(""), Err(InvalidGrantName::Method));
        assert_eq!(parse_action("weekly report").unwrap(), "weekly report");
        assert_eq!(parse_action("a\nb"), Err(InvalidGrantName::Action));
        assert_eq!(parse_action("*").unwrap(), "*");
        assert_eq!(parse_action("lab-*"), Err(InvalidGrantName::Wildcard));
        assert_eq!(parse_method("GE*"), Err(InvalidGrantName::Wildcard));
        assert_eq!(parse_path("/repos/*"), Err(InvalidGrantPath::Wildcard));
        assert_eq!(parse_path("/repos").unwrap().to_string(), "/repos");
        assert!(parse_path("repos").is_err());
        assert_eq!(
            parse_action(&"a".repeat(129)),
            Err(InvalidGrantName::Action)
        );
    }

    #[test]
    fn grants_are_stored_as_text_and_unknown_limits_are_refused() {
        let mut grant = Grant::for_hosts(vec![pattern("api.github.com")]);
        grant.paths.push("/repos".parse().unwrap());
        grant.expires = Some(1_800_000_000);
        let stored = serde_json::to_string(&grant).unwrap();
        assert_eq!(
            stored,
            r#"{"hosts":["api.github.com"],"locations":["header"],"methods":[],"paths":["/repos"],"actions":[],"expires":1800000000}"#
        );
        assert_eq!(serde_json::from_str::<Grant>(&stored).unwrap(), grant);
        let from_the_future = stored.replace("}", r#","weekdays":["mon"]}"#);
        assert!(serde_json::from_str::<Grant>(&from_the_future).is_err());
    }

    #[test]
    fn a_grant_expires_at_its_second() {
        let mut grant = Grant::for_hosts(Vec::new());
        assert!(!grant.expired(i64::MAX));
        grant.expires = Some(100);
        assert!(!grant.expired(99));
        assert!(grant.expired(100));
    }

    proptest! {
        #[test]
        fn host_patterns_survive_writing_and_reading(
            text in "(https?://)?(\\*\\.)?([a-z0-9-]{1,8}\\.){1,3}[a-z]{2,5}(:[1-9][0-9]{0,3})?",
        ) {
            let rule = pattern(&text);
            prop_assert_eq!(pattern(&rule.to_string()), rule);
        }

        #[test]
        fn nothing_outside_the_domain_matches_a_wildcard(name in "[a-c.]{1,12}\\.example") {
            let rule = pattern("*.a.example");
            if let Ok(destination) = Destination::from_authority(Scheme::Https, &name) {
                let labels: Vec<&str> = name.split('.').collect();
                let expected = labels.len() == 3 && labels[1..] == ["a", "example"];
                prop_assert_eq!(rule.matches(&destination), expected);
            }
        }
    }
}
