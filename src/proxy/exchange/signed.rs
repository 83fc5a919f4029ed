//! Requests whose client signed the very bytes that a substitution would change.
//!
//! The upstream would refuse them, with an error that sends people looking in the wrong place.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use memchr::memmem;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::occurrences::Occurrence;
use crate::proxy::exchange::present::Present;
use crate::substitution::percent;

/// Digests over the body: RFC 9530, its predecessor RFC 3230, and `Content-MD5` of RFC 2616.
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

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
    if occurrences.is_empty() {
        return Ok(());
    }
    if let Some(scheme) = signature(head)
        && occurrences
            .iter()
            .any(|occurrence| is_covered(head, scheme, occurrence))
    {
        return Err(signed(scheme.name));
    }
    if occurrences.iter().any(Occurrence::is_in_body) {
        digested(head).map_or(Ok(()), Err)
    } else {
        Ok(())
    }
}

/// The refusal of any change to the body, if a signature or digest covers it.
pub fn in_body(head: &Parts) -> Option<Refusal> {
    let covers_body = |scheme: &Scheme| match scheme.covers {
        Covers::Anything => true,
        Covers::TargetAndForm => is_form(&head.headers),
        Covers::Target => is_whole_body_signed(&head.headers),
    };
    let scheme = signature(head).filter(covers_body);
    scheme
        .map(|scheme| signed(scheme.name))
        .or_else(|| digested(head))
}

/// The refusal of any change to a body that a digest, a signature, its framing or its place in a whole
/// covers.
fn digested(head: &Parts) -> Option<Refusal> {
    let mut names = head.headers.keys().map(HeaderName::as_str);
    let name = if is_aws_chunked(&head.headers) {
        "its aws-chunked framing"
    } else {
        names.find(|name| covers_body(name))?
    };
    Some(refusal(format!(
        "the body is covered by {name}, which would no longer hold; send it without, or put the \
         placeholder in a header"
    )))
}

/// Whether a field of that lower-case name says a digest, a keyed digest or a length of the whole body,
/// which servers compare with what came.
fn covers_body(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
        "x-goog-hash",
        "x-ms-blob-content-md5",
        "x-ms-content-crc64",
        "x-bz-content-sha1",
        // A part of an upload whose whole length was said.
        "content-range",
        "upload-length",
        "upload-offset",
        "x-upload-content-length",
        "x-ms-blob-content-length",
        "x-bz-content-length",
    ];
    // Webhooks are signed with a key that both sides know, each sender under a name of its own.
    let is_keyed = || {
        name.ends_with("-signature")
            || name.contains("-signature-")
            || name.ends_with("-hmac")
            || name.contains("-hmac-sha")
    };
    let is_checksum = || {
        let is_about_one = ["algorithm", "mode", "type"]
            .iter()
            .any(|it| name.ends_with(it));
        name.contains("-checksum") && !is_about_one || name.ends_with("-content-sha256")
    };
    NAMES.contains(&name) || is_keyed() || is_checksum()
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

/// A signature that a client makes itself.
#[derive(Clone, Copy)]
struct Scheme {
    /// How the value of `Authorization`, or a parameter of the query, begins. In lower case.
    mark: &'static str,
    name: &'static str,
    covers: Covers,
}

/// What of a request a signature covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// As much as its client chose: it may be anything.
    Anything,
    /// Method and target, and the fields of a form. Other header fields and bodies are free.
    TargetAndForm,
    /// Method and target. Other header fields are free, and the body is.
    Target,
}

const fn scheme(mark: &'static str, name: &'static str, covers: Covers) -> Scheme {
    Scheme { mark, name, covers }
}

