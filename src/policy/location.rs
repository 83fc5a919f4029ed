//! Where in a request a placeholder is, and where a grant allows a credential.
//!
//! [`header_role`] is the only list of header names with a special role. Scanning, policy and the
//! code that strips headers before forwarding all use it: a second list could differ, and a value
//! would then be written into a header that policy did not check.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::serde_text::serde_as_string;

/// The longest target that the HTTP library takes, in bytes.
pub const LONGEST_TARGET: usize = 65_534;

/// The location of one placeholder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// The value of the header of this lower-case name. Shared: a request says it in several places.
    Header(Arc<str>),
    /// The value of the query parameter of this name, percent-decoded.
    Query(String),
    /// Somewhere in the path.
    Path,
    /// Somewhere in the body.
    Body(BodyField),
}

/// How precisely a location in the body is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BodyField {
    /// Only that it is in the body: plain text, or JSON that is not strictly valid.
    Whole,
    /// The field of a form, or the part of a multipart body, of this name.
    Field(String),
    /// The string at this RFC 6901 pointer of a JSON body; starts with `/`.
    Pointer(String),
}

impl Location {
    /// The kind of location, and the name after it if it has one: together its text.
    fn parts(&self) -> [&str; 2] {
        match self {
            Self::Header(name) => ["header:", name],
            Self::Query(name) => ["query:", name],
            Self::Path => ["path", ""],
            Self::Body(field) => field.parts(),
        }
    }

    /// The same as its `Display`, in one allocation: the ledger records a location for each use.
    pub fn text(&self) -> String {
        self.parts().concat()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}

impl BodyField {
    fn parts(&self) -> [&str; 2] {
        match self {
            Self::Whole => ["body", ""],
            Self::Field(name) => ["body:", name],
            Self::Pointer(pointer) => ["body:", pointer],
        }
    }
}

/// The locations that a grant allows: `header`, `header:authorization`, `query`, `query:api_key`,
/// `path`, `body`, `body:client_secret`, `body:/auth/token`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LocationRule {
    /// One header by its lower-case name; `None` is any header that need not be named
    /// ([`HeaderRole::Scanned`]).
    Header(Option<String>),
    /// One query parameter by its decoded name; `None` is any.
    Query(Option<String>),
    /// The path.
    Path,
    /// One field of the body; [`BodyField::Whole`] is anywhere in the body.
    Body(BodyField),
}

impl LocationRule {
    /// Whether a placeholder at `location` may be replaced under this rule.
    pub fn allows(&self, location: &Location) -> bool {
        match (self, location) {
            (Self::Header(None), Location::Header(name)) => {
                header_role(name) == HeaderRole::Scanned
            }
            (Self::Header(Some(allowed)), Location::Header(name)) => {
                **allowed == **name && header_role(name).may_be_named()
            }
            (Self::Query(None), Location::Query(_)) => true,
            (Self::Query(Some(allowed)), Location::Query(name)) => allowed == name,
            (Self::Path, Location::Path) => true,
            (Self::Body(BodyField::Whole), Location::Body(_)) => true,
            (Self::Body(allowed), Location::Body(field)) => allowed == field,
            _ => false,
        }
    }

    /// Whether every location that `other` allows is allowed by this rule.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(None), Self::Header(Some(name))) => {
                header_role(name) == HeaderRole::Scanned
            }
            (Self::Query(None), Self::Query(_)) => true,
            (Self::Body(BodyField::Whole), Self::Body(_)) => true,
            (own, other) => own == other,
        }
    }
}

impl fmt::Display for LocationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(None) => f.write_str("header"),
            Self::Header(Some(name)) => write!(f, "header:{name}"),
            Self::Query(None) => f.write_str("query"),
            Self::Query(Some(name)) => write!(f, "query:{name}"),
            Self::Path => f.write_str("path"),
            Self::Body(field) => field.parts().iter().try_for_each(|part| f.write_str(part)),
        }
    }
}

/// Why a text is not a location rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// The part before the colon is none of the four places.
    #[error(
        "a location is `header`, `query`, `path` or `body`, each but `path` optionally with `:NAME`"
    )]
    UnknownPlace,
    /// A colon without a usable name after it.
    #[error("the name after `{0}:` is empty or holds characters that such a name cannot have")]
    InvalidName(&'static str),
    /// The header is one that Egret never puts a value into.
    #[error("no value is ever put into the header `{0}`")]
    ForbiddenHeader(String),
    /// A body field that starts with `/` but is no JSON pointer.
    #[error("a JSON pointer writes `~` as `~0` and `/` inside a name as `~1` (RFC 6901)")]
    InvalidPointer,
}

