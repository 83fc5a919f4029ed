//! Requests whose client signed the very bytes that a substitution would change.
//!
//! The upstream would refuse them, with an error that sends people looking in the wrong place.

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderName};
use http::request::Parts;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::occurrences::Occurrence;

/// Digests over the body: RFC 9530, its predecessor RFC 3230, and `Content-MD5` of RFC 2616.
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The signature of RFC 9421 says here what it covers.
static SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// Removes the digests of a body that is no longer the one they were made of.
pub fn remove_digests(fields: &mut HeaderMap) {
    // Hardly any message has one.
    if fields.keys().any(|name| DIGESTS.contains(name)) {
        for digest in &DIGESTS {
            fields.remove(digest);
        }
    }
}

/// Refuses a change that a signature or digest of the client's covers.
pub fn check(head: &Parts, occurrences: &[Occurrence]) -> Result<(), Refusal> {
    let covered = match occurrences.iter().any(Occurrence::is_in_body) {
        true => in_body(head),
        false if occurrences.is_empty() => None,
        false => signature(head).map(signed),
    };
    covered.map_or(Ok(()), Err)
}

/// The refusal of any change to the body, if a signature or digest covers it.
pub fn in_body(head: &Parts) -> Option<Refusal> {
    let digest = || {
        let mut names = DIGESTS.iter();
        names.find(|name| head.headers.contains_key(*name))
    };
    let framing = || is_aws_chunked(&head.headers).then_some("its aws-chunked framing");
    signature(head).map(signed).or_else(|| {
        framing().or_else(|| digest().map(HeaderName::as_str)).map(|name| {
            refusal(format!(
                "the body is covered by {name}, which would no longer hold; send it without, or \
                 put the placeholder in a header"
            ))
        })
    })
}

/// Whether the body is in the framing of S3 uploads: chunks and a checksum, under a coding name of
/// its own. It is searched as it is, since all that can be done about a placeholder is to refuse.
pub fn is_aws_chunked(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    matches!((lines.next(), lines.next()), (Some(line), None) if line.as_bytes().eq_ignore_ascii_case(b"aws-chunked"))
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
        .contains_key(&SIGNATURE_INPUT)
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
