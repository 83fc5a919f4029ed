//! Whether the request that hyper parsed is the one that the head guard let pass.
//!
//! The guard and hyper read the same bytes one after the other. If they ever took different bytes for
//! a head, a request would go out that was not searched and is not on record. So what they read is
//! compared, and the request is refused where it differs.

use http::header::{HeaderMap, HeaderName};
use http::{Request, Uri, header};

use crate::error::{Code, Refusal};
use crate::proxy::runtime::signal::RawHead;

/// Compares the request with the head as the guard saw it. HTTP/2 has no such head; for it, as for
/// both, what may occur once only is looked at.
pub fn check<B>(raw: Option<&RawHead>, request: &Request<B>) -> Result<(), Refusal> {
    let agrees = raw.is_none_or(|raw| is_same(raw, request));
    if !agrees {
        return Err(out_of_step());
    }
    let headers = request.headers();
    if headers.len() == headers.keys_len() {
        // No field has a second line.
        return Ok(());
    }
    check_once(headers, header::HOST, "Host")?;
    check_once(headers, header::PROXY_AUTHORIZATION, "Proxy-Authorization")
}

/// The refusal of a request that the guard did not see.
pub fn out_of_step() -> Refusal {
    let detail = "these bytes are not a request of their own; wait for the answer to the request before, \
                  or use a new connection";
    Refusal::new(Code::RequestMalformed, detail)
}

/// RFC 9112 section 3.2 and RFC 9110 section 11.7.2. The guard has counted both; over HTTP/2 no one else
/// does.
fn check_once(headers: &HeaderMap, name: HeaderName, shown: &str) -> Result<(), Refusal> {
    match headers.get_all(name).iter().nth(1) {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            Code::RequestMalformed,
            format!("the request has more than one {shown}"),
        )),
    }
}

/// The method, the target and the number of header lines.
fn is_same<B>(raw: &RawHead, request: &Request<B>) -> bool {
    let rest = raw.bytes.strip_prefix(request.method().as_str().as_bytes());
    let rest = rest.and_then(|rest| rest.strip_prefix(b" "));
    let Some(after) = rest.and_then(|rest| after_target(rest, request.uri())) else {
        return false;
    };
    after.starts_with(b" HTTP/1.") && raw.lines == request.headers().len()
}

/// What follows the target at the beginning of `bytes`, if it is there.
fn after_target<'a>(bytes: &'a [u8], uri: &Uri) -> Option<&'a [u8]> {
    let Some(authority) = uri.authority() else {
        // Origin form and asterisk form (RFC 9112 section 3.2).
        return bytes.strip_prefix(uri.path_and_query()?.as_str().as_bytes());
    };
    let bytes = match uri.scheme_str() {
        None => bytes,
        Some(scheme) => {
            let (written, rest) = bytes.split_at_checked(scheme.len())?;
            let is_scheme = written.eq_ignore_ascii_case(scheme.as_bytes());
            rest.strip_prefix(b"://").filter(|_| is_scheme)?
        }
    };
    let rest = bytes.strip_prefix(authority.as_str().as_bytes())?;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    match rest.strip_prefix(path.as_bytes()) {
        // The empty path of an absolute target is parsed as `/`.
        None => rest
            .starts_with(b" ")
            .then_some(rest)
            .filter(|_| path == "/"),
        rest => rest,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn agrees(first: &str, method: &str, target: &str, lines: usize) -> bool {
        let raw = RawHead {
            bytes: Bytes::from(format!("{first}\r\nHost: a\r\nX: y\r\n\r\n")),
            lines: 2,
            has_capitals: true,
        };
        let mut request = Request::builder().method(method).uri(target);
        for at in 0..lines {
            request = request.header(format!("x-{at}"), "y");
        }
        check(Some(&raw), &request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn a_request_agrees_with_its_own_head() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/a%3cb?k=%3C%3Cgh%3E%3E&q=|"),
            ("GET", "//a//b?"),
            ("OPTIONS", "*"),
            ("GET", "http://a.test"),
            ("GET", "http://a.test/"),
            ("GET", "HTTP://a.test:8080/x?y"),
            ("GET", "http://a.test?y"),
            ("GET", "http://user@a.test/x"),
            ("CONNECT", "a.test:443"),
            ("CONNECT", "[::1]:443"),
        ] {
            let first = format!("{method} {target} HTTP/1.1");
            assert!(agrees(&first, method, target, 2), "{first}");
            assert!(!agrees(&first, method, target, 3), "{first}");
            assert!(!agrees(&first, "PUT", target, 2), "{first}");
        }
    }

    #[test]
    fn a_request_with_another_target_does_not() {
        for (written, parsed) in [
            ("/a", "/b"),
            ("/a", "/"),
            ("/", "/a"),
            ("/a?b", "/a"),
            ("http://a.test/x", "/x"),
            ("/x", "http://a.test/x"),
            ("http://a.test/x", "https://a.test/x"),
            ("http://a.test/x", "http://b.test/x"),
            ("http://a.test", "http://a.test/x"),
        ] {
            let first = format!("GET {written} HTTP/1.1");
            assert!(!agrees(&first, "GET", parsed, 2), "{written} {parsed}");
        }
    }

    #[test]
    fn what_names_the_host_or_the_client_occurs_once() {
        for name in ["host", "proxy-authorization"] {
            let request = Request::builder().header(name, "a").header("x", "b");
            assert!(check(None, &request.body(()).unwrap()).is_ok());
            let request = Request::builder().header(name, "a").header(name, "a");
            let refused = check(None, &request.body(()).unwrap()).unwrap_err();
            assert_eq!(refused.code, Code::RequestMalformed);
        }
    }
}
