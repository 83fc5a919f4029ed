//! What an intermediary says of itself, and how far a request may go.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version};

/// Adds this hop to a message that is passed on (RFC 9110 section 7.6.3), with the version in which it
/// was received.
pub fn add(headers: &mut HeaderMap, received: Version) {
    let hop = match received {
        Version::HTTP_2 => "2 egret",
        Version::HTTP_10 => "1.0 egret",
        _ => "1.1 egret",
    };
    headers.append(header::VIA, HeaderValue::from_static(hop));
}

/// Whether a request ends here. One that traces the way to the upstream says how many hops it may go
/// on (RFC 9110 section 7.6.2); it is counted down.
pub fn ends_here(method: &Method, headers: &mut HeaderMap) -> bool {
    if !matches!(*method, Method::TRACE | Method::OPTIONS) {
        return false;
    }
    let Some(hops) = headers.get(header::MAX_FORWARDS) else {
        return false;
    };
    // Something else is not for an intermediary to interpret.
    let Some(hops) = hops.to_str().ok().and_then(|hops| hops.parse::<u64>().ok()) else {
        return false;
    };
    if let Some(left) = hops.checked_sub(1) {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
    }
    hops == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(method: Method, hops: &str) -> (bool, String) {
        let mut headers = HeaderMap::new();
        headers.insert(header::MAX_FORWARDS, hops.parse().unwrap());
        let ends = ends_here(&method, &mut headers);
        let left = headers[header::MAX_FORWARDS].to_str().unwrap();
        (ends, left.to_owned())
    }

    #[test]
    fn hops_are_counted_down_where_they_count() {
        for method in [Method::TRACE, Method::OPTIONS] {
            assert_eq!(play(method.clone(), "0"), (true, "0".into()));
            assert_eq!(play(method.clone(), "1"), (false, "0".into()));
            assert_eq!(play(method.clone(), "10"), (false, "9".into()));
            assert_eq!(play(method.clone(), "-1"), (false, "-1".into()));
            assert_eq!(play(method.clone(), "x"), (false, "x".into()));
            assert!(!ends_here(&method, &mut HeaderMap::new()));
        }
        assert_eq!(play(Method::GET, "0"), (false, "0".into()));
    }
}
