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
    // Something else is not for an intermediary to interpret. Of several the one counts that goes least far.
    let lines = headers.get_all(header::MAX_FORWARDS).iter();
    let hops: Option<Vec<u64>> = lines.map(|line| number(line.as_bytes())).collect();
    let Some(hops) = hops.and_then(|hops| hops.into_iter().min()) else {
        return false;
    };
    if let Some(left) = hops.checked_sub(1) {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
    }
    hops == 0
}

/// The number that these digits say, at most as much as a number holds.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
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
            assert_eq!(play(method.clone(), "+1"), (false, "+1".into()));
            let endless = "99999999999999999999";
            let most = (u64::MAX - 1).to_string();
            assert_eq!(play(method.clone(), endless), (false, most));
            assert_eq!(play(method.clone(), "-1"), (false, "-1".into()));
            assert_eq!(play(method.clone(), "x"), (false, "x".into()));
            assert!(!ends_here(&method, &mut HeaderMap::new()));
            let mut twice = HeaderMap::new();
            for hops in ["7", "0"] {
                twice.append(header::MAX_FORWARDS, HeaderValue::from_static(hops));
            }
            assert!(ends_here(&method, &mut twice));
        }
        assert_eq!(play(Method::GET, "0"), (false, "0".into()));
    }
}
