//! The codings in which answers, and messages of gRPC and the Connect protocol, may come.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use crate::coding;

/// What gRPC, and the streams of the Connect protocol, say in place of `Accept-Encoding`.
static NAMES: [HeaderName; 2] = [
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
];

/// Leaves the upstream only codings of messages that can be opened here. Both protocols send
/// messages by POST.
pub fn narrow(head: &mut Parts) {
    if head.method == Method::POST {
        for name in &NAMES {
            narrow_lines(&mut head.headers, name);
        }
    }
}

/// Leaves the upstream only codings that can be opened here; returns what the client takes.
pub fn narrow_accept_encoding(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let lines: Vec<_> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .cloned()
        .collect();
    let narrowed = coding::narrow_accept_encoding(lines.iter().map(HeaderValue::as_bytes));
    if let Some(narrowed) = narrowed.and_then(|text| HeaderValue::from_str(&text).ok())
        && lines.first() != Some(&narrowed)
    {
        headers.insert(header::ACCEPT_ENCODING, narrowed);
    }
    lines
}

fn narrow_lines(headers: &mut HeaderMap, name: &HeaderName) {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    // Nothing is allocated for the many requests without such a line.
    let lines: Vec<&[u8]> = lines.collect();
    let narrowed = coding::narrow_message_encodings(&lines);
    if let Some(narrowed) = narrowed.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(name, narrowed);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn narrowed(method: &str, lines: &[&str]) -> Vec<String> {
        let mut request = Request::builder().method(method);
        for line in lines {
            request = request.header("grpc-accept-encoding", *line);
        }
        let mut head = request.body(()).expect("a request").into_parts().0;
        narrow(&mut head);
        let left = head.headers.get_all("grpc-accept-encoding").iter();
        left.map(|line| line.to_str().expect("text").to_owned())
            .collect()
    }

    #[test]
    fn only_what_can_be_opened_is_offered() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&["identity,deflate,gzip"], &["identity,deflate,gzip"]),
            (&["snappy, GZIP , br"], &["GZIP, br"]),
            (&["snappy"], &["identity"]),
            (&["gzip", "lz4"], &["gzip"]),
        ] {
            assert_eq!(narrowed("POST", lines), expected, "{lines:?}");
        }
        assert_eq!(narrowed("GET", &["snappy"]), ["snappy"]);
    }
}
