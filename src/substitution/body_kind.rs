//! How a body is read, by its media type.

use super::encoding::Encoding;
use super::media_type::MediaType;
use super::placeholder::may_contain;

/// How a body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// One JSON document.
    Json,
    /// Several JSON documents, one after the other. Locations in them carry no pointer.
    JsonLines,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// XML.
    Xml,
    /// Text without an encoding of its own. A body without a type counts as text.
    Text,
    /// Parts, each with a type of its own.
    Multipart {
        /// The boundary between them (RFC 2046 section 5.1.1).
        boundary: Vec<u8>,
    },
    /// A WebSocket text message: JSON texts one after the other, or any other text.
    Message,
    /// Text in UTF-16 or UTF-32, which is searched but cannot be changed.
    Wide,
    /// Any other type: not scanned, passed through.
    Opaque,
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyProblem {
    /// It holds a placeholder in UTF-16 or UTF-32.
    #[error("the body holds a placeholder in UTF-16 or UTF-32 text; send it as UTF-8")]
    Wide,
    /// The header section of a part of a multipart body exceeds 16 KiB.
    #[error("a part of the multipart body has a header section of more than 16 KiB")]
    PartHead,
}

impl BodyKind {
    /// Whether placeholders are searched in such a body. If not, it passes through unchanged.
    pub fn is_scanned(&self) -> bool {
        *self != BodyKind::Opaque
    }

    /// Whether `body` may contain a placeholder. `false` is certain, and spares a body without
    /// placeholders the parsing of its structure.
    pub(super) fn may_hold_placeholder(&self, body: &[u8]) -> bool {
        let encoding = match self {
            BodyKind::Json | BodyKind::JsonLines => Encoding::Json,
            BodyKind::Form => Encoding::FormUrl,
            BodyKind::Xml => Encoding::Xml,
            BodyKind::Text => Encoding::Raw,
            BodyKind::Message => Encoding::Message,
            BodyKind::Multipart { .. } | BodyKind::Wide => return true,
            BodyKind::Opaque => return false,
        };
        // These bytes can be the beginning of UTF-16, which no encoding would recognise.
        let may_be_wide = body
            .iter()
            .take(2)
            .any(|byte| matches!(byte, 0 | 0xfe | 0xff));
        may_be_wide || may_contain(encoding, body)
    }
}

/// How a body with this `Content-Type` is read.
pub fn classify(content_type: Option<&[u8]>) -> BodyKind {
    let media = MediaType::parse(content_type.unwrap_or_default());
    let kind = classify_essence(&media);
    let charset = media
        .parameter("charset")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let wide = [
        b"utf-16".as_slice(),
        b"utf16",
        b"utf-32",
        b"utf32",
        b"ucs-2",
        b"ucs-4",
        b"unicode",
        b"iso-10646-ucs",
    ];
    match kind {
        BodyKind::Opaque | BodyKind::Multipart { .. } => kind,
        _ if wide.iter().any(|name| charset.starts_with(name)) => BodyKind::Wide,
        _ => kind,
    }
}

fn classify_essence(media: &MediaType) -> BodyKind {
    let Some((kind, subtype)) = media.essence.split_once('/') else {
        // No type, or none that could be parsed: the sender did not say that the body is binary.
        return BodyKind::Text;
    };
    match (kind, subtype) {
        ("multipart", _) => match media.parameter("boundary") {
            Some(boundary) if is_boundary(boundary) => BodyKind::Multipart {
                boundary: boundary.to_vec(),
            },
            // No recipient can split such a body into parts either.
            _ => BodyKind::Text,
        },
        (_, "json") => BodyKind::Json,
        (
            _,
            "x-ndjson" | "ndjson" | "jsonl" | "x-jsonl" | "jsonlines" | "x-jsonlines"
            | "json-lines" | "json-seq",
        ) => BodyKind::JsonLines,
        (_, "xml") => BodyKind::Xml,
        _ if subtype.ends_with("+json") => BodyKind::Json,
        _ if subtype.ends_with("+xml") => BodyKind::Xml,
        ("application", "x-www-form-urlencoded") => BodyKind::Form,
        ("application", "graphql" | "javascript") | ("text", _) => BodyKind::Text,
        _ => BodyKind::Opaque,
    }
}

/// RFC 2046 section 5.1.1 allows 1 to 70 characters of a small set; clients use more of ASCII.
fn is_boundary(boundary: &[u8]) -> bool {
    (1..=70).contains(&boundary.len())
        && boundary.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && !boundary.ends_with(b" ")
}
