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
    /// An HTTP message.
    Http,
    /// Messages in JSON, each after its length (the streams of gRPC and Connect). Read message by message,
    /// not as a whole.
    Envelopes,
    /// Its type, or the boundary between its parts, is said twice: recipients disagree on which one counts.
    Ambiguous,
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
    /// Its type is said twice, or says two boundaries.
    #[error(
        "there are two Content-Types or two boundary parameters, and servers disagree on which one counts"
    )]
    Boundary,
    /// The header section of a part of a multipart body exceeds 16 KiB.
    #[error("a part of the multipart body has a header section of more than 16 KiB")]
    PartHead,
}

impl BodyKind {
    /// Whether placeholders are searched in such a body. If not, it passes through unchanged.
    pub fn is_scanned(&self) -> bool {
        *self != BodyKind::Opaque
    }

    /// Whether anything is found in bodies of this kind as they are.
    pub(super) fn is_searched(&self) -> bool {
        !matches!(self, BodyKind::Opaque | BodyKind::Envelopes)
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
            BodyKind::Multipart { .. } | BodyKind::Http | BodyKind::Wide | BodyKind::Ambiguous => {
                return true;
            }
            BodyKind::Opaque | BodyKind::Envelopes => return false,
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
    if content_type == Some(b"application/json") {
        // Most bodies: there is nothing to be parsed.
        return BodyKind::Json;
    }
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
        BodyKind::Opaque
        | BodyKind::Multipart { .. }
        | BodyKind::Ambiguous
        | BodyKind::Envelopes => kind,
        _ if wide.iter().any(|name| charset.starts_with(name)) => BodyKind::Wide,
        _ => kind,
    }
}

/// How bodies of a type are read.
#[derive(Clone, Copy)]
enum Reading {
    Envelopes,
    Json,
    JsonLines,
    Form,
    Xml,
    Http,
    Text,
}

/// The types that are searched, beside `multipart` and `text`: those that carry credentials as text.
/// A subtype that begins with `+` stands for every subtype with that suffix (RFC 6838 section 4.2.8).
/// The first row that fits counts.
const TYPES: &[(&str, &[&str], Reading)] = &[
    (
        "application",
        &["connect+json", "grpc+json", "grpc-web+json"],
        Reading::Envelopes,
    ),
    (
        "*",
        &["json", "+json", "json5", "jsonc", "x-json"],
        Reading::Json,
    ),
    (
        "application",
        &[
            // AWS: requests that are not signed, such as the sign-in of Cognito, are read like others.
            "x-amz-json-1.0",
            "x-amz-json-1.1",
            "json-rpc",
            "jsonrequest",
            "csp-report",
        ],
        Reading::Json,
    ),
    (
        "*",
        &[
            "x-ndjson",
            "ndjson",
            "jsonl",
            "x-jsonl",
            "jsonlines",
            "x-jsonlines",
            "json-lines",
            "json-seq",
            "+json-seq",
        ],
        Reading::JsonLines,
    ),
    (
        "*",
        &["xml", "+xml", "xml-dtd", "xml-external-parsed-entity"],
        Reading::Xml,
    ),
    ("application", &["x-www-form-urlencoded"], Reading::Form),
    (
        "application",
        &[
            // Configuration.
            "yaml",
            "x-yaml",
            "vnd.yaml",
            "+yaml",
            "toml",
            "x-toml",
            "hcl",
            "x-hcl",
            "x-ini",
            "x-java-properties",
            "x-properties",
            "vnd.oai.openapi",
            "edn",
            // Keys and certificates.
            "x-pem-file",
            "pem-certificate-chain",
            // Queries.
            "graphql",
            "sql",
            "x-sql",
            "sparql-query",
            "sparql-update",
            "x-cypher-query",
            "cql",
            "xquery",
            "n-triples",
            "n-quads",
            "trig",
            // Programs.
            "javascript",
            "x-javascript",
            "ecmascript",
            "typescript",
            "x-sh",
            "x-shellscript",
            "x-csh",
            "x-bash",
            "x-powershell",
            "x-perl",
            "x-python",
            "x-python-code",
            "x-ruby",
            "x-httpd-php",
            "x-php",
            "x-lua",
            "x-tcl",
            "node",
            "x-typescript",
            // Tables.
            "csv",
        ],
        Reading::Text,
    ),
    ("application", &["http"], Reading::Http),
    ("message", &["http"], Reading::Http),
    ("message", &["*"], Reading::Text),
    ("text", &["*"], Reading::Text),
];

fn classify_essence(media: &MediaType) -> BodyKind {
    let Some((kind, subtype)) = media.essence.split_once('/') else {
        // No type, or none that could be parsed: the sender did not say that the body is binary.
        return BodyKind::Text;
    };
    if subtype.contains(',') {
        // Two lines that were joined on their way.
        return BodyKind::Ambiguous;
    }
    if kind == "multipart" {
        return match media.parameter("boundary") {
            // RFC 2231: a name with an asterisk says a piece of it, or its character set. Few read that.
            _ if media.has_extended("boundary") => BodyKind::Ambiguous,
            Some(boundary) if is_boundary(boundary) => BodyKind::Multipart {
                boundary: boundary.to_vec(),
            },
            None if media.has("boundary") => BodyKind::Ambiguous,
            // No recipient can split such a body into parts either.
            _ => BodyKind::Text,
        };
    }
    let fits = |pattern: &&str| match pattern.strip_prefix('+') {
        Some(_) => subtype.ends_with(*pattern),
        None => *pattern == subtype || *pattern == "*",
    };
    let row = TYPES
        .iter()
        .find(|(of, subtypes, _)| (*of == "*" || *of == kind) && subtypes.iter().any(fits));
    match row.map(|(.., reading)| reading) {
        Some(Reading::Envelopes) => BodyKind::Envelopes,
        Some(Reading::Json) => BodyKind::Json,
        Some(Reading::JsonLines) => BodyKind::JsonLines,
        Some(Reading::Form) => BodyKind::Form,
        Some(Reading::Xml) => BodyKind::Xml,
        Some(Reading::Http) => BodyKind::Http,
        Some(Reading::Text) => BodyKind::Text,
        None => BodyKind::Opaque,
    }
}

/// RFC 2046 section 5.1.1 allows 1 to 70 characters of a small set; clients use more of ASCII.
fn is_boundary(boundary: &[u8]) -> bool {
    (1..=70).contains(&boundary.len())
        && boundary.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && !boundary.ends_with(b" ")
}
