//! A request in the form that its protocol wants on the wire, and when it may go there twice.

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Uri, Version};
use http_body::Body as _;
use memchr::{memchr, memchr2};

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::exchange::upgrade;
use crate::proxy::runtime::limits::HEADERS_ON_STACK;

/// For HTTP/1.1: origin form and `Host`. Trailers are announced where they are known, because the
/// library sends no others (RFC 9110 section 6.6.2).
pub fn for_http1(mut request: Request<OutBody>) -> Result<Request<OutBody>, Refusal> {
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority() {
        // It was on its way over HTTP/2 and came back.
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| unfit())?;
        request.headers_mut().insert(header::HOST, host);
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.ok_or_else(unfit)?.into();
    }
    let body = request.body();
    if !body.is_end_stream()
        && body.size_hint().exact().is_none()
        && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        // Unless it is told so, the library takes a GET for one without a body.
        let chunked = HeaderValue::from_static("chunked");
        request
            .headers_mut()
            .insert(header::TRANSFER_ENCODING, chunked);
    }
    if let Some(names) = request.body().trailer_names()
        && !request.headers().contains_key(header::TRAILER)
        && let Ok(names) = HeaderValue::from_str(&names)
    {
        request.headers_mut().insert(header::TRAILER, names);
    }
    Ok(request)
}

/// For HTTP/2: `:scheme` and `:authority` instead of `Host` (RFC 9113 section 8.3.1), the authority
/// as the client wrote it.
pub fn for_http2(
    mut request: Request<OutBody>,
    destination: &Destination,
) -> Result<Request<OutBody>, Refusal> {
    if request.uri().authority().is_some() {
        return Ok(request);
    }
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    declare_length(&mut request);
    let host = request.headers_mut().remove(header::HOST);
    let authority = match host {
        Some(host) => Authority::try_from(host.as_bytes()),
        None => Authority::try_from(destination.authority().as_str()),
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority.map_err(|_| unfit())?);
    parts.scheme = Some(match destination.scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| unfit())?;
    Ok(request)
}

/// RFC 9110 section 8.6: a length that is known is told, and that there is nothing is told where
/// something would be expected.
fn declare_length(request: &mut Request<OutBody>) {
    let without = [Method::GET, Method::HEAD, Method::DELETE, Method::CONNECT];
    let expects_content = !without.contains(request.method());
    if let Some(length) = request.body().size_hint().exact()
        && (length != 0 || expects_content)
        && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// What of an answer's head is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is longer than is read, or has more fields than are.
    TooLarge,
    /// The status line.
    Status,
    /// What says how long the body is.
    Length,
    /// Another field line.
    Field,
}

impl Broken {
    /// Reads it off the kind of the library's error; none if the answer did not come at all.
    pub fn of(error: &hyper::Error) -> Option<Self> {
        if !error.is_parse() {
            return None;
        }
        if error.is_parse_too_large() {
            return Some(Self::TooLarge);
        }
        // The kinds that have no question of their own have a fixed text, which is compared and not
        // shown.
        let kind = error.to_string();
        Some(match &*kind {
            _ if error.is_parse_status() || kind.contains("version") => Self::Status,
            _ if kind.contains("content-length") || kind.contains("transfer-encoding") => {
                Self::Length
            }
            _ => Self::Field,
        })
    }

    /// The refusal of an interim answer that can be read only once all of the request is sent.
    pub fn refuse_interim(destination: &Destination) -> Refusal {
        let detail = format!(
            "an interim answer (1xx) of the destination came before it had read the request, and has more \
             than {HEADERS_ON_STACK} fields or a folded or malformed line"
        );
        Refusal::new(Code::UpstreamProtocolError, detail).destination(destination.to_string())
    }

