//! What an answer at a base URL says of where things are.
//!
//! All destinations share the listener's own origin there. So URLs are made to lead to the listener
//! again, cookies are kept for the destination that set them, and what a destination says about its
//! whole origin is left out: it would say that about all the others, too.

use std::sync::Arc;

use http::Request;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::policy::destination::{Destination, Scheme};
use crate::proxy::inbound::base_url::{Own, called, prefix, split};
use crate::proxy::outbound::interim::Change;

/// Fields of an answer that hold one URI.
const URIS: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// Fields that speak for a whole origin: other ways to it, what is to be forgotten there, where reports
/// about it go. A cookie of the last kind, which nothing sends any more, has no path that could be trusted.
const OF_ORIGIN: [HeaderName; 10] = [
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::PUBLIC_KEY_PINS,
    header::PUBLIC_KEY_PINS_REPORT_ONLY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("set-cookie2"),
];

/// How a client calls the listener, and its destination there, for what the answer says.
pub struct Base {
    /// `http://`.
    scheme: String,
    /// `127.0.0.1:7070`.
    authority: String,
    /// Cookies may be for TLS only.
    is_encrypted: bool,
    /// Where the request goes.
    destination: Destination,
    /// `/-/https/api.example.com`, as the client wrote it: it compares the paths of cookies with that.
    prefix: String,
    /// The path behind it, which may be empty.
    path: String,
}

impl Base {
    /// How a request calls it; `None` where it was refused for that.
    pub fn of<B>(own: &Own, request: &Request<B>) -> Option<Self> {
        let named = request.uri().authority();
        let named =
            named.and_then(|named| Destination::from_authority(own.scheme, named.as_str()).ok());
        let url = called(own, named.as_ref(), request.headers())?;
        let (destination, prefix, path) = split(request.uri().path())?;
        Some(Self::new(&url, (destination, prefix, path)))
    }

    fn new(url: &str, (destination, prefix, path): (Destination, &str, &str)) -> Self {
        let (scheme, authority) = url.split_once("://").unwrap_or(("http", url));
        Self {
            scheme: format!("{scheme}://"),
            authority: authority.to_owned(),
            is_encrypted: scheme == Scheme::Https.as_str(),
            destination,
            prefix: prefix.to_owned(),
            path: path.to_owned(),
        }
    }

    /// The same for interim answers.
    pub fn on_interim(self: &Arc<Self>) -> Change {
        let base = Arc::clone(self);
        Arc::new(move |headers| base.rewrite(headers))
    }

    /// Has the head of an answer lead here again, and speak for its destination alone.
    pub fn rewrite(&self, headers: &mut HeaderMap) {
        for name in &OF_ORIGIN {
            headers.remove(name);
        }
        for name in &URIS {
            change(headers, name, |text| self.of_uri(text));
        }
        change(headers, &header::LINK, |text| Some(self.of_links(text)));
        change(headers, &header::SET_COOKIE, |text| {
            Some(self.of_cookie(text))
        });
    }

