//! The address under which people open the page.

use std::fmt;

use crate::policy::destination::{Destination, Host, Scheme};

/// The address under which people open the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUrl {
    /// Plain HTTP, or what a reverse proxy makes of it.
    pub scheme: Scheme,
    /// The name.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// The name of the page where none is configured. Browsers take it for this machine by themselves, and
/// its cookies reach neither `localhost` nor `127.0.0.1`.
pub const LOCAL_NAME: &str = "egret.localhost";

impl AdminUrl {
    /// The address where none is configured, of a listener at this port.
    pub fn local(port: u16) -> Self {
        Self {
            scheme: Scheme::Http,
            host: Host::Domain(LOCAL_NAME.into()),
            port,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| known.as_str() == scheme)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let destination = Destination::from_authority(scheme, authority).ok()?;
        Some(Self {
            scheme,
            host: destination.host,
            port: destination.port,
        })
    }

    /// Name and port as a `Host` field has them.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for AdminUrl {
    /// The origin, without a slash at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_is_an_origin() {
        for (text, shown) in [
            ("https://egret.example.com", "https://egret.example.com"),
            (
                "https://Egret.example.com:443/",
                "https://egret.example.com",
            ),
            ("http://localhost:7071", "http://localhost:7071"),
            ("http://[::1]:7071", "http://[::1]:7071"),
        ] {
            let url = AdminUrl::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(url.to_string(), shown);
        }
        for text in [
            "egret.example.com",
            "ftp://a",
            "https://",
            "https://a/path",
            "https://user@a",
            "https://a?b",
            "HTTPS://a",
        ] {
            assert_eq!(AdminUrl::parse(text), None, "{text}");
        }
    }
}
