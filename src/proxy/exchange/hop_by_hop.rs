//! What ends at this proxy, in both directions (RFC 9110 section 7.6.1).
//!
//! The names come from the one list of header roles, [`header_role`], plus whatever `Connection`
//! nominates.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::policy::location::{HeaderRole, header_role};

/// Removes from a message what is not for the next hop: hop-by-hop headers, and those spoken
/// between the client and Egret. The latter also inside a tunnel (Deno repeats
/// `Proxy-Authorization` there, and the upstream would receive the client's token) and in answers
/// (an upstream must not speak in the proxy's name). Returns whether its sender takes trailers, as
/// HTTP/1.1 says so.
pub fn strip(headers: &mut HeaderMap) -> bool {
    strip_also(headers, |_| false)
}

/// The same for an answer. Where trailers are not passed on, they are not announced either.
pub fn strip_answer(headers: &mut HeaderMap, takes_trailers: bool) {
    strip_also(headers, |name| !takes_trailers && *name == header::TRAILER);
}

fn strip_also(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) -> bool {
    let ends = |name: &HeaderName| ends_here(name.as_str()) || also(name);
    // `Connection`, which nominates others, is one of those that end here.
    if !headers.keys().any(ends) {
        return false;
    }
    let nominated = nominated(headers);
    let goes = |name: &HeaderName| ends(name) || nominated.contains(name.as_str());
    let takes_trailers = headers.get_all(header::TE).iter().any(accepts_trailers);
    remove(headers, goes);
    if takes_trailers {
        // RFC 9110 section 10.1.4: an intermediary that forwards trailers says so for itself.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    takes_trailers
}

/// Removes fields. The map is rebuilt rather than thinned out, because removing from a `HeaderMap`
/// changes the order of what stays.
fn remove(fields: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let mut kept = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| !goes(name)) {
        kept.append(name.clone(), value.clone());
    }
    *fields = kept;
}

/// Whether a field of this name is never passed on. `Trailer` stays: the trailers it announces are forwarded.
pub fn ends_here(lower_case_name: &str) -> bool {
    if !may_end_here(lower_case_name) {
        return false;
    }
    match header_role(lower_case_name) {
        HeaderRole::HopByHop => lower_case_name != header::TRAILER,
        HeaderRole::ProxyOwn => true,
        _ => lower_case_name == header::TRANSFER_ENCODING,
    }
}

/// Whether a name begins and is as long as one that ends here. Each field of each message is asked, and
/// nearly all are known by this to pass.
fn may_end_here(name: &str) -> bool {
    match name.as_bytes() {
        [b'c' | b'k', ..] => name.len() == "connection".len(),
        [b't', ..] => matches!(name.len(), 2 | 7 | 17),
        [b'u', ..] => name.len() == "upgrade".len(),
        [b'h', ..] => name.len() == "http2-settings".len(),
        [b'e' | b'p', ..] => true,
        _ => false,
    }
}

/// Fields that a sender must not put into a trailer section, because a recipient has acted on the
/// head by then: framing, routing, request modifiers, response control data, and what says how the
/// content is to be read (RFC 9110 section 6.5.1). A digest of the content is no such field.
const NEVER_TRAILERS: [HeaderName; 24] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PRAGMA,
    // Egret's own, or one that nobody could tell from it (RFC 9209).
    HeaderName::from_static("proxy-status"),
    header::RANGE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
];

/// Removes from a trailer section, in either direction, what ends at this hop and what is no
/// trailer. Without this a client could send the upstream a second `Host`, and an upstream could
/// answer in the proxy's name after its head was checked.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    if !trailers.keys().any(is_no_trailer) {
        return;
    }
    remove(trailers, is_no_trailer);
}

fn is_no_trailer(name: &HeaderName) -> bool {
    match header_role(name.as_str()) {
        HeaderRole::Forbidden => !is_digest(name.as_str()),
        HeaderRole::HopByHop | HeaderRole::ProxyOwn => true,
        _ => NEVER_TRAILERS.contains(name),
    }
}

/// Digests of the content are made while it is sent (RFC 9530, and `Content-MD5` of RFC 2616).
fn is_digest(lower_case_name: &str) -> bool {
    matches!(lower_case_name, "content-digest" | "content-md5")
}