    /// The error that names it, and nothing of its content.
    pub fn refuse(self, destination: &Destination, max_header_bytes: usize) -> Refusal {
        let detail = match self {
            Self::TooLarge => format!(
                "the head of the destination's answer is larger than {max_header_bytes} bytes \
                 (upstream.max_header_bytes), or has more than {} fields",
                max_fields(max_header_bytes)
            ),
            Self::Status => {
                "the destination's answer is not HTTP: its status line is malformed".into()
            }
            Self::Length => "the destination's answer is not HTTP: its Content-Length or \
                             Transfer-Encoding is malformed, or there are several"
                .into(),
            Self::Field => "the destination's answer is not HTTP: a field line of it is malformed \
                            (RFC 9112 section 5)"
                .into(),
        };
        Refusal::new(Code::UpstreamProtocolError, detail).destination(destination.to_string())
    }
}

/// Most fields of an answer: those that fit if they are short. For each the library sets memory aside.
pub fn max_fields(max_header_bytes: usize) -> usize {
    (max_header_bytes / 32).max(HEADERS_ON_STACK)
}

/// The lengths of a message do not agree, or one is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousLength;

/// Says how long an answer is by one number, and returns it. Lines that agree are one (RFC 9110 section
/// 8.6); where they do not, no two readers would take the same bytes for the answer.
pub fn settle_length(headers: &mut HeaderMap) -> Result<Option<u64>, AmbiguousLength> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let is_one = lines.next().is_none();
    if is_one && let Some(length) = parse_length(first.as_bytes()) {
        // In nearly every answer.
        return Ok(Some(length));
    }
    let mut numbers = std::iter::once(first)
        .chain(headers.get_all(header::CONTENT_LENGTH).iter().skip(1))
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|number| parse_length(number.trim_ascii()));
    let length = numbers.next().flatten().ok_or(AmbiguousLength)?;
    if numbers.any(|number| number != Some(length)) {
        return Err(AmbiguousLength);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(Some(length))
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    let are_digits = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| are_digits)?
        .parse()
        .ok()
}

fn unfit() -> Refusal {
    Refusal::new(
        Code::RequestMalformed,
        "the target cannot be sent in the protocol that the destination speaks",
    )
}

/// The head of a request once more, in case it has to be sent again. Every request is copied, so all
/// of its text goes into one piece of memory. Sharing it instead would keep the buffer that the request was
/// read into from being used for the next, and have it wiped each time.
///
/// Left out are the extensions, which are notes for this process and have been read, but for the one
/// that is read again.
pub struct HeadCopy {
    method: Method,
    version: Version,
    /// Where the target has them.
    base: Option<(UriScheme, Authority)>,
    /// Path and query, and then each field: its name, a colon, its value, and [`PLAIN`] or [`SENSITIVE`].
    text: Vec<u8>,
    path: usize,
    upgrade: Option<upgrade::Asked>,
}

/// Ends the copy of a value. No value holds a control character but the tab.
const PLAIN: u8 = b'\n';
/// Ends that of a sensitive one.
const SENSITIVE: u8 = b'\r';

impl HeadCopy {
    /// Of this request.
    pub fn of<B>(request: &Request<B>) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let length = |(name, value): (&HeaderName, &HeaderValue)| {
            name.as_str().len() + ":".len() + value.len() + 1
        };
        let length: usize = headers.iter().map(length).sum();
        let mut text = Vec::with_capacity(path.len() + length);
        text.extend_from_slice(path.as_bytes());
        for (name, value) in headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.push(if value.is_sensitive() {
                SENSITIVE
            } else {
                PLAIN
            });
        }
        Self {
            method: request.method().clone(),
            version: request.version(),
            base: uri.scheme().cloned().zip(uri.authority().cloned()),
            text,
            path: path.len(),
            upgrade: request.extensions().get::<upgrade::Asked>().copied(),
        }
    }

    /// The request with this head. It is one that was sent, so there is always one.
    pub fn into_request<B>(self, body: B) -> Option<Request<B>> {
        let mut text = Bytes::from(self.text);
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority) = self.base.unzip();
        let path = text.split_to(self.path);
        uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        let mut request = Request::new(body);
        while let Some(colon) = memchr(b':', &text) {
            let name = text.split_to(colon);
            text.advance(":".len());
            let end = memchr2(PLAIN, SENSITIVE, &text)?;
            let value = text.split_to(end);
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            value.set_sensitive(text.first() == Some(&SENSITIVE));
            text.advance(1);
            let name = HeaderName::from_lowercase(&name).ok()?;
            request.headers_mut().append(name, value);
        }
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.version_mut() = self.version;
        if let Some(asked) = self.upgrade {
            request.extensions_mut().insert(asked);
        }
        Some(request)
    }
}

