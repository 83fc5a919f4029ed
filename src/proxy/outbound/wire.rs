//! A request in the form that its protocol wants on the wire, and when it may go there twice.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, Scheme as UriScheme};
use http::{Method, Request, Uri, Version};
use http_body::Body as _;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::exchange::out_body::OutBody;

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

fn unfit() -> Refusal {
    Refusal::new(
        Code::RequestMalformed,
        "the target cannot be sent in the protocol that the destination speaks",
    )
}

/// The head of a request once more, to be sent again. Without its extensions, which are notes for
/// this process, and have been read.
pub fn copy(head: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    copy
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