    /// The URL at which this listener serves what `uri` names; `None` if the client finds it by itself.
    fn of_uri(&self, uri: &str) -> Option<String> {
        let from = self.destination.scheme;
        match uri.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                Some(self.of_absolute(Scheme::Http, rest))
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                Some(self.of_absolute(Scheme::Https, rest))
            }
            // Another scheme.
            Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => None,
            _ if uri.starts_with("//") => Some(self.of_absolute(from, uri)),
            _ => self.of_path(uri),
        }
    }

    /// Of what is behind the scheme. Clients take any number of slashes there. A host that is none leads
    /// here as well, and is refused then.
    fn of_absolute(&self, scheme: Scheme, rest: &str) -> String {
        let rest = rest.trim_start_matches(['/', '\\']);
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (format!("{user}@"), authority),
            None => (String::new(), authority),
        };
        let prefix = match Destination::from_authority(scheme, authority) {
            Ok(named) if named == self.destination => self.prefix.clone(),
            Ok(named) => prefix(named.scheme, &named.authority()),
            Err(_) => prefix(scheme, authority),
        };
        let (path, tail) = split_path(rest);
        let path = without_dots(path);
        format!(
            "{}{user}{}{prefix}{path}{tail}",
            self.scheme, self.authority
        )
    }

    /// Of a path: from the root of the destination, or from the directory of the request. A client would
    /// take dots for steps out of the destination, and has no directory where its target has no path.
    fn of_path(&self, uri: &str) -> Option<String> {
        let (path, tail) = split_path(uri);
        let is_plain = !self.path.is_empty() && !has_dots(path);
        let whole = match path.as_bytes() {
            [b'/', ..] => path.to_owned(),
            [] => return None,
            _ if is_plain => return None,
            _ => format!("{}/{path}", directory(&self.path)),
        };
        let path = without_dots(&whole);
        let (prefix, authority) = (&self.prefix, &self.authority);
        Some(format!("{}{authority}{prefix}{path}{tail}", self.scheme))
    }

    /// The same for each target of a `Link`, and not for what stands in quotes.
    fn of_links(&self, links: &str) -> String {
        let mut out = String::new();
        let mut rest = links;
        while let Some(at) = rest.find(['<', '"']) {
            let (before, begun) = rest.split_at(at);
            out.push_str(before);
            let Some(end) = end_of(begun) else {
                rest = begun;
                break;
            };
            let (part, after) = begun.split_at(end);
            match part.strip_prefix('<').and_then(|uri| uri.strip_suffix('>')) {
                Some(uri) => {
                    let changed = self.of_uri(uri);
                    out.push_str(&format!("<{}>", changed.as_deref().unwrap_or(uri)));
                }
                None => out.push_str(part),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A cookie that the client sends back to this destination, and not to others that are served here.
    /// Of several paths clients take the first or the last, so there is one.
    fn of_cookie(&self, cookie: &str) -> String {
        let mut path = "/";
        let mut out = String::new();
        for (number, part) in cookie.split(';').enumerate() {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let is = |known: &str| number > 0 && name.trim().eq_ignore_ascii_case(known);
            if is("path") {
                let value = value.trim();
                path = if value.starts_with('/') { value } else { "/" };
                continue;
            }
            // The listener's name is no domain of the destination's.
            if is("domain") || is("secure") && !self.is_encrypted {
                continue;
            }
            if number > 0 {
                out.push(';');
            }
            out.push_str(part);
        }
        out.push_str(&format!("; Path={}{path}", self.prefix));
        out
    }
}

/// A path, and the query and fragment behind it.
fn split_path(text: &str) -> (&str, &str) {
    text.split_at(text.find(['?', '#']).unwrap_or(text.len()))
}

/// The directory of a path, without the slash at its end. What a client wrote raw is no part of a URL.
fn directory(path: &str) -> String {
    let end = path.rfind('/').unwrap_or_default();
    path[..end].replace('<', "%3C").replace('>', "%3E")
}

/// How clients read a segment that steps: `.` or `..`, also percent-encoded.
fn step(segment: &str) -> Option<&'static str> {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    [".", ".."].into_iter().find(|step| *step == plain)
}

fn has_dots(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| step(part).is_some())
}

