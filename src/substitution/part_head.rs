//! The header section of a part of a multipart body.

use std::ops::Range;

use super::body_kind::{BodyKind, classify};
use super::edit::MAX_LOCATION_NAME;
use super::media_type::{MediaType, header_lines};

/// What the header section of a part says about it.
pub(super) struct PartHead {
    /// How the content is to be read.
    pub(super) kind: BodyKind,
    /// The name of the form field.
    pub(super) field: Option<String>,
    /// Where the digits of its own length are in the header section, if they can be corrected.
    pub(super) length: Option<Range<usize>>,
    /// Whether it says a length, or how the content is delimited.
    pub(super) says_length: bool,
    /// Whether it says a digest of the content.
    pub(super) is_digested: bool,
}

/// Digests of the content (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [&str; 4] = ["content-md5", "content-digest", "repr-digest", "digest"];

impl PartHead {
    /// Reads the header section of a part, blank line included.
    pub(super) fn read(head: &[u8]) -> Self {
        let headers = Headers(head);
        let content_type = headers.all("content-type").next();
        let encoded = headers.all("content-transfer-encoding").any(|value| {
            let value = value.trim_ascii();
            !["7bit", "8bit", "binary"]
                .iter()
                .any(|plain| value.eq_ignore_ascii_case(plain.as_bytes()))
        });
        // In base64 or quoted-printable, neither placeholders nor values are readable.
        let kind = if encoded {
            BodyKind::Opaque
        } else {
            classify(content_type.as_deref())
        };
        Self {
            kind,
            field: headers.field(),
            length: length_digits(head),
            says_length: headers.has("content-length") || headers.has("transfer-encoding"),
            is_digested: DIGESTS.iter().any(|name| headers.has(name)),
        }
    }
}

/// Where the digits of the only `Content-Length` are, if there is one of digits.
fn length_digits(head: &[u8]) -> Option<Range<usize>> {
    const NAME: &[u8] = b"content-length";
    let mut found = None;
    let mut start = 0;
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let name = line.get(..NAME.len()).unwrap_or_default();
        if name.eq_ignore_ascii_case(NAME) && line.get(NAME.len()) == Some(&b':') {
            let value = &line[NAME.len() + 1..];
            let blank = value.len() - value.trim_ascii_start().len();
            let digits = value.trim_ascii();
            let from = start + NAME.len() + 1 + blank;
            if found.replace(from..from + digits.len()).is_some() {
                return None;
            }
        }
        start += line.len();
    }
    let is_number = |digits: &Range<usize>| {
        !digits.is_empty() && head[digits.clone()].iter().all(u8::is_ascii_digit)
    };
    found.filter(is_number)
}

/// The header lines of a part, with continuations.
struct Headers<'a>(&'a [u8]);

impl Headers<'_> {
    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = Vec<u8>> + 'h {
        header_lines(self.0).into_iter().filter_map(move |line| {
            let colon = memchr::memchr(b':', &line)?;
            let matches = line[..colon]
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_bytes());
            matches.then(|| line[colon + 1..].to_vec())
        })
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The name of a form field. `None` if it is said twice or in two ways, because recipients
    /// disagree on which one counts.
    fn field(&self) -> Option<String> {
        let mut dispositions = self.all("content-disposition");
        let (Some(disposition), None) = (dispositions.next(), dispositions.next()) else {
            return None;
        };
        let disposition = MediaType::parse(&disposition);
        if disposition.essence != "form-data" || disposition.has("name*") {
            return None;
        }
        let name = std::str::from_utf8(disposition.parameter("name")?).ok()?;
        (name.len() <= MAX_LOCATION_NAME).then(|| name.to_owned())
    }
}
