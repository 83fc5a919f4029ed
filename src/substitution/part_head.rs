//! The header section of a part of a multipart body.

use super::body_kind::{BodyKind, classify};
use super::edit::MAX_LOCATION_NAME;
use super::media_type::MediaType;

/// What the header section of a part says about it.
pub(super) struct PartHead {
    /// How the content is to be read.
    pub(super) kind: BodyKind,
    /// The name of the form field.
    pub(super) field: Option<String>,
}

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
        }
    }
}

/// The header lines of a part, with continuations.
struct Headers<'a>(&'a [u8]);

impl Headers<'_> {
    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = Vec<u8>> + 'h {
        self.unfolded().into_iter().filter_map(move |line| {
            let colon = memchr::memchr(b':', &line)?;
            let matches = line[..colon]
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_bytes());
            matches.then(|| line[colon + 1..].to_vec())
        })
    }

    fn unfolded(&self) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in self.0.split(|&byte| byte == b'\n') {
            match lines.last_mut() {
                Some(last) if matches!(line, [b' ' | b'\t', ..]) => {
                    last.extend_from_slice(line.trim_ascii_end())
                }
                _ => lines.push(line.trim_ascii_end().to_vec()),
            }
        }
        lines
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
