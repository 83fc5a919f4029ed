//! `upstream.proxy`: the proxy that every connection goes through.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::destination::{Destination, Host, Scheme};
use crate::substitution::slug::Slug;
use crate::vault::Principal;

/// `upstream.proxy`, `upstream.proxy_credential` and `upstream.no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentProxy {
    /// How it is spoken to.
    pub protocol: ParentProtocol,
    /// Where it is. The scheme says whether it is spoken to inside TLS.
    pub place: Destination,
    /// The credential that it is shown, by owner and slug.
    pub credential: Option<(Principal, Slug)>,
    /// What is reached without it.
    pub exceptions: Vec<Exception>,
}

/// What is spoken with a parent proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentProtocol {
    /// CONNECT (RFC 9110 section 9.3.6).
    Http,
    /// SOCKS5 (RFC 1928). The proxy resolves names.
    Socks,
}

/// An entry of `upstream.no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// This name.
    Name(Arc<str>),
    /// Every name that ends so, with the dot before it.
    Below(String),
    /// Hosts that are addresses in this network. Names are not looked up for it.
    Network(IpNet),
}

impl ParentProxy {
    /// Whether `host` is reached without the proxy.
    pub fn is_exempt(&self, host: &Host) -> bool {
        self.exceptions
            .iter()
            .any(|exception| exception.covers(host))
    }
}

impl Exception {
    fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(name), Host::Domain(host)) => name == host,
            (Self::Below(suffix), Host::Domain(host)) => host.ends_with(suffix.as_str()),
            (Self::Network(network), host) => host
                .as_ip()
                .is_some_and(|address| network.contains(&address.to_canonical())),
            _ => false,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        let below = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
        match Host::parse(below.unwrap_or(text)).ok()? {
            Host::Domain(name) if below.is_some() => Some(Self::Below(format!(".{name}"))),
            Host::Domain(name) => Some(Self::Name(name)),
            _ => None,
        }
    }
}

/// The text is not repeated in a message: people write passwords into such addresses.
pub(super) fn parse_url(text: &str) -> Result<(ParentProtocol, Destination), &'static str> {
    const EXPECTED: &str = "expected \"http://HOST:PORT\", \"https://HOST:PORT\", \
         \"socks5h://HOST:PORT\", or \"none\"";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let (protocol, scheme) = match scheme {
        "http" => (ParentProtocol::Http, Scheme::Http),
        "https" => (ParentProtocol::Http, Scheme::Https),
        "socks5h" => (ParentProtocol::Socks, Scheme::Http),
        "socks5" | "socks" | "socks4" | "socks4a" => {
            return Err("only SOCKS5 that resolves names at the proxy is spoken: \"socks5h://…\"");
        }
        _ => return Err(EXPECTED),
    };
    if rest.contains('@') {
        return Err(
            "an address of a proxy has no login in it: save the login with `egret \
                    credential add`, and name its slug in upstream.proxy_credential",
        );
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let place = Destination::from_authority(scheme, authority).map_err(|_| EXPECTED)?;
    // Which port is meant without one differs from program to program.
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    if port.is_none_or(|port| port.parse() != Ok(place.port)) {
        return Err("name the port of the proxy, such as \"http://proxy.example.com:3128\"");
    }
    Ok((protocol, place))
}

pub(super) fn parse_credential(
    text: &str,
    principal: &Principal,
) -> Result<Option<(Principal, Slug)>, String> {
    if text == "none" {
        return Ok(None);
    }
    let (owner, slug) = match text.split_once('/') {
        Some((owner, slug)) => {
            let owner = Principal::parse(owner).map_err(|error| format!("{owner:?}: {error}"))?;
            (owner, slug)
        }
        None => (principal.clone(), text),
    };
    let parsed = slug.parse();
    let slug = parsed.map_err(|_| {
        "expected the slug of a credential, \"SLUG\" or \"OWNER/SLUG\", or \"none\"".to_owned()
    })?;
    Ok(Some((owner, slug)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_protocol_host_and_port() {
        for (text, protocol, shown) in [
            (
                "http://p.test:3128",
                ParentProtocol::Http,
                "http://p.test:3128",
            ),
            (
                "https://p.test:8443/",
                ParentProtocol::Http,
                "https://p.test:8443",
            ),
            (
                "socks5h://[::1]:1080",
                ParentProtocol::Socks,
                "http://[::1]:1080",
            ),
        ] {
            let (parsed, place) = parse_url(text).unwrap();
            assert_eq!((parsed, place.to_string().as_str()), (protocol, shown));
        }
        for bad in [
            "",
            "p.test:3128",
            "http://p.test",
            "http://[::1]",
            "http://:3128",
            "ftp://p.test:1",
            "socks5://p.test:1080",
            "http://p.test:3128/path",
            "http://p.test:0",
            "http://p.test:99999",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
        let login = parse_url("http://me:s3cret@p.test:3128").unwrap_err();
        assert!(login.contains("proxy_credential") && !login.contains("s3cret"));
    }

    #[test]
    fn exceptions_are_names_and_networks() {
        let host = |text: &str| Host::parse(text).unwrap();
        let covers = |entry: &str, text: &str| Exception::parse(entry).unwrap().covers(&host(text));
        assert!(covers("a.test", "A.test."));
        assert!(!covers("a.test", "b.a.test"));
        for entry in ["*.a.test", ".a.test"] {
            assert!(covers(entry, "b.a.test") && covers(entry, "c.b.a.test"));
            assert!(!covers(entry, "a.test") && !covers(entry, "ba.test"));
        }
        assert!(covers("10.0.0.0/8", "10.1.2.3"));
        assert!(covers("10.0.0.0/8", "[::ffff:10.1.2.3]"));
        assert!(!covers("10.0.0.0/8", "11.1.2.3"));
        assert!(covers("::1", "[::1]") && !covers("::1", "a.test"));
        for bad in [
            "",
            "*",
            "*.",
            "a b",
            "10.0.0.0/33",
            "http://a.test",
            "a.test:443",
        ] {
            assert_eq!(Exception::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_credential_is_the_principals_unless_an_owner_is_named() {
        let principal = Principal::parse("default").unwrap();
        let parse = |text| parse_credential(text, &principal);
        assert_eq!(parse("none"), Ok(None));
        let (owner, slug) = parse("corp").unwrap().unwrap();
        assert_eq!((owner.as_str(), slug.as_str()), ("default", "corp"));
        let (owner, slug) = parse("alice/corp").unwrap().unwrap();
        assert_eq!((owner.as_str(), slug.as_str()), ("alice", "corp"));
        assert!(parse("<<corp>>").is_err() && parse("a/b/c").is_err());
    }
}