/// What it takes to send a request again, if all of it is here.
pub struct Again {
    head: HeadCopy,
    body: Held,
}

impl Again {
    /// Of a request with this head and this body.
    pub fn new(head: HeadCopy, body: Held) -> Self {
        Self { head, body }
    }

    /// The request.
    pub fn into_request(self) -> Option<Request<OutBody>> {
        self.head.into_request(OutBody::held(self.body))
    }

    /// Whether the upstream may see the request twice (RFC 9110 section 9.2.2).
    pub fn is_harmless(&self) -> bool {
        may_be_seen_twice(&self.head.method)
    }
}

/// What it takes to send a request again that the upstream may have seen, if that does no harm: not
/// one that streams, and never a POST.
pub fn repeatable(request: &Request<OutBody>) -> Option<Again> {
    if !may_be_seen_twice(request.method()) {
        return None;
    }
    let body = request.body().to_held()?;
    Some(Again::new(HeadCopy::of(request), body))
}

/// Methods that are idempotent: those of RFC 9110, and those that only read among the others that are
/// registered (RFC 3253, RFC 4918, RFC 5323, QUERY).
fn may_be_seen_twice(method: &Method) -> bool {
    let reads = || matches!(method.as_str(), "PROPFIND" | "REPORT" | "SEARCH" | "QUERY");
    method.is_idempotent() || *method != Method::POST && reads()
}

/// Whether the upstream says that it did not look at the request: it refused the stream (RFC 9113
/// section 8.7), or is leaving and promised to answer earlier streams only (section 6.8); or it never
/// saw it, because the connection was closed in order at that moment, which this side does once the
/// other has left and no stream is open. Read off the kind of the library's error; its text is never
/// shown.
pub fn was_refused(error: &h2::Error) -> bool {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => true,
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_head_is_the_head() {
        for target in ["/a?b=c", "/", "*", "https://a.test:8443/x?y"] {
            let request = Request::builder()
                .method("PUT")
                .uri(target)
                .version(Version::HTTP_2)
                .header("x-a", "1")
                .header("host", "a.test")
                .header("x-a", "")
                .header("x-b", "\u{e9}")
                .header("x-c", "a:b\t:")
                .body(7);
            let mut request = request.expect("a request");
            let host = request.headers_mut().get_mut("host");
            host.expect("a field").set_sensitive(true);
            request.extensions_mut().insert(upgrade::Asked);
            let copy = HeadCopy::of(&request).into_request(7).expect("a copy");
            assert_eq!(copy.uri(), request.uri());
            assert_eq!(copy.method(), request.method());
            assert_eq!(copy.version(), request.version());
            assert_eq!(copy.body(), request.body());
            let (copied, headers) = (copy.headers(), request.headers());
            assert!(copied.iter().eq(headers.iter()));
            assert!(copied["host"].is_sensitive() && !copied["x-b"].is_sensitive());
            assert!(copy.extensions().get::<upgrade::Asked>().is_some());
        }
    }

    #[test]
    fn a_length_is_said_once() {
        for (lines, expected) in [
            (&[][..], Ok(None)),
            (&["5"], Ok(Some(5))),
            (&["5", "5"], Ok(Some(5))),
            (&["5, 5", " 5"], Ok(Some(5))),
            (&["5", "6"], Err(AmbiguousLength)),
            (&["5, 6"], Err(AmbiguousLength)),
            (&["5", ""], Err(AmbiguousLength)),
            (&["+5"], Err(AmbiguousLength)),
            (&["99999999999999999999"], Err(AmbiguousLength)),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(line));
            }
            assert_eq!(settle_length(&mut headers), expected, "{lines:?}");
            if let Ok(Some(_)) = expected {
                let said: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
                assert_eq!(said, ["5"], "{lines:?}");
            }
        }
    }
}
