//! How the body of an answer is read, and what is put in place of a value in it.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;

use crate::proxy::exchange::present::Present;
use crate::proxy::response::message_framing::Prefix;
use crate::scrub::Replacement;
use crate::substitution::body::{BodyKind, classify};

/// What the head of an answer says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerKind {
    /// It is a part of something (206): it has its place and length in the whole.
    pub is_part: bool,
    /// What stands before each of its messages, if it is made of messages.
    pub prefix: Option<Prefix>,
    /// What is put in place of a value.
    pub replacement: Replacement,
}

impl AnswerKind {
    /// Of the answer with this head, which has the fields that are `present`.
    pub fn of(head: &Parts, present: Present) -> Self {
        let media_type = head.headers.get(header::CONTENT_TYPE);
        let media_type = media_type.map(HeaderValue::as_bytes);
        let is_part = head.status == StatusCode::PARTIAL_CONTENT;
        let prefix = prefix(media_type.unwrap_or_default());
        Self {
            is_part,
            prefix,
            replacement: if is_part || prefix.is_some() || is_stored(&head.headers, present) {
                Replacement::SameLength
            } else {
                replacement(media_type)
            },
        }
    }
}

/// Whether the body is a stored object, of whose length clients hold a record: one whose parts can be
/// asked for, or that is named by its digest. They learn it from HEAD (registries, object stores, model
/// hubs), so a GET must have the same.
fn is_stored(headers: &HeaderMap, present: Present) -> bool {
    present.has(Present::DOCKER_CONTENT_DIGEST)
        || present.has(Present::ACCEPT_RANGES)
            && headers
                .get(header::ACCEPT_RANGES)
                .is_some_and(|unit| unit.as_bytes().eq_ignore_ascii_case(b"bytes"))
}

/// What is put in place of a value in a body of this type: what leaves it readable.
fn replacement(media_type: Option<&[u8]>) -> Replacement {
    match classify(media_type) {
        BodyKind::Json | BodyKind::JsonLines => Replacement::Json,
        BodyKind::Xml => Replacement::Xml,
        _ if is_html(media_type.unwrap_or_default()) => Replacement::Xml,
        // Formats other than text say lengths in front of what they hold: after a placeholder of
        // another length nothing of the rest could be read.
        BodyKind::Opaque | BodyKind::Wide => Replacement::SameLength,
        // So do parts and messages of HTTP, and their types are not looked at.
        BodyKind::Multipart { .. } | BodyKind::Ambiguous | BodyKind::Http => {
            Replacement::SameLength
        }
        _ => Replacement::Placeholder,
    }
}

fn is_html(media_type: &[u8]) -> bool {
    begins_with(media_type, b"text/html")
}

/// What stands before each message of a body of this type.
fn prefix(media_type: &[u8]) -> Option<Prefix> {
    // Most answers are of other types.
    if !begins_with(media_type, b"application/") {
        return None;
    }
    let is_envelope = begins_with(media_type, b"application/connect+")
        // The text variant is the base64 of what the others are.
        || begins_with(media_type, b"application/grpc") && !is_grpc_web_text(media_type);
    if is_envelope {
        return Some(Prefix::Envelope);
    }
    let mut parts = media_type
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii);
    let is_protobuf = parts.next().is_some_and(|essence| {
        essence.eq_ignore_ascii_case(b"application/vnd.kubernetes.protobuf")
    });
    let is_watch = is_protobuf && parts.any(|part| part.eq_ignore_ascii_case(b"stream=watch"));
    is_watch.then_some(Prefix::Length)
}

fn is_grpc_web_text(media_type: &[u8]) -> bool {
    begins_with(media_type, b"application/grpc-web-text")
}

/// Whether a media type begins like this, which is in lower case.
fn begins_with(media_type: &[u8], start: &[u8]) -> bool {
    let begin = media_type.trim_ascii_start().get(..start.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

/// Whether the body is base64 of messages some of which may be compressed: those cannot be opened.
pub fn hides_messages(headers: &HeaderMap, present: Present) -> bool {
    if !present.has(Present::GRPC_ENCODING) {
        return false;
    }
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !media_type.is_some_and(is_grpc_web_text) {
        return false;
    }
    let encoding = headers.get(HeaderName::from_static("grpc-encoding"));
    encoding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, media_type: &str) -> AnswerKind {
        let answer = http::Response::builder()
            .status(status)
            .header("content-type", media_type)
            .body(())
            .expect("an answer");
        let head = answer.into_parts().0;
        AnswerKind::of(&head, Present::of(&head.headers))
    }

    #[test]
    fn a_stored_object_keeps_its_length() {
        for (name, value, replacement) in [
            ("accept-ranges", "bytes", Replacement::SameLength),
            ("accept-ranges", "Bytes", Replacement::SameLength),
            ("accept-ranges", "none", Replacement::Json),
            (
                "docker-content-digest",
                "sha256:00",
                Replacement::SameLength,
            ),
            ("etag", "\"e\"", Replacement::Json),
        ] {
            let answer = http::Response::builder()
                .header("content-type", "application/json")
                .header(name, value)
                .body(())
                .expect("an answer");
            let head = answer.into_parts().0;
            let kind = AnswerKind::of(&head, Present::of(&head.headers));
            assert_eq!(kind.replacement, replacement, "{name}: {value}");
        }
    }

    #[test]
    fn text_gets_placeholders_and_all_else_keeps_its_length() {
        for (text, replacement) in [
            ("text/plain", Replacement::Placeholder),
            ("application/json", Replacement::Json),
            ("application/problem+json", Replacement::Json),
            ("Text/HTML;charset=utf-8", Replacement::Xml),
            ("image/svg+xml", Replacement::Xml),
            ("text/csv", Replacement::Placeholder),
        ] {
            assert_eq!(kind(200, text).replacement, replacement, "{text}");
            assert_eq!(
                kind(206, text).replacement,
                Replacement::SameLength,
                "{text}"
            );
        }
        for other in [
            "application/grpc",
            "application/grpc+json",
            "application/connect+json",
            "application/proto",
            "application/x-protobuf",
            "application/vnd.kubernetes.protobuf",
            "application/cbor",
            "application/msgpack",
            "application/octet-stream",
            "application/pdf",
            "image/png",
            "text/plain; charset=utf-16",
            "multipart/mixed; boundary=b",
            "multipart/related; boundary=a; boundary=b",
            "application/http",
            "message/http",
        ] {
            assert_eq!(
                kind(200, other).replacement,
                Replacement::SameLength,
                "{other}"
            );
        }
    }

    #[test]
    fn messages_are_known_by_the_type() {
        for (media_type, prefix) in [
            ("application/grpc", Some(Prefix::Envelope)),
            ("Application/gRPC+proto; x=y", Some(Prefix::Envelope)),
            ("application/grpc-web+proto", Some(Prefix::Envelope)),
            ("application/grpc-web-text", None),
            ("application/connect+json", Some(Prefix::Envelope)),
            ("application/vnd.kubernetes.protobuf", None),
            (
                "application/vnd.kubernetes.protobuf;stream=watch",
                Some(Prefix::Length),
            ),
            ("application/json", None),
        ] {
            assert_eq!(kind(200, media_type).prefix, prefix, "{media_type}");
        }
    }
}