impl FromStr for LocationRule {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        match text.split_once(':') {
            None => match text {
                "header" => Ok(Self::Header(None)),
                "query" => Ok(Self::Query(None)),
                "path" => Ok(Self::Path),
                "body" => Ok(Self::Body(BodyField::Whole)),
                _ => Err(InvalidLocation::UnknownPlace),
            },
            Some(("header", name)) => header_rule(name),
            Some(("query", "")) => Err(InvalidLocation::InvalidName("query")),
            Some(("query", name)) => Ok(Self::Query(Some(name.to_owned()))),
            Some(("body", name)) => body_rule(name),
            Some(_) => Err(InvalidLocation::UnknownPlace),
        }
    }
}

serde_as_string!(LocationRule);

fn header_rule(name: &str) -> Result<LocationRule, InvalidLocation> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(InvalidLocation::InvalidName("header"));
    }
    let name = name.to_ascii_lowercase();
    if !header_role(&name).may_be_named() {
        return Err(InvalidLocation::ForbiddenHeader(name));
    }
    Ok(LocationRule::Header(Some(name)))
}

fn body_rule(name: &str) -> Result<LocationRule, InvalidLocation> {
    if name.is_empty() {
        return Err(InvalidLocation::InvalidName("body"));
    }
    if !name.starts_with('/') {
        return Ok(LocationRule::Body(BodyField::Field(name.to_owned())));
    }
    let escapes_are_valid = name
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    if !escapes_are_valid {
        return Err(InvalidLocation::InvalidPointer);
    }
    Ok(LocationRule::Body(BodyField::Pointer(name.to_owned())))
}

/// A byte of a `token`, RFC 9110 section 5.6.2.
pub const fn is_token_byte(byte: u8) -> bool {
    let is_mark = matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    );
    byte.is_ascii_alphanumeric() || is_mark
}

/// How placeholders in a header are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRole {
    /// An ordinary header: the rule `header` covers it.
    Scanned,
    /// Scanned, but only `header:cookie` allows it: browsers repeat cookies on every request.
    Cookie,
    /// A placeholder travels literally unless the grant names this very header: clients repeat
    /// URLs in these, and a secret from a query would follow.
    LiteralUnlessNamed,
    /// Frames or routes the message; a placeholder here is `credential_not_allowed`.
    Forbidden,
    /// Ends at the next hop (RFC 9110 section 7.6.1); a placeholder here is `request_malformed`.
    HopByHop,
    /// Meant for Egret itself: removed, not scanned, before the request is forwarded.
    ProxyOwn,
}

impl HeaderRole {
    /// Whether `header:NAME` in a grant can open a header of this role.
    pub fn may_be_named(self) -> bool {
        matches!(
            self,
            Self::Scanned | Self::Cookie | Self::LiteralUnlessNamed
        )
    }
}

