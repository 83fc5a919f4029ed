//! What holds for every request of people and their programs, before a handler sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::context::AdminContext;
use super::names::{Named, Names};
use super::problem::{self, AdminProblem, Trouble};

/// Longest time until an answer begins.
const ANSWER: Duration = Duration::from_secs(30);

/// What every answer carries. Scripts and styles come from files of this server only, and no script
/// makes markup from text (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // `no-referrer` would make the `Origin` of a form `null`.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-embedder-policy"),
        "require-corp",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("egret-request");

/// Between which addresses the connection of a request is. The listener says it.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The other side of the connection, which may be a reverse proxy.
    pub peer: SocketAddr,
}

/// Who asks, as far as the connection says.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The address, which a trusted reverse proxy may have said.
    pub address: IpAddr,
    /// Whether it was the name of the page: only there does a session count.
    pub is_page: bool,
}

/// The id of a request, which is in its answer.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Checks a request, has it answered in time, and completes the answer.
pub(super) async fn check(
    State(context): State<AdminContext>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = next_id();
    request.extensions_mut().insert(RequestId(id.clone()));
    let settings = context.settings();
    let has_body = has_body(request.headers());
    let mut response = match admit(&settings.names, &request) {
        Ok(Admitted::Asker(asker)) => {
            request.extensions_mut().insert(asker);
            let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
            answer.unwrap_or_else(|_| AdminProblem::new(Trouble::TimedOut).into_response())
        }
        Ok(Admitted::Elsewhere(place)) => Redirect::temporary(&place).into_response(),
        Err(problem) => problem.into_response(),
    };
    problem::write(&mut response, &id);
    if has_body && (response.status().is_client_error() || response.status().is_server_error()) {
        // The buffers of the connection hold what was sent, and a value may be in it.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    complete(response.headers_mut(), &settings.names, &id);
    response
}

/// The answer to a request that no handler sees, after which the connection ends. It carries what
/// every answer does.
pub(super) fn unhandled(context: &AdminContext, problem: AdminProblem) -> Response {
    let id = next_id();
    let mut response = problem.into_response();
    problem::write(&mut response, &id);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    complete(headers, &context.settings().names, &id);
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

enum Admitted {
    Asker(Asker),
    /// The same page under the name whose cookies are kept apart.
    Elsewhere(String),
}

fn admit(names: &Names, request: &Request) -> Result<Admitted, AdminProblem> {
    let headers = request.headers();
    let authority = authority(request)?;
    let named = names.meaning(authority);
    if named == Named::Foreign {
        return Err(AdminProblem::because(
            Trouble::UnknownName,
            format!(
                "This listener does not answer for that name. Open {}, or add the name to \
                 admin.names",
                names.url()
            ),
        ));
    }
    came_directly(headers)?;
    let ends = request.extensions().get::<Ends>();
    let peer = ends.map(|ends| ends.peer.ip().to_canonical());
    let Some(peer) = peer else {
        return Err(AdminProblem::new(Trouble::Internal));
    };
    let address = protected(names, headers, peer)?;
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if named == Named::Alias && is_read && !path.starts_with("/api/") {
        return Ok(Admitted::Elsewhere(format!("{}{path}", names.url())));
    }
    let is_change = !is_read && *request.method() != Method::OPTIONS;
    if is_change && !(path.starts_with("/api/") && is_nobodys(headers)) {
        own_site(names, named, headers, authority)?;
    }
    Ok(Admitted::Asker(Asker {
        address,
        is_page: named == Named::Page,
    }))
}

/// The one name that the request is for.
fn authority(request: &Request) -> Result<&str, AdminProblem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    match (host, hosts.next(), request.uri().authority()) {
        (Some(host), None, None) => Ok(host),
        (Some(host), None, Some(named)) if named.as_str() == host => Ok(host),
        _ => Err(AdminProblem::because(
            Trouble::Malformed,
            "The request needs one Host field.",
        )),
    }
}

/// An agent that may use the proxy is not to reach the place where its limits are set, also not
/// through a reverse proxy that the proxy takes for any other destination.
fn came_directly(headers: &HeaderMap) -> Result<(), AdminProblem> {
    let is_own = |via: &HeaderValue| {
        let via = via.to_str().unwrap_or_default();
        via.split(',')
            .any(|hop| hop.split_whitespace().nth(1) == Some("egret"))
    };
    if headers.get_all(header::VIA).iter().any(is_own) {
        return Err(AdminProblem::because(
            Trouble::ThroughProxy,
            "The admin listener is not reached through Egret's own proxy. Connect to it directly.",
        ));
    }
    Ok(())
}

/// The address of who asks, if passwords and cookies are protected on the way.
fn protected(names: &Names, headers: &HeaderMap, peer: IpAddr) -> Result<IpAddr, AdminProblem> {
    if names.is_trusted(peer) {
        let scheme = headers.get(FORWARDED_PROTO);
        if scheme.is_some_and(|scheme| scheme.as_bytes() != b"https")
            && names.url().scheme.as_str() == "https"
        {
            return Err(AdminProblem::because(
                Trouble::PlainHttp,
                "The reverse proxy was reached over plain HTTP. Use https.",
            ));
        }
        return Ok(forwarded_for(names, headers).unwrap_or(peer));
    }
    if peer.is_loopback() {
        return Ok(peer);
    }
    Err(AdminProblem::because(
        Trouble::PlainHttp,
        "Over the network this listener is reached through a reverse proxy with TLS, whose address \
         is in admin.trusted_proxies. Plain HTTP is answered on loopback only.",
    ))
}

/// The last address that no trusted proxy has: what stands before it, the client could have written.
fn forwarded_for(names: &Names, headers: &HeaderMap) -> Option<IpAddr> {
    let fields = headers.get_all(FORWARDED_FOR).iter();
    let texts: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
    let mut addresses = texts.iter().flat_map(|text| text.split(',')).rev();
    addresses.find_map(|text| {
        let address = text.trim().parse::<IpAddr>().ok()?.to_canonical();
        (!names.is_trusted(address)).then_some(address)
    })
}

/// Whether a request has nothing that could make it somebody's, or that a browser adds: the answer is
/// that it needs a token.
fn is_nobodys(headers: &HeaderMap) -> bool {
    let says = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::ORIGIN,
        FETCH_SITE,
    ];
    says.iter().all(|name| !headers.contains_key(name))
}

