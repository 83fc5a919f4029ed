//! Requests whose client signed the very bytes that a substitution would change.
//!
//! The upstream would refuse them, with an error that sends people looking in the wrong place.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;

use super::sites::Site;
use crate::error::{Code, Refusal};

/// Digests over the body: RFC 9530, its predecessor RFC 3230, and `Content-MD5` of RFC 2616.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Refuses a change that a signature or digest of the client's covers.
pub fn check(head: &Parts, sites: &[Site]) -> Result<(), Refusal> {
    let covered = match sites.iter().any(Site::is_in_body) {
        true => in_body(head),
        false if sites.is_empty() => None,
        false => signature(head).map(signed),
    };
    covered.map_or(Ok(()), Err)
}

/// The refusal of any change to the body, if a signature or digest covers it.
pub fn in_body(head: &Parts) -> Option<Refusal> {
    let digest = || {
        let mut names = DIGESTS.iter();
        names.find(|name| head.headers.contains_key(**name))
    };
    signature(head).map(signed).or_else(|| {
        digest().map(|name| {
            refusal(format!(
                "the body is covered by {name}, which would no longer hold; send it without, or \
                 put the placeholder in a header"
            ))
        })
    })
}

fn signed(signature: &str) -> Refusal {
    refusal(format!(
        "the client signed this request ({signature}), so a value put in now would break the \
         signature; use a credential that is sent as it is, not signed with"
    ))
}

/// AWS Signature Version 4 in a header or in the query, or HTTP Message Signatures (RFC 9421).
fn signature(head: &Parts) -> Option<&'static str> {
    let query = head.uri.query().unwrap_or_default();
    if starts_with(&head.headers, &AUTHORIZATION, b"AWS4-") || query.contains("X-Amz-Signature=") {
        return Some("AWS Signature Version 4");
    }
    head.headers
        .contains_key("signature-input")
        .then_some("HTTP Message Signatures")
}

fn starts_with(headers: &HeaderMap, name: &HeaderName, prefix: &[u8]) -> bool {
    headers
        .get(name)
        .is_some_and(|value| value.as_bytes().starts_with(prefix))
}

fn refusal(detail: String) -> Refusal {
    Refusal::new(Code::RequestSigned, detail)
}
