//! Requests for a part of a representation (RFC 9110 section 14), under every name.
//!
//! A few bytes at a time would bring a value back in pieces of which none can be recognised: the value
//! that the request uses, or one that lies at a host since an earlier request. So a request goes out
//! without these fields if it uses a value, or if its principal has one for that host. Where the
//! destination is configured otherwise they stay. The client is told.

use http::HeaderMap;
use http::header::{self, HeaderName};

/// `Range`, its condition, and the names that object stores have for it.
static FIELDS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    // A draft of 1995 that Apache still honours.
    HeaderName::from_static("request-range"),
    HeaderName::from_static("x-ms-range"),
    HeaderName::from_static("x-amz-range"),
    HeaderName::from_static("x-goog-range"),
];

/// What the client is told that was ignored.
pub const NAME: &str = "range";

/// That a request asked for a part, and went out without saying so.
#[derive(Clone, Copy)]
pub struct Withheld;

/// Whether a request asks for a part. One look at each name takes less time than five searches.
pub fn are_asked_for(headers: &HeaderMap) -> bool {
    let mut names = headers.keys();
    names.any(|name| name.as_str().ends_with("range") && FIELDS.contains(name))
}

/// Removes the fields.
pub fn withhold(headers: &mut HeaderMap) {
    for name in &FIELDS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_name_is_known() {
        for name in &FIELDS {
            let mut headers = HeaderMap::new();
            headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
            headers.insert("content-range", HeaderValue::from_static("bytes 0-1/2"));
            assert!(!are_asked_for(&headers));
            headers.insert(name, HeaderValue::from_static("bytes=0-1"));
            assert!(are_asked_for(&headers), "{name}");
            withhold(&mut headers);
            assert_eq!(headers.len(), 2);
        }
    }
}