/// Schemes of `Authorization`.
const SCHEMES: [Scheme; 25] = [
    scheme("aws4-", "AWS Signature Version 4", Covers::Anything),
    scheme("aws ", "AWS Signature Version 2", Covers::Anything),
    scheme(
        "goog4-",
        "Google Cloud Storage V4 signature",
        Covers::Anything,
    ),
    scheme(
        "goog1 ",
        "Google Cloud Storage V2 signature",
        Covers::Anything,
    ),
    scheme("sharedkey ", "Azure Shared Key", Covers::Anything),
    scheme("sharedkeylite ", "Azure Shared Key", Covers::Anything),
    scheme("hmac-sha256 ", "HMAC-SHA256 signature", Covers::Anything),
    scheme("acs3-", "Alibaba Cloud signature V3", Covers::Anything),
    scheme("oss ", "Alibaba Cloud OSS signature", Covers::Anything),
    scheme("oss4-", "Alibaba Cloud OSS signature", Covers::Anything),
    scheme("tc3-", "Tencent Cloud signature V3", Covers::Anything),
    scheme(
        "sdk-hmac-sha256 ",
        "Huawei Cloud signature",
        Covers::Anything,
    ),
    scheme(
        "eg1-hmac-sha256 ",
        "Akamai EdgeGrid signature",
        Covers::Anything,
    ),
    scheme("signature ", "HTTP Signatures", Covers::Anything),
    scheme("hmac ", "HMAC signature", Covers::Anything),
    scheme("acs ", "Alibaba Cloud signature", Covers::Anything),
    scheme("bce-auth-v", "Baidu AI Cloud signature", Covers::Anything),
    scheme("obs ", "Huawei Cloud OBS signature", Covers::Anything),
    scheme(
        "q-sign-algorithm=",
        "Tencent Cloud COS signature",
        Covers::Anything,
    ),
    scheme("jdcloud2-", "JD Cloud signature", Covers::Anything),
    scheme("qiniu ", "Qiniu signature", Covers::Anything),
    scheme("mac ", "MAC authentication", Covers::Target),
    scheme("hawk ", "Hawk", Covers::Target),
    scheme("digest ", "Digest authentication", Covers::Target),
    scheme("oauth ", "OAuth 1 signature", Covers::TargetAndForm),
];

/// Parameters of a query that hold a signature, or are there with one only.
const PARAMETERS: [Scheme; 10] = [
    scheme(
        "x-amz-signature=",
        "AWS Signature Version 4",
        Covers::Anything,
    ),
    scheme(
        "x-goog-signature=",
        "Google Cloud Storage V4 signature",
        Covers::Anything,
    ),
    scheme(
        "x-oss-signature=",
        "Alibaba Cloud OSS signature",
        Covers::Anything,
    ),
    scheme(
        "awsaccesskeyid=",
        "AWS Signature Version 2",
        Covers::Anything,
    ),
    scheme(
        "googleaccessid=",
        "Google Cloud Storage V2 signature",
        Covers::Anything,
    ),
    scheme(
        "q-signature=",
        "Tencent Cloud COS signature",
        Covers::Anything,
    ),
    scheme("x-tos-signature=", "Volcengine signature", Covers::Anything),
    scheme(
        "ossaccesskeyid=",
        "Alibaba Cloud OSS signature",
        Covers::Anything,
    ),
    scheme("key-pair-id=", "CloudFront signature", Covers::Target),
    scheme(
        "oauth_signature=",
        "OAuth 1 signature",
        Covers::TargetAndForm,
    ),
];

/// RFC 9421 and the drafts before it have a field of their own.
const FIELDS: Scheme = scheme("", "HTTP Message Signatures", Covers::Anything);

/// RFC 5849 section 3.4.4: this signature is the secrets themselves and covers nothing.
const PLAINTEXT: &[u8] = b"oauth_signature_method=\"plaintext\"";