/// What changes something has to come from a page of this listener, or from a program with a token.
/// No page of another site can send a token: that takes a permission which is never given (CORS).
///
/// Under another name of this machine there are no sessions, so that no cookie of ours goes to the
/// other servers there.
fn own_site(
    names: &Names,
    named: Named,
    headers: &HeaderMap,
    authority: &str,
) -> Result<(), AdminProblem> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let has_token = headers.contains_key(header::AUTHORIZATION);
    let is_own = match (text(&FETCH_SITE), text(&header::ORIGIN)) {
        // Another port of the same host is `same-site`.
        (Some(site), None) => site == "same-origin",
        (Some(site), Some(origin)) => {
            site == "same-origin" && names.is_own_origin(origin, authority)
        }
        (None, Some(origin)) => names.is_own_origin(origin, authority),
        (None, None) => has_token,
    };
    if is_own && (has_token || named == Named::Page) {
        return Ok(());
    }
    Err(AdminProblem::because(
        Trouble::ForeignOrigin,
        format!(
            "A change needs `Sec-Fetch-Site: same-origin`, an `Origin` that is {}, or a token in \
             `Authorization`",
            names.url()
        ),
    ))
}

/// Adds what every answer carries, unless the handler decided otherwise about its own.
fn complete(headers: &mut HeaderMap, names: &Names, id: &str) {
    for (name, value) in HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if names.url().scheme.as_str() == "https" {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Ids are for finding a request in the log, and need not be secret.
fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("a{:x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::config::Admin;

    fn names(trusted: &[&str]) -> Names {
        let listener = "127.0.0.1:7071".parse().unwrap();
        let config = Admin {
            listen: listener,
            url: None,
            names: Vec::new(),
            trusted_proxies: trusted.iter().map(|range| range.parse().unwrap()).collect(),
            session_lifetime: ANSWER,
            session_idle: ANSWER,
        };
        Names::new(&config, listener)
    }

    fn request(method: &str, peer: &str, fields: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().method(method).uri("/signin");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        request.extensions_mut().insert(Ends { peer });
        request
    }

    fn outcome(names: &Names, request: &Request) -> Result<IpAddr, Trouble> {
        match admit(names, request) {
            Ok(Admitted::Asker(asker)) => Ok(asker.address),
            Ok(Admitted::Elsewhere(_)) => panic!("elsewhere"),
            Err(problem) => Err(problem.trouble),
        }
    }

    const HERE: (&str, &str) = ("host", "egret.localhost:7071");

    #[test]
    fn a_change_comes_from_a_page_of_this_listener_or_with_a_token() {
        let names = names(&[]);
        let sent = |fields: &[(&str, &str)]| {
            let fields = [&[HERE], fields].concat();
            outcome(&names, &request("POST", "127.0.0.1", &fields)).is_ok()
        };
        let own = ("origin", "http://egret.localhost:7071");
        let other = ("origin", "http://egret.localhost:9300");
        assert!(sent(&[("sec-fetch-site", "same-origin")]));
        assert!(sent(&[own]) && sent(&[own, ("sec-fetch-site", "same-origin")]));
        assert!(sent(&[("authorization", "Bearer x")]));
        for fields in [
            &[][..],
            &[other],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), own],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), other],
            &[("authorization", "Bearer x"), other],
            &[
                ("authorization", "Bearer x"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(!sent(fields), "{fields:?}");
        }
    }

    #[test]
    fn a_change_of_the_api_by_nobody_is_left_to_who_asks_for_a_token() {
        let names = names(&[]);
        let sent = |path: &str, fields: &[(&str, &str)]| {
            let mut request = request("POST", "127.0.0.1", &[&[HERE], fields].concat());
            *request.uri_mut() = path.parse().unwrap();
            outcome(&names, &request).is_ok()
        };
        assert!(sent("/api/v1/import", &[]));
        assert!(!sent("/signin", &[]));
        for field in [
            ("cookie", "egret-session-7071=x"),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(!sent("/api/v1/import", &[field]), "{field:?}");
        }
    }

    #[test]
    fn plain_http_is_answered_on_loopback_or_behind_a_trusted_proxy() {
        let alone = names(&[]);
        let get = |names: &Names, peer: &str, more: &[(&str, &str)]| {
            outcome(names, &request("GET", peer, &[&[HERE], more].concat()))
        };
        assert!(get(&alone, "127.0.0.1", &[]).is_ok() && get(&alone, "::1", &[]).is_ok());
        assert_eq!(get(&alone, "10.0.0.1", &[]), Err(Trouble::PlainHttp));
        let behind = names(&["10.0.0.1/32"]);
        let said = ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.1");
        let address = get(&behind, "10.0.0.1", &[said]);
        assert_eq!(address, Ok("192.0.2.7".parse().unwrap()));
        assert_eq!(get(&behind, "10.0.0.2", &[said]), Err(Trouble::PlainHttp));
        // Nobody else may say who asks.
        let loopback = get(&behind, "127.0.0.1", &[said]);
        assert_eq!(loopback, Ok("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn other_names_and_the_proxy_are_refused_and_aliases_lead_to_the_page() {
        let names = names(&[]);
        let get = |fields: &[(&str, &str)]| outcome(&names, &request("GET", "::1", fields));
        assert_eq!(get(&[("host", "evil.example")]), Err(Trouble::UnknownName));
        assert_eq!(get(&[]), Err(Trouble::Malformed));
        assert_eq!(get(&[HERE, HERE]), Err(Trouble::Malformed));
        let via = get(&[HERE, ("via", "1.1 cache, 1.1 egret")]);
        assert_eq!(via, Err(Trouble::ThroughProxy));
        let alias = request("GET", "::1", &[("host", "127.0.0.1:7071")]);
        match admit(&names, &alias) {
            Ok(Admitted::Elsewhere(place)) => {
                assert_eq!(place, "http://egret.localhost:7071/signin");
            }
            _ => panic!("the page is at its own name"),
        }
    }
}
