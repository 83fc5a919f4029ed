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
/// (an upstream must not speak in the proxy's name).
///
/// The map is rebuilt rather than thinned out, because removing from a `HeaderMap` changes the
/// order of what stays.
pub fn strip(headers: &mut HeaderMap) {
    // `Connection`, which nominates others, is one of those that end here.
    if !headers.keys().any(|name| ends_here(name.as_str())) {
        return;
    }
    let nominated = nominated(headers);
    let goes = |name: &HeaderName| ends_here(name.as_str()) || nominated.contains(name.as_str());
    let wants_trailers = headers.get_all(header::TE).iter().any(accepts_trailers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        if !goes(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    if wants_trailers {
        // RFC 9110 section 10.1.4: an intermediary that forwards trailers says so for itself.
        kept.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    *headers = kept;
}

/// `Trailer` stays: the trailers it announces are forwarded.
fn ends_here(lower_case_name: &str) -> bool {
    match header_role(lower_case_name) {
        HeaderRole::HopByHop => lower_case_name != header::TRAILER,
        HeaderRole::ProxyOwn => true,
        _ => lower_case_name == header::TRANSFER_ENCODING,
    }
}

/// The header names that `Connection` lists, lower-case. A list is made of those that would not end
/// here anyway: in nearly every request that leaves none.
pub fn nominated(headers: &HeaderMap) -> HashSet<String> {
    options(headers)
        // One in capitals is not recognised, and is listed to no harm.
        .filter(|option| !ends_here(option))
        .map(str::to_ascii_lowercase)
        .collect()
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
    fn an_upstream_cannot_speak_for_the_proxy() {
        let mut headers = map(&[("egret-error", "x"), ("server", "s"), ("upgrade", "h2c")]);
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
