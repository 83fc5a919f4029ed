//! The destination of a request, normalised once.
//!
//! CONNECT authority, TLS server name and inner `Host` are all parsed into a [`Destination`] and
//! compared as such; policy, DNS, certificate check and the forwarded `Host` then use that same
//! value. A name that could be read in two ways (percent-encoding, user information, `127.1`,
//! `0x7f000001`) is refused here, so that no later step reads it differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The scheme of the upstream call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = [Self::Https, Self::Http].into_iter();
        all.find(|scheme| scheme.as_str() == name)
    }

    /// The scheme as a URL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an authority is not one that Egret calls. The messages do not repeat the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthority {
    /// No host at all.
    #[error("the host is empty")]
    EmptyHost,
    /// `user:password@host`.
    #[error("user information before the host is not accepted")]
    UserInfo,
    /// A byte that no host name has.
    #[error(
        "the host holds a character that is not a letter, digit, `-`, `_` or `.`; write international names in their `xn--` form"
    )]
    InvalidCharacter,
    /// An empty label, one above 63 bytes, or a name above 253 bytes.
    #[error("a label of the host is empty or longer than 63 bytes, or the name is longer than 253")]
    InvalidLength,
    /// A name that ends in a number but is no dotted-quad IPv4 address.
    #[error("a host that ends in a number must be an IPv4 address in dotted decimal form")]
    InvalidIpv4,
    /// Brackets around something else than an IPv6 address, or a zone identifier.
    #[error("brackets must hold an IPv6 address without a zone")]
    InvalidIpv6,
    /// A port that is not 1 to 65535 in plain decimal.
    #[error("the port must be a number from 1 to 65535")]
    InvalidPort,
}

/// A host: a DNS name or an address literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// Lower-case ASCII without a trailing dot.
    Domain(Arc<str>),
    /// An IPv4 literal.
    Ipv4(Ipv4Addr),
    /// An IPv6 literal. An IPv4-mapped one stays IPv6: it is what the client wrote.
    Ipv6(Ipv6Addr),
}

impl Host {
    /// Parses a host without a port; an IPv6 literal with or without brackets.
    pub fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest
                .strip_suffix(']')
                .ok_or(InvalidAuthority::InvalidIpv6)?;
            return parse_ipv6(inner);
        }
        if text.contains(':') {
            return parse_ipv6(text);
        }
        parse_name(text)
    }

    /// The address, when the host is a literal.
    pub fn as_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Domain(_) => None,
            Self::Ipv4(address) => Some(IpAddr::V4(*address)),
            Self::Ipv6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(name) => f.write_str(name),
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "[{address}]"),
        }
    }
}

fn parse_ipv6(text: &str) -> Result<Host, InvalidAuthority> {
    text.parse()
        .map(Host::Ipv6)
        .map_err(|_| InvalidAuthority::InvalidIpv6)
}

fn parse_name(text: &str) -> Result<Host, InvalidAuthority> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(InvalidAuthority::EmptyHost);
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(is_name_byte) {
        return Err(InvalidAuthority::InvalidCharacter);
    }
    if name.len() > 253
        || name
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
    {
        return Err(InvalidAuthority::InvalidLength);
    }
    if ends_in_a_number(name) {
        return match text.parse() {
            Ok(address) => Ok(Host::Ipv4(address)),
            Err(_) => Err(InvalidAuthority::InvalidIpv4),
        };
    }
    Ok(Host::Domain(name.to_ascii_lowercase().into()))
}

/// Resolvers read `127.1`, `2130706433` and `0x7f.1` as addresses. The rule is that of the WHATWG
/// URL standard's "ends in a number checker": what ends so is an address or nothing.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(is_hex)
        || last.strip_prefix("0X").is_some_and(is_hex)
}

/// Scheme, host and port of an upstream call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// Name or address literal.
    pub host: Host,
    /// Never 0; the scheme's default when the authority named none.
    pub port: u16,
}