/// The role of a header, by its lower-case name.
pub fn header_role(lower_case_name: &str) -> HeaderRole {
    match lower_case_name {
        "cookie" => HeaderRole::Cookie,
        "referer" | "origin" | "user-agent" | "forwarded" | "via" => HeaderRole::LiteralUnlessNamed,
        "host" | "transfer-encoding" => HeaderRole::Forbidden,
        "connection"
        | "keep-alive"
        | "te"
        | "trailer"
        | "upgrade"
        | "http2-settings"
        | "proxy-authenticate"
        | "proxy-authentication-info" => HeaderRole::HopByHop,
        "proxy-authorization" | "proxy-connection" => HeaderRole::ProxyOwn,
        name if name.starts_with("egret-") => HeaderRole::ProxyOwn,
        name if name.starts_with("content-") => HeaderRole::Forbidden,
        name if name.starts_with("x-forwarded-") => HeaderRole::LiteralUnlessNamed,
        _ => HeaderRole::Scanned,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> LocationRule {
        text.parse().unwrap()
    }

    fn header(name: &str) -> Location {
        Location::Header(name.into())
    }

    #[test]
    fn locations_are_written_as_in_the_reference() {
        let cases = [
            (header("authorization"), "header:authorization"),
            (Location::Query("api_key".to_owned()), "query:api_key"),
            (Location::Path, "path"),
            (Location::Body(BodyField::Whole), "body"),
            (
                Location::Body(BodyField::Field("client_secret".to_owned())),
                "body:client_secret",
            ),
            (
                Location::Body(BodyField::Pointer("/auth/token".to_owned())),
                "body:/auth/token",
            ),
        ];
        for (location, text) in cases {
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn header_rule_does_not_reach_cookies_or_headers_that_repeat_urls() {
        assert!(rule("header").allows(&header("authorization")));
        assert!(rule("header").allows(&header("x-api-key")));
        for name in [
            "cookie",
            "referer",
            "origin",
            "user-agent",
            "forwarded",
            "via",
        ] {
            assert!(!rule("header").allows(&header(name)), "{name}");
            assert!(
                rule(&format!("header:{name}")).allows(&header(name)),
                "{name}"
            );
        }
        assert!(!rule("header").allows(&header("x-forwarded-for")));
        assert!(rule("header:X-Forwarded-For").allows(&header("x-forwarded-for")));
    }

    #[test]
    fn headers_that_frame_or_route_are_never_a_place() {
        for name in [
            "host",
            "content-length",
            "Content-Type",
            "transfer-encoding",
            "te",
        ] {
            let error = format!("header:{name}")
                .parse::<LocationRule>()
                .unwrap_err();
            assert_eq!(
                error,
                InvalidLocation::ForbiddenHeader(name.to_ascii_lowercase())
            );
        }
        for name in [
            "host",
            "content-type",
            "connection",
            "proxy-authorization",
            "egret-run",
        ] {
            assert!(!rule("header").allows(&header(name)), "{name}");
            // Not even if a rule for it came into being some other way.
            assert!(
                !LocationRule::Header(Some(name.to_owned())).allows(&header(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn narrow_rules_allow_only_their_own_place() {
        let auth = header("authorization");
        assert!(rule("header:Authorization").allows(&auth));
        assert!(!rule("header:x-api-key").allows(&auth));
        assert!(rule("query").allows(&Location::Query("k".to_owned())));
        assert!(rule("query:a:b").allows(&Location::Query("a:b".to_owned())));
        assert!(!rule("query:k").allows(&Location::Query("K".to_owned())));
        assert!(!rule("path").allows(&auth));

        let field = Location::Body(BodyField::Field("token".to_owned()));
        let pointer = Location::Body(BodyField::Pointer("/token".to_owned()));
        let whole = Location::Body(BodyField::Whole);
        for place in [&field, &pointer, &whole] {
            assert!(rule("body").allows(place));
        }
        assert!(rule("body:token").allows(&field));
        assert!(!rule("body:token").allows(&pointer));
        assert!(rule("body:/token").allows(&pointer));
        assert!(!rule("body:/token").allows(&field));
        assert!(!rule("body:/token").allows(&whole));
    }

    #[test]
    fn malformed_rules_are_refused() {
        for text in ["", "Header", "cookie", "path:x", "host:x", "headers"] {
            assert_eq!(
                text.parse::<LocationRule>(),
                Err(InvalidLocation::UnknownPlace),
                "{text}"
            );
        }
        for text in ["header:", "header:a b", "header:é", "query:", "body:"] {
            assert!(
                matches!(
                    text.parse::<LocationRule>(),
                    Err(InvalidLocation::InvalidName(_))
                ),
                "{text}"
            );
        }
        for text in ["body:/a~", "body:/a~2b", "body:/~~0"] {
            assert_eq!(
                text.parse::<LocationRule>(),
                Err(InvalidLocation::InvalidPointer)
            );
        }
        assert!("body:/a~1b/~0".parse::<LocationRule>().is_ok());
    }

    #[test]
    fn serde_uses_the_written_form() {
        let rules: Vec<LocationRule> =
            serde_json::from_str(r#"["header:Cookie","body:/a"]"#).unwrap();
        assert_eq!(
            serde_json::to_string(&rules).unwrap(),
            r#"["header:cookie","body:/a"]"#
        );
        assert!(serde_json::from_str::<LocationRule>(r#""body:""#).is_err());
    }

    proptest! {
        #[test]
        fn rules_survive_writing_and_reading(text in "(header|query|path|body)(:/?[ -~]{0,12})?") {
            if let Ok(rule) = text.parse::<LocationRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }

        #[test]
        fn a_rule_written_like_a_location_allows_that_location(name in "[a-z][a-z_]{0,12}") {
            let locations = [
                Location::Query(name.clone()),
                Location::Body(BodyField::Field(name.clone())),
                Location::Body(BodyField::Pointer(format!("/{name}"))),
            ];
            for location in locations {
                prop_assert!(rule(&location.to_string()).allows(&location));
            }
        }
    }
}
