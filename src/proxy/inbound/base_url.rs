//! Requests whose path names the destination: `/-/https/api.example.com/v1`, for programs that can use
//! neither a proxy nor another authority.
//!
//! Such a listener is a web server to whatever reaches it, browsers included. So the request has to be
//! for the listener's own loopback name (a foreign name that resolves to loopback is how a web page
//! reaches such servers), and a request that a page makes is refused: every destination would be one
//! origin to it, and what one of them answers could use the credentials for another.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request};

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
    let (destination, rest) = split(target).ok_or_else(|| {
        Refusal::new(
            Code::RequestMalformed,
            "the path names no destination: write /-/https/HOST/PATH or /-/http/HOST/PATH",
        )
    })?;
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
fn called(own: &Own, named: Option<&Destination>, headers: &HeaderMap) -> Option<String> {
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

/// The destination that a target names, and the target behind it.
fn split(target: &str) -> Option<(Destination, String)> {
    let (scheme, rest) = target.strip_prefix(BEGINNING)?.split_once('/')?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let destination = Destination::from_authority(scheme, authority).ok()?;
    let rest = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    Some((destination, rest))
}

/// Fields of an answer that hold one URI.
const URIS: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// How a client calls the listener, for what its answers say.
pub struct Base {
    /// `http://127.0.0.1:7070`.
    url: String,
    /// Cookies may be for TLS only.
    is_encrypted: bool,
}

impl Base {
    /// How a request calls it; `None` where it was refused for that.
    pub fn of<B>(own: &Own, request: &Request<B>) -> Option<Self> {
        let named = request.uri().authority();
        let named =
            named.and_then(|named| Destination::from_authority(own.scheme, named.as_str()).ok());
        let url = called(own, named.as_ref(), request.headers())?;
        let is_encrypted = own.scheme == Scheme::Https;
        Some(Self { url, is_encrypted })
    }

    /// Has the URLs in the head of an answer from `destination` lead here again, and its cookies kept for
    /// that destination alone.
    pub fn rewrite(&self, destination: &Destination, headers: &mut HeaderMap) {
        for name in URIS {
            change(headers, &name, |text| self.of_uri(destination, text));
        }
        change(headers, &header::LINK, |text| {
            Some(self.of_links(destination, text))
        });
        change(headers, &header::SET_COOKIE, |text| {
            Some(of_cookie(destination, text, self.is_encrypted))
        });
    }

    /// The URL at which this listener serves what `uri` names; `None` if it does so as it is.
    fn of_uri(&self, from: &Destination, uri: &str) -> Option<String> {
        let base = &self.url;
        let (scheme, rest) = match uri.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            _ => match uri.strip_prefix("//") {
                Some(rest) => (from.scheme, rest),
                None if uri.starts_with('/') => {
                    return Some(format!("{base}{}{uri}", prefix(from)));
                }
                None => return None,
            },
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let named = Destination::from_authority(scheme, authority).ok()?;
        Some(format!("{base}{}{rest}", prefix(&named)))
    }

    /// The same for each target of a `Link`.
    fn of_links(&self, from: &Destination, links: &str) -> String {
        let mut out = String::new();
        let mut rest = links;
        while let Some((before, begun)) = rest.split_once('<') {
            let Some((uri, after)) = begun.split_once('>') else {
                break;
            };
            let changed = self.of_uri(from, uri);
            out.push_str(&format!("{before}<{}>", changed.as_deref().unwrap_or(uri)));
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

fn prefix(destination: &Destination) -> String {
    format!(
        "{BEGINNING}{}/{}",
        destination.scheme,
        destination.authority()
    )
}

/// A cookie that the client sends back to this destination, and not to others that are served here.
fn of_cookie(from: &Destination, cookie: &str, is_encrypted: bool) -> String {
    let mut has_path = false;
    let mut out = String::new();
    for (number, part) in cookie.split(';').enumerate() {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let is = |known: &str| number > 0 && name.trim().eq_ignore_ascii_case(known);
        // The listener's name is no domain of the destination's.
        if is("domain") || is("secure") && !is_encrypted {
            continue;
        }
        if number > 0 {
            out.push(';');
        }
        if is("path") && value.trim().starts_with('/') {
            has_path = true;
            out.push_str(&format!(" Path={}{}", prefix(from), value.trim()));
        } else {
            out.push_str(part);
        }
    }
    if !has_path {
        out.push_str(&format!("; Path={}/", prefix(from)));
    }
    out
}

fn change(headers: &mut HeaderMap, name: &HeaderName, of: impl Fn(&str) -> Option<String>) {
    let header::Entry::Occupied(mut lines) = headers.entry(name) else {
        return;
    };
    for line in lines.iter_mut() {
        let changed = line.to_str().ok().and_then(&of);
        let changed = changed.and_then(|text| HeaderValue::from_str(&text).ok());
        if let Some(changed) = changed {
            *line = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Destination {
        Destination::from_authority(Scheme::Https, "api.example.com").unwrap()
    }

    #[test]
    fn a_path_names_the_destination_and_what_is_behind_it() {
        for (target, to, rest) in [
            (
                "/-/https/api.example.com/v1/x?y=1",
                "https://api.example.com:443",
                "/v1/x?y=1",
            ),
            (
                "/-/http/api.example.com:8080",
                "http://api.example.com:8080",
                "/",
            ),
            (
                "/-/https/api.example.com?q",
                "https://api.example.com:443",
                "/?q",
            ),
            ("/-/https/[::1]:8443/a//b", "https://[::1]:8443", "/a//b"),
        ] {
            let (destination, behind) = split(target).unwrap_or_else(|| panic!("{target}"));
            assert_eq!(
                (destination.to_string().as_str(), behind.as_str()),
                (to, rest)
            );
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

    #[test]
    fn urls_of_an_answer_lead_here_again() {
        let base = Base {
            url: "http://127.0.0.1:7070".to_owned(),
            is_encrypted: false,
        };
        let of = |uri: &str| base.of_uri(&api(), uri);
        let here = "http://127.0.0.1:7070/-/https";
        assert_eq!(
            of("https://api.example.com/v2?x"),
            Some(format!("{here}/api.example.com/v2?x"))
        );
        assert_eq!(of("/v2"), Some(format!("{here}/api.example.com/v2")));
        assert_eq!(
            of("//cdn.example.com/a"),
            Some(format!("{here}/cdn.example.com/a"))
        );
        for as_it_is in ["v2", "?page=2", "mailto:a@b", ""] {
            assert_eq!(of(as_it_is), None, "{as_it_is}");
        }
        assert_eq!(
            base.of_links(
                &api(),
                "<https://api.example.com/?p=2>; rel=\"next\", <p3>; rel=last"
            ),
            format!("<{here}/api.example.com/?p=2>; rel=\"next\", <p3>; rel=last")
        );
    }

    #[test]
    fn a_cookie_is_kept_for_its_destination() {
        let path = "/-/https/api.example.com";
        let cookie = "a=b=c; Domain=example.com; Path=/v1; Secure; HttpOnly";
        assert_eq!(
            of_cookie(&api(), cookie, false),
            format!("a=b=c; Path={path}/v1; HttpOnly")
        );
        assert_eq!(
            of_cookie(&api(), "secure=1", false),
            format!("secure=1; Path={path}/")
        );
        assert_eq!(
            of_cookie(&api(), "a=b; Secure", true),
            format!("a=b; Secure; Path={path}/")
        );
    }
}