impl Destination {
    /// Parses `host` or `host:port` as written in a CONNECT target, an absolute-form target, a
    /// `Host` header or `:authority`. IPv6 literals need their brackets here.
    pub fn from_authority(scheme: Scheme, authority: &str) -> Result<Self, InvalidAuthority> {
        if authority.contains('@') {
            return Err(InvalidAuthority::UserInfo);
        }
        let (host, port) = split_port(authority);
        if !host.starts_with('[') && host.contains(':') {
            // `::1:443` has two readings.
            return Err(InvalidAuthority::InvalidIpv6);
        }
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => parse_port(digits)?,
        };
        Ok(Self {
            scheme,
            host: Host::parse(host)?,
            port,
        })
    }

    /// `host`, or `host:port` when the port is not the scheme's default: the value of a `Host`
    /// header.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// Splits at the colon of the port, which in `[::1]` is none of those inside the brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_brackets = match authority.rfind(']') {
        Some(end) => end + 1,
        None => 0,
    };
    match authority[after_brackets..].rfind(':') {
        Some(colon) => {
            let colon = after_brackets + colon;
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        None => (authority, None),
    }
}

/// Parses a port: plain digits only, where `str::parse` would also take `+443`.
pub(super) fn parse_port(digits: &str) -> Result<u16, InvalidAuthority> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if !is_plain {
        return Err(InvalidAuthority::InvalidPort);
    }
    digits.parse().map_err(|_| InvalidAuthority::InvalidPort)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn https(authority: &str) -> Result<Destination, InvalidAuthority> {
        Destination::from_authority(Scheme::Https, authority)
    }

    #[test]
    fn spellings_of_one_destination_are_equal() {
        let plain = https("api.github.com").unwrap();
        assert_eq!(plain.to_string(), "https://api.github.com:443");
        for same in [
            "API.GitHub.com",
            "api.github.com.",
            "api.github.com:443",
            "Api.github.com.:443",
        ] {
            assert_eq!(https(same).unwrap(), plain, "{same}");
        }
        assert_ne!(https("api.github.com:8443").unwrap(), plain);
        assert_ne!(
            Destination::from_authority(Scheme::Http, "api.github.com").unwrap(),
            plain
        );
    }

    #[test]
    fn host_header_names_the_port_only_when_it_is_not_the_default() {
        assert_eq!(https("a.example:443").unwrap().authority(), "a.example");
        assert_eq!(https("a.example:80").unwrap().authority(), "a.example:80");
        assert_eq!(https("[2001:DB8::1]").unwrap().authority(), "[2001:db8::1]");
        let http = Destination::from_authority(Scheme::Http, "10.0.0.1:443").unwrap();
        assert_eq!(http.authority(), "10.0.0.1:443");
        assert_eq!(http.to_string(), "http://10.0.0.1:443");
    }

    #[test]
    fn address_literals_are_addresses() {
        assert_eq!(
            https("127.0.0.1").unwrap().host,
            Host::Ipv4(Ipv4Addr::LOCALHOST)
        );
        let mapped = https("[::ffff:127.0.0.1]:8443").unwrap();
        assert_eq!(mapped.host, Host::Ipv6("::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(mapped.port, 8443);
        assert_eq!(Host::parse("::1"), Host::parse("[::1]"));
        assert_eq!(
            Host::parse("::1").unwrap().as_ip(),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        assert_eq!(Host::parse("localhost").unwrap().as_ip(), None);
    }

    #[test]
    fn authorities_with_two_readings_are_refused() {
        use InvalidAuthority as E;
        let cases = [
            ("", E::EmptyHost),
            (".", E::EmptyHost),
            (":443", E::EmptyHost),
            ("user@a.example", E::UserInfo),
            ("a.example@b.example:443", E::UserInfo),
            ("a%2eexample", E::InvalidCharacter),
            ("a.example%00.b.example", E::InvalidCharacter),
            ("a example", E::InvalidCharacter),
            (" a.example", E::InvalidCharacter),
            ("a.example/x", E::InvalidCharacter),
            ("a.example\\x", E::InvalidCharacter),
            ("<<gh>>.example", E::InvalidCharacter),
            ("*.example", E::InvalidCharacter),
            ("bücher.example", E::InvalidCharacter),
            ("a.example,b.example", E::InvalidCharacter),
            ("a..example", E::InvalidLength),
            (".a.example", E::InvalidLength),
            ("a.example..", E::InvalidLength),
            ("127.1", E::InvalidIpv4),
            ("2130706433", E::InvalidIpv4),
            ("0x7f000001", E::InvalidIpv4),
            ("0X7f.0.0.1", E::InvalidIpv4),
            ("127.0X1", E::InvalidIpv4),
            ("0177.0.0.1", E::InvalidIpv4),
            ("127.0.0.0x", E::InvalidIpv4),
            ("1.2.3.4.5", E::InvalidIpv4),
            ("::1", E::InvalidIpv6),
            ("::1:443", E::InvalidIpv6),
            ("a.example:443:443", E::InvalidIpv6),
            ("[::1", E::InvalidIpv6),
            ("[::1]x", E::InvalidIpv6),
            ("[fe80::1%25eth0]", E::InvalidIpv6),
            ("[127.0.0.1]", E::InvalidIpv6),
            ("[]", E::InvalidIpv6),
            ("a.example:", E::InvalidPort),
            ("a.example:0", E::InvalidPort),
            ("a.example:+443", E::InvalidPort),
            ("a.example:0443", E::InvalidPort),
            ("a.example:65536", E::InvalidPort),
            ("a.example:443 ", E::InvalidPort),
            ("a.example:https", E::InvalidPort),
        ];
        for (authority, expected) in cases {
            assert_eq!(https(authority), Err(expected), "{authority:?}");
        }
    }

    #[test]
    fn names_are_as_long_as_dns_allows() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(https(&longest).is_ok());
        assert!(https(&format!("{longest}.")).is_ok());
        assert_eq!(
            https(&format!("{longest}a")),
            Err(InvalidAuthority::InvalidLength)
        );
        assert_eq!(
            https(&format!("{label}a.example")),
            Err(InvalidAuthority::InvalidLength)
        );
        assert!(https("_acme-challenge.a-.example").is_ok());
    }

    fn any_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            "[a-zA-Z0-9_-]{1,20}(\\.[a-zA-Z0-9-]{1,10}){0,3}\\.[a-zA-Z]{2,8}\\.?"
                .prop_map(|name| Host::parse(&name).unwrap()),
            any::<Ipv4Addr>().prop_map(Host::Ipv4),
            any::<Ipv6Addr>().prop_map(Host::Ipv6),
            any::<Ipv4Addr>().prop_map(|inner| Host::Ipv6(inner.to_ipv6_mapped())),
        ]
    }

    proptest! {
        #[test]
        fn destinations_survive_writing_and_reading(
            host in any_host(),
            port in 1..=u16::MAX,
            is_https in any::<bool>(),
        ) {
            let scheme = if is_https { Scheme::Https } else { Scheme::Http };
            let destination = Destination { scheme, host, port };
            let written = destination.to_string();
            let (_, authority) = written.split_once("://").unwrap();
            prop_assert_eq!(&Destination::from_authority(scheme, authority).unwrap(), &destination);
            prop_assert_eq!(
                &Destination::from_authority(scheme, &destination.authority()).unwrap(),
                &destination
            );
        }

        #[test]
        fn whatever_is_accepted_is_in_normal_form(authority in "[a-zA-Z0-9.:@%\\[\\]<> _-]{0,24}") {
            if let Ok(destination) = https(&authority) {
                prop_assert!(destination.port != 0);
                if let Host::Domain(name) = &destination.host {
                    prop_assert!(!name.is_empty() && !name.ends_with('.'));
                    prop_assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
                    prop_assert!(name.parse::<std::net::IpAddr>().is_err());
                }
                prop_assert_eq!(https(&destination.authority()), Ok(destination));
            }
        }
    }
}