/// The header names that `Connection` lists, lower-case. A list is made of those that would not end
/// here anyway: in nearly every request that leaves none.
pub fn nominated(headers: &HeaderMap) -> HashSet<String> {
    options(headers)
        // One in capitals is not recognised, and is listed to no harm.
        .filter(|option| !ends_here(option))
        .map(str::to_ascii_lowercase)
        .filter(|option| !is_end_to_end(option))
        .collect()
}

/// Fields that `Connection` must not take away (RFC 9110 section 7.6.1: never one that is meant for
/// all recipients). Without `Host` a value would go to the upstream's default virtual host, without
/// `Content-Encoding` a body would be read as something else, and without `Authorization` the
/// request would be sent without a credential. Such an option is ignored.
fn is_end_to_end(lower_case_name: &str) -> bool {
    const FIELDS: [HeaderName; 16] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::COOKIE,
        header::ETAG,
        header::EXPECT,
        // Without its condition a change is made that the client did not want.
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::LOCATION,
        header::RANGE,
        header::SET_COOKIE,
        header::STRICT_TRANSPORT_SECURITY,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ];
    header_role(lower_case_name) == HeaderRole::Forbidden
        || FIELDS.iter().any(|field| field == lower_case_name)
}

/// Whether `Connection` lists this name.
pub fn nominates(headers: &HeaderMap, name: &HeaderName) -> bool {
    options(headers).any(|option| option.eq_ignore_ascii_case(name.as_str()))
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|option| str::from_utf8(option).ok())
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

fn accepts_trailers(value: &HeaderValue) -> bool {
    value.as_bytes().split(|b| *b == b',').any(|coding| {
        let coding = coding.split(|b| *b == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_ends_here_goes_and_the_rest_keeps_its_order() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "Keep-Alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("egret-action", "a"),
            ("accept", "b"),
            ("te", "trailers;q=1, gzip"),
            ("x-last", "c"),
        ]);
        strip(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "accept", "x-last", "te"]);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn connection_takes_no_field_away_that_is_meant_for_the_upstream() {
        let mut headers = map(&[
            ("host", "a"),
            (
                "connection",
                "Host, content-type, Content-Encoding, authorization, COOKIE, x-hop, if-match, Vary",
            ),
            ("content-type", "b"),
            ("content-encoding", "gzip"),
            ("authorization", "c"),
            ("cookie", "d"),
            ("x-hop", "e"),
            ("if-match", "f"),
            ("vary", "g"),
        ]);
        strip(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        let kept = [
            "host",
            "content-type",
            "content-encoding",
            "authorization",
            "cookie",
            "if-match",
            "vary",
        ];
        assert_eq!(names, kept);
    }

    #[test]
    fn a_trailer_section_holds_trailers_only() {
        let mut trailers = map(&[
            ("x-checksum", "1"),
            ("host", "evil.test"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("egret-action", "a"),
            ("egret-error", "b"),
            ("content-length", "7"),
            ("content-type", "text/html"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-last"),
            ("set-cookie", "c"),
            ("content-digest", "d"),
            ("grpc-status", "0"),
            ("x-last", "e"),
        ]);
        strip_trailers(&mut trailers);
        let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            ["x-checksum", "content-digest", "grpc-status", "x-last"]
        );
    }

    #[test]
    fn a_look_at_the_beginning_misses_no_name() {
        let names = [
            "connection",
            "keep-alive",
            "te",
            "upgrade",
            "http2-settings",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
            "proxy-connection",
            "egret-error",
            "egret-",
            "transfer-encoding",
        ];
        for name in names {
            assert!(ends_here(name), "{name}");
        }
        for name in ["trailer", "host", "cookie", "content-length", "etag", "te2"] {
            assert!(!ends_here(name), "{name}");
        }
    }

    #[test]
    fn trailers_are_announced_to_who_takes_them() {
        for takes_trailers in [true, false] {
            let mut headers = map(&[("trailer", "x-sum"), ("server", "s")]);
            strip_answer(&mut headers, takes_trailers);
            assert_eq!(headers.contains_key("trailer"), takes_trailers);
            assert!(headers.contains_key("server"));
        }
        assert!(strip(&mut map(&[("te", "gzip, trailers")])));
        assert!(!strip(&mut map(&[("te", "gzip"), ("host", "a")])));
    }

    #[test]
    fn an_upstream_cannot_speak_for_the_proxy() {
        let mut headers = map(&[("egret-error", "x"), ("server", "s"), ("upgrade", "h2c")]);
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
