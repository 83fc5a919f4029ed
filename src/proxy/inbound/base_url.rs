//! Requests whose path names the destination: `/-/https/api.example.com/v1`, for programs that can use
//! neither a proxy nor another authority.
//!
//! Such a listener is a web server to whatever reaches it, browsers included. So the request has to be
//! for the listener's own loopback name (a foreign name that resolves to loopback is how a web page
//! reaches such servers), and a request that a page makes is refused: every destination would be one
//! origin to it, and what one of them answers could use the credentials for another.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Host, Scheme};

/// What a path begins with that names a destination.
const BEGINNING: &str = "/-/";
/// Says from where a page makes a request; `none` is a person who typed the URL.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A listener, and how clients may call it.
#[derive(Clone)]
pub struct Own {
    /// The address that the client has connected to.
    pub address: SocketAddr,
    /// What is spoken there.
    pub scheme: Scheme,
    /// Its names, beside those of the loopback interface. Without TLS there are none: others could be
    /// led to it under a name of their own.
    pub names: Arc<[Host]>,
}

impl Own {
    /// A listener without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            scheme: Scheme::Http,
            names: Arc::default(),
        }
    }

    fn is_called(&self, called: &Destination) -> bool {
        let ip = called.host.as_ip();
        let is_local = matches!(&called.host, Host::Domain(name) if **name == *"localhost")
            || ip.is_some_and(|ip| ip.is_loopback());
        let is_named = self.scheme == Scheme::Https
            && (self.names.contains(&called.host) || ip == Some(self.address.ip().to_canonical()));
        (is_local || is_named) && called.port == self.address.port()
    }
}

/// Where the request goes, which is made one for there. `named` is the destination of an absolute target.
pub fn destination(
    own: &Own,
    named: Option<&Destination>,
    head: &mut Parts,
) -> Result<Destination, Refusal> {
    let called = called(own, named, &head.headers).ok_or_else(|| {
        Refusal::new(
            Code::CrossSite,
            "the request is for another name than this listener's: use 127.0.0.1, [::1] or localhost \
             with its port, and where it has TLS a name of proxy.tls_names",
        )
    })?;
    refuse_pages(&called, &head.headers)?;
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (destination, _, rest) = split(target).ok_or_else(|| {
        Refusal::new(
            Code::RequestMalformed,
            "the path names no destination: write /-/https/HOST/PATH or /-/http/HOST/PATH",
        )
    })?;
    let rest = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    let rest: PathAndQuery = rest.parse().map_err(|_| {
        Refusal::new(
            Code::RequestMalformed,
            "what follows the host is not a path",
        )
    })?;
    head.uri = rest.into();
    if head.headers.contains_key(header::ORIGIN) {
        // It was the listener's own, which means nothing to the destination.
        let origin = format!("{}://{}", destination.scheme, destination.authority());
        if let Ok(origin) = HeaderValue::from_str(&origin) {
            head.headers.insert(header::ORIGIN, origin);
        }
    }
    Ok(destination)
}

/// How the client calls the listener: `http://127.0.0.1:7070`. `named` is what an absolute target says.
pub(super) fn called(
    own: &Own,
    named: Option<&Destination>,
    headers: &HeaderMap,
) -> Option<String> {
    let host = headers.get(header::HOST);
    let host = match host {
        Some(host) => Some(Destination::from_authority(own.scheme, host.to_str().ok()?).ok()?),
        None => None,
    };
    if named
        .zip(host.as_ref())
        .is_some_and(|(one, other)| one != other)
    {
        return None;
    }
    let called = named
        .or(host.as_ref())
        .filter(|called| own.is_called(called))?;
    Some(format!("{}://{}", own.scheme, called.authority()))
}

fn refuse_pages(base: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let is_of_page = sites.any(|site| site.as_bytes() != b"none")
        || origins.any(|origin| origin.as_bytes() != base.as_bytes());
    if is_of_page {
        return Err(Refusal::new(
            Code::CrossSite,
            "a web page made this request (Sec-Fetch-Site, Origin), and pages are not served here",
        ));
    }
    Ok(())
}

/// The destination that a target names, as it is written there, and what is behind it.
pub(super) fn split(target: &str) -> Option<(Destination, &str, &str)> {
    let (scheme, rest) = target.strip_prefix(BEGINNING)?.split_once('/')?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let destination = Destination::from_authority(scheme, authority).ok()?;
    let prefix = &target[..target.len() - behind.len()];
    Some((destination, prefix, behind))
}

/// What the path of a target begins with that names this.
pub(super) fn prefix(scheme: Scheme, authority: &str) -> String {
    format!("{BEGINNING}{scheme}/{authority}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_destination_and_what_is_behind_it() {
        for (prefix, rest, to) in [
            (
                "/-/https/api.example.com",
                "/v1/x?y=1",
                "https://api.example.com:443",
            ),
            (
                "/-/http/api.example.com:8080",
                "",
                "http://api.example.com:8080",
            ),
            (
                "/-/https/API.example.com:443",
                "?q",
                "https://api.example.com:443",
            ),
            ("/-/https/[::1]:8443", "/a//b", "https://[::1]:8443"),
        ] {
            let target = format!("{prefix}{rest}");
            let (destination, named, behind) = split(&target).unwrap_or_else(|| panic!("{target}"));
            assert_eq!((named, behind), (prefix, rest));
            assert_eq!(destination.to_string(), to);
        }
        for target in [
            "/",
            "/-/",
            "/-/ftp/h/x",
            "/-/https",
            "/-/https//x",
            "/-/https/u@h/x",
            "/v1",
        ] {
            assert!(split(target).is_none(), "{target}");
        }
    }

    #[test]
    fn only_the_listeners_own_names_are_served() {
        let own = Own::plain("127.0.0.1:7070".parse().unwrap());
        for (host, is_served) in [
            ("127.0.0.1:7070", true),
            ("localhost:7070", true),
            ("[::1]:7070", true),
            ("127.0.0.1", false),
            ("127.0.0.1:7071", false),
            ("evil.example:7070", false),
            ("10.0.0.1:7070", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(called(&own, None, &headers).is_some(), is_served, "{host}");
        }
        assert!(called(&own, None, &HeaderMap::new()).is_none());
    }

    #[test]
    fn with_tls_a_listener_has_names_of_its_own_and_its_address() {
        let own = Own {
            address: "192.0.2.7:7443".parse().unwrap(),
            scheme: Scheme::Https,
            names: [Host::parse("egret.example.com").unwrap()].into(),
        };
        for (host, expected) in [
            (
                "egret.example.com:7443",
                Some("https://egret.example.com:7443"),
            ),
            ("192.0.2.7:7443", Some("https://192.0.2.7:7443")),
            ("localhost:7443", Some("https://localhost:7443")),
            ("egret.example.com", None),
            ("192.0.2.8:7443", None),
            ("evil.example:7443", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(called(&own, None, &headers).as_deref(), expected, "{host}");
        }
    }
}