/// The path with its steps taken (RFC 3986 section 5.2.4): none leads out of the root.
fn without_dots(path: &str) -> String {
    if !has_dots(path) {
        return path.to_owned();
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut is_open = false;
    for segment in path.split(['/', '\\']).skip(1) {
        let step = step(segment);
        is_open = step.is_some();
        match step {
            Some("..") => drop(segments.pop()),
            Some(_) => {}
            None => segments.push(segment),
        }
    }
    if is_open {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

/// Where the text in angle brackets or quotes ends that `text` begins with.
fn end_of(text: &str) -> Option<usize> {
    if text.starts_with('<') {
        return text.find('>').map(|at| at + 1);
    }
    let mut is_escaped = false;
    let mut rest = text.char_indices().skip(1);
    rest.find_map(|(at, character)| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

/// Changes the lines of a field. Bytes that are not ASCII stand for one character each meanwhile: servers
/// send them raw, and a line that was not read for that would lead elsewhere.
fn change(headers: &mut HeaderMap, name: &HeaderName, of: impl Fn(&str) -> Option<String>) {
    let header::Entry::Occupied(mut lines) = headers.entry(name) else {
        return;
    };
    for line in lines.iter_mut() {
        let text: String = line.as_bytes().iter().copied().map(char::from).collect();
        let Some(changed) = of(&text) else { continue };
        let bytes: Vec<u8> = changed.chars().map(|one| one as u8).collect();
        if let Ok(changed) = HeaderValue::from_bytes(&bytes) {
            *line = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(url: &str, target: &str) -> Base {
        Base::new(url, split(target).unwrap())
    }

    fn plain(target: &str) -> Base {
        called("http://127.0.0.1:7070", target)
    }

    const HERE: &str = "http://127.0.0.1:7070/-/https";

    #[test]
    fn urls_of_an_answer_lead_here_again() {
        let base = plain("/-/https/api.example.com/v1/x");
        for (uri, expected) in [
            ("https://api.example.com/v2?x", "/api.example.com/v2?x"),
            ("HTTPS://API.example.com:443", "/api.example.com"),
            ("/v2", "/api.example.com/v2"),
            ("//cdn.example.com/a", "/cdn.example.com/a"),
            (
                "https://cdn.example.com:8443/a#b",
                "/cdn.example.com:8443/a#b",
            ),
            ("https://[2001:db8::1]/a", "/[2001:db8::1]/a"),
            // Clients take these for the same.
            ("https:/cdn.example.com/a", "/cdn.example.com/a"),
            ("https:cdn.example.com", "/cdn.example.com"),
            ("https:\\\\cdn.example.com/a", "/cdn.example.com/a"),
            ("///cdn.example.com/a", "/cdn.example.com/a"),
            // These are refused here.
            ("https://m\u{fc}nchen.example/a", "/m\u{fc}nchen.example/a"),
            ("https://a%2eb/c", "/a%2eb/c"),
        ] {
            assert_eq!(base.of_uri(uri), Some(format!("{HERE}{expected}")), "{uri}");
        }
        for as_it_is in [
            "v2",
            "v2?to=/../x",
            "?page=2",
            "#top",
            "mailto:a@b",
            "wss://a.example/",
            "",
            "a/b:c",
        ] {
            assert_eq!(base.of_uri(as_it_is), None, "{as_it_is}");
        }
        let user = base.of_uri("https://robot:pw@api.example.com/a");
        let expected = "http://robot:pw@127.0.0.1:7070/-/https/api.example.com/a";
        assert_eq!(user.as_deref(), Some(expected));
    }

    #[test]
    fn no_step_leads_out_of_a_destination() {
        let base = plain("/-/https/api.example.com/v1/<<pat>>/x");
        for (uri, expected) in [
            ("../y", "/v1/y"),
            ("./y?q=..", "/v1/%3C%3Cpat%3E%3E/y?q=.."),
            ("..", "/v1/"),
            ("../../../../other.example/y", "/other.example/y"),
            ("/../other.example/y", "/other.example/y"),
            ("/a/%2e%2E/../../b/.", "/b/"),
            ("https://api.example.com/../../http/y", "/http/y"),
            ("/a\\..\\..\\y", "/y"),
        ] {
            let expected = format!("{HERE}/api.example.com{expected}");
            assert_eq!(base.of_uri(uri), Some(expected), "{uri}");
        }
        let root = plain("/-/https/api.example.com");
        let below = format!("{HERE}/api.example.com/login");
        assert_eq!(root.of_uri("login"), Some(below));
        assert_eq!(root.of_uri("?page=2"), None);
    }

    #[test]
    fn the_targets_of_links_lead_here_again() {
        let base = plain("/-/https/api.example.com/v1");
        let links = "<https://api.example.com/?p=2>; rel=\"next\", <p3>; title=\"a \\\" </b>\", </c>; rel=c";
        let expected = format!(
            "<{HERE}/api.example.com/?p=2>; rel=\"next\", <p3>; title=\"a \\\" </b>\", \
             <{HERE}/api.example.com/c>; rel=c"
        );
        assert_eq!(base.of_links(links), expected);
        for broken in ["<https://a.example/", "</a>; title=\"", "a", ""] {
            let _ = base.of_links(broken);
        }
    }

    #[test]
    fn a_cookie_is_kept_for_its_destination() {
        let base = plain("/-/https/API.example.com:443/v1");
        let path = "/-/https/API.example.com:443";
        for (cookie, expected) in [
            (
                "a=b=c; Domain=example.com; Path=/v1; Secure; HttpOnly",
                format!("a=b=c; HttpOnly; Path={path}/v1"),
            ),
            ("secure=1", format!("secure=1; Path={path}/")),
            ("path=/; x", format!("path=/; x; Path={path}/")),
            ("a=b; Path=/x; Path=", format!("a=b; Path={path}/")),
            ("a=b; Path=/x; path=y", format!("a=b; Path={path}/")),
            ("a=b; path = /x ;Path=/y", format!("a=b; Path={path}/y")),
            ("a=\u{e9}", format!("a=\u{e9}; Path={path}/")),
            ("", format!("; Path={path}/")),
        ] {
            assert_eq!(base.of_cookie(cookie), expected, "{cookie}");
        }
        let encrypted = called("https://e.example:7443", "/-/https/api.example.com/");
        assert_eq!(
            encrypted.of_cookie("a=b; Secure"),
            "a=b; Secure; Path=/-/https/api.example.com/"
        );
    }

    #[test]
    fn raw_bytes_do_not_keep_a_line_from_being_read() {
        let mut headers = HeaderMap::new();
        let raw = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
        headers.insert(header::LOCATION, raw(b"/caf\xc3\xa9\xff"));
        headers.append(header::SET_COOKIE, raw(b"a=\xe9; Path=/"));
        headers.append(header::SET_COOKIE, raw(b"b=1"));
        for name in &OF_ORIGIN {
            headers.insert(name, raw(b"x"));
        }
        plain("/-/https/api.example.com/").rewrite(&mut headers);
        let location = headers[header::LOCATION].as_bytes();
        assert_eq!(
            location,
            [HERE.as_bytes(), b"/api.example.com/caf\xc3\xa9\xff"].concat()
        );
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(
            cookies[0].as_bytes(),
            b"a=\xe9; Path=/-/https/api.example.com/"
        );
        assert_eq!(
            cookies[1].as_bytes(),
            b"b=1; Path=/-/https/api.example.com/"
        );
        assert_eq!(headers.len(), 3, "{headers:?}");
    }
}
