//! Under which names the admin listener is reached, and through what.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::{Admin, AdminUrl, LOCAL_NAME};
use crate::policy::destination::{Destination, Host, Scheme};

/// Under which names the listener is reached, and through what.
#[derive(Clone, Debug)]
pub struct Names {
    url: AdminUrl,
    pages: Vec<Host>,
    aliases: Vec<Host>,
    trusted: Vec<IpNet>,
}

/// What a name in a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The page, the API and sessions.
    Page,
    /// The API with a token: another name of this machine, whose cookies reach other servers.
    Alias,
    /// Not this listener.
    Foreign,
}

impl Names {
    /// The names that a listener at `listener` has by this configuration.
    pub fn new(config: &Admin, listener: SocketAddr) -> Self {
        let url = config.url.clone();
        let url = url.unwrap_or_else(|| AdminUrl::local(listener.port()));
        let mut pages = vec![url.host.clone()];
        pages.extend(config.names.iter().cloned());
        let texts = [LOCAL_NAME, "localhost", "127.0.0.1", "::1"];
        let mut aliases: Vec<Host> = texts.iter().filter_map(|t| Host::parse(t).ok()).collect();
        if !listener.ip().is_unspecified() {
            aliases.extend(Host::parse(&listener.ip().to_string()));
        }
        Self {
            url,
            pages,
            aliases,
            trusted: config.trusted_proxies.clone(),
        }
    }

    /// Where people open the page.
    pub fn url(&self) -> &AdminUrl {
        &self.url
    }

    /// What the name of a `Host` field means. Its port is left out of it: the listener may be reached
    /// through a port of another machine, and no foreign page can choose a name by its port.
    pub fn meaning(&self, authority: &str) -> Named {
        let Ok(destination) = Destination::from_authority(Scheme::Http, authority) else {
            return Named::Foreign;
        };
        if self.pages.contains(&destination.host) {
            Named::Page
        } else if self.aliases.contains(&destination.host) {
            Named::Alias
        } else {
            Named::Foreign
        }
    }

    /// Whether this is a reverse proxy that may say who asks.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|range| range.contains(&address))
    }

    /// Whether a page at `authority` may send requests that change something.
    pub fn is_own_origin(&self, origin: &str, authority: &str) -> bool {
        if origin == self.url.to_string() && authority_is(&self.url, authority) {
            return true;
        }
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        scheme == self.url.scheme.as_str()
            && rest.eq_ignore_ascii_case(authority)
            && self.meaning(authority) == Named::Page
    }

    /// The name of the cookie of a session. It has the port, because cookies do not keep the servers
    /// of one machine apart.
    pub fn cookie(&self) -> String {
        self.cookie_of("session")
    }

    /// The name of the cookie of a browser that is at the identity provider.
    pub fn openid_cookie(&self) -> String {
        self.cookie_of("openid")
    }

    fn cookie_of(&self, what: &str) -> String {
        let port = self.url.port;
        match self.url.scheme {
            Scheme::Http => format!("egret-{what}-{port}"),
            // Only this host can set it, and only over TLS (RFC 6265bis section 4.1.3.2).
            Scheme::Https => format!("__Host-egret-{what}-{port}"),
        }
    }
}

fn authority_is(url: &AdminUrl, authority: &str) -> bool {
    Destination::from_authority(url.scheme, authority)
        .is_ok_and(|named| named.host == url.host && named.port == url.port)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(url: Option<AdminUrl>) -> Names {
        let listener = "127.0.0.1:7071".parse().unwrap();
        let config = Admin {
            listen: listener,
            url,
            names: vec![Host::parse("egret.internal").unwrap()],
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            session_lifetime: Duration::from_secs(60),
            session_idle: Duration::from_secs(60),
        };
        Names::new(&config, listener)
    }

    fn https() -> AdminUrl {
        AdminUrl {
            scheme: Scheme::Https,
            host: Host::parse("egret.example.com").unwrap(),
            port: 443,
        }
    }

    #[test]
    fn a_listener_answers_for_its_own_names() {
        let local = names(None);
        for page in [
            "egret.localhost:7071",
            "EGRET.localhost:1",
            "egret.internal",
        ] {
            assert_eq!(local.meaning(page), Named::Page, "{page}");
        }
        for alias in ["127.0.0.1:7071", "localhost", "[::1]:7071"] {
            assert_eq!(local.meaning(alias), Named::Alias, "{alias}");
        }
        for foreign in [
            "evil.example",
            "egret.localhost.evil.example",
            "",
            "a b",
            "127.0.0.2",
        ] {
            assert_eq!(local.meaning(foreign), Named::Foreign, "{foreign}");
        }
        let public = names(Some(https()));
        assert_eq!(public.meaning("egret.example.com"), Named::Page);
        assert_eq!(public.meaning("egret.localhost:7071"), Named::Alias);
    }

    #[test]
    fn an_origin_is_compared_with_scheme_name_and_port() {
        let local = names(None);
        let here = "egret.localhost:7071";
        assert!(local.is_own_origin("http://egret.localhost:7071", here));
        assert!(local.is_own_origin("http://egret.localhost:8071", "egret.localhost:8071"));
        for origin in [
            "http://egret.localhost:9300",
            "https://egret.localhost:7071",
            "http://evil.example",
            "http://localhost:7071",
            "null",
            "",
        ] {
            assert!(!local.is_own_origin(origin, here), "{origin}");
        }
        assert!(!local.is_own_origin("http://127.0.0.1:7071", "127.0.0.1:7071"));
        let public = names(Some(https()));
        assert!(public.is_own_origin("https://egret.example.com", "egret.example.com"));
        assert!(public.is_own_origin("https://egret.example.com", "egret.example.com:443"));
        assert!(!public.is_own_origin("http://egret.example.com", "egret.example.com"));
    }

    #[test]
    fn the_cookie_is_named_with_the_port() {
        assert_eq!(names(None).cookie(), "egret-session-7071");
        assert_eq!(names(Some(https())).cookie(), "__Host-egret-session-443");
    }

    #[test]
    fn a_trusted_proxy_is_known_by_its_address() {
        let names = names(None);
        assert!(names.is_trusted("10.1.2.3".parse().unwrap()));
        assert!(names.is_trusted("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!names.is_trusted("127.0.0.1".parse().unwrap()));
    }
}