/// The signature of the client's on this request.
fn signature(head: &Parts) -> Option<Scheme> {
    let mut lines = head.headers.get_all(AUTHORIZATION).iter();
    let named = lines.find_map(|line| scheme_of(line.as_bytes()));
    let query = head.uri.query().unwrap_or_default();
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    let in_query = || {
        pairs.find_map(|pair| {
            if !may_begin(pair) {
                return None;
            }
            let pair = unescaped(pair);
            let mut parameters = PARAMETERS.iter();
            parameters.find(|scheme| begins_with(&pair, scheme.mark))
        })
    };
    let field = || {
        let present = Present::of(&head.headers);
        let has_input = present.has(Present::SIGNATURE_INPUT);
        let may_be_drafted = present.has(Present::SIGNATURE);
        let is_drafted = || may_be_drafted && has_drafted_signature(&head.headers);
        (has_input || is_drafted()).then_some(FIELDS)
    };
    named.or_else(in_query).copied().or_else(field)
}

/// The scheme of these credentials, if it is a signature.
fn scheme_of(value: &[u8]) -> Option<&'static Scheme> {
    // Nearly all credentials are of these two, which sign nothing.
    if begins_with(value, "bearer ") || begins_with(value, "basic ") {
        return None;
    }
    let mut schemes = SCHEMES.iter();
    let named = schemes.find(|scheme| begins_with(value, scheme.mark));
    named.filter(|scheme| scheme.covers != Covers::TargetAndForm || is_oauth1(value))
}

/// Whether a parameter begins like one of [`PARAMETERS`], or with an escape. Most do not.
fn may_begin(pair: &str) -> bool {
    let first = pair.as_bytes().first().map(u8::to_ascii_lowercase);
    first.is_some_and(|first| {
        first == b'%' || PARAMETERS.iter().any(|it| it.mark.as_bytes()[0] == first)
    })
}

/// A parameter with its name as the server reads it, if that is written with escapes.
fn unescaped(pair: &str) -> Cow<'_, [u8]> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    if !name.contains('%') {
        return pair.as_bytes().into();
    }
    [&percent::decode(name.as_bytes()), &b"="[..]]
        .concat()
        .into()
}

/// Whether `text` begins with `mark`, in any case.
fn begins_with(text: &[u8], mark: &str) -> bool {
    let start = text.get(..mark.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(mark.as_bytes()))
}

/// Whether OAuth credentials of version 1 are signed. `OAuth <token>` is another scheme.
fn is_oauth1(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let has = |text: &[u8]| memmem::find(&value, text).is_some();
    has(b"oauth_signature=") && !has(PLAINTEXT)
}

/// `Signature` as the drafts before RFC 9421 have it, without `Signature-Input`.
fn has_drafted_signature(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all("signature").iter();
    lines.any(|line| memmem::find(line.as_bytes(), b"keyId=").is_some())
}

/// Whether a change at this place changes what the signature covers.
fn is_covered(head: &Parts, scheme: Scheme, occurrence: &Occurrence) -> bool {
    match scheme.covers {
        Covers::Anything => true,
        _ if occurrence.is_in_target() || occurrence.is_in(&head.headers, &AUTHORIZATION) => true,
        Covers::TargetAndForm => occurrence.is_body() && is_form(&head.headers),
        Covers::Target => occurrence.is_body() && is_whole_body_signed(&head.headers),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    lowered(headers, CONTENT_TYPE).starts_with(b"application/x-www-form-urlencoded")
}

/// Digest covers the body with `auth-int` (RFC 7616 section 3.4.3), Hawk with a payload hash.
fn is_whole_body_signed(headers: &HeaderMap) -> bool {
    let value = lowered(headers, AUTHORIZATION);
    memmem::find(&value, b"auth-int").is_some() || memmem::find(&value, b"hash=").is_some()
}

/// The value of a field in lower case; nothing if there is no such field.
fn lowered(headers: &HeaderMap, name: HeaderName) -> Vec<u8> {
    let value = headers.get(name);
    value.map_or_else(Vec::new, |value| value.as_bytes().to_ascii_lowercase())
}

fn refusal(detail: String) -> Refusal {
    Refusal::new(Code::RequestSigned, detail)
}
