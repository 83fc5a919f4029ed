//! The names of codings, as `Content-Encoding` lists them.

use std::fmt;

/// How many codings may be applied to one body. Each costs the memory of a decompressor, and no
/// known software applies more than two.
const MAX_STACKED: usize = 4;

/// A content coding that can be decoded and encoded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952. Also called `x-gzip`.
    Gzip,
    /// The zlib format of RFC 1950.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Every coding, in the order of preference for an answer.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Brotli, Self::Zstd, Self::Deflate];

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// By its name in any case.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codings of a body, in the order in which they were applied. None is identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codings(Vec<Coding>);

/// Why a `Content-Encoding` cannot be decoded. The name is not kept: an upstream can write anything
/// there, also an echoed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedCoding {
    /// A coding that is not known here, or something that is not a coding.
    #[error("a content coding other than gzip, deflate, br, zstd")]
    Unknown,
    /// More than four on top of each other.
    #[error("more than four content codings on top of each other")]
    TooMany,
}

impl Codings {
    /// Reads the values of all `Content-Encoding` field lines, in their order. No line at all is
    /// identity, and so is `identity`.
    pub fn parse<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, UnsupportedCoding> {
        let mut codings = Vec::new();
        for name in values.into_iter().flat_map(list_members) {
            if name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let coding = Coding::from_name(name).ok_or(UnsupportedCoding::Unknown)?;
            if codings.len() == MAX_STACKED {
                return Err(UnsupportedCoding::TooMany);
            }
            codings.push(coding);
        }
        Ok(Self(codings))
    }

    /// Whether the body is not coded.
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and those applied after them.
    pub fn then(&self, outer: &Self) -> Self {
        Self([&self.0[..], &outer.0].concat())
    }

    /// In the order in which they were applied; the last is the outermost.
    pub fn as_slice(&self) -> &[Coding] {
        &self.0
    }
}

impl From<Coding> for Codings {
    fn from(coding: Coding) -> Self {
        Self(vec![coding])
    }
}

/// The value of a `Content-Encoding` field; `identity` if there is none, which is better left out.
impl fmt::Display for Codings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else {
            return f.write_str("identity");
        };
        first.fmt(f)?;
        rest.iter().try_for_each(|coding| write!(f, ", {coding}"))
    }
}

/// The members of a comma list (RFC 9110, 5.6.1.2: empty ones do not count).
pub(super) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim_blanks)
        .filter(|member| !member.is_empty())
}

/// Without the blanks around it (OWS, RFC 9110, 5.6.3).
pub(super) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Result<String, UnsupportedCoding> {
        Codings::parse(values.iter().map(|value| value.as_bytes()))
            .map(|codings| codings.to_string())
    }

    #[test]
    fn field_lines_and_lists_are_read_in_order_and_in_any_case() {
        assert_eq!(parsed(&["GZip"]), Ok("gzip".into()));
        assert_eq!(
            parsed(&["deflate ,\tbr", "ZSTD"]),
            Ok("deflate, br, zstd".into())
        );
        assert_eq!(parsed(&[",, x-gzip,"]), Ok("gzip".into()));
    }

    #[test]
    fn identity_is_dropped() {
        for values in [&[][..], &[""], &["identity"], &["Identity, ,identity", ""]] {
            assert_eq!(parsed(values), Ok("identity".into()));
        }
        assert_eq!(parsed(&["identity, gzip, identity"]), Ok("gzip".into()));
    }

    #[test]
    fn what_cannot_be_opened_is_refused() {
        for value in [
            "compress",
            "dcb",
            "gzip;q=1",
            "gzip br",
            "aws-chunked",
            "*",
            "gzip\0",
            "\u{e9}",
        ] {
            assert_eq!(
                parsed(&[value]),
                Err(UnsupportedCoding::Unknown),
                "{value:?}"
            );
        }
        assert_eq!(parsed(&["gzip, compress"]), Err(UnsupportedCoding::Unknown));
    }

    #[test]
    fn a_stack_has_a_limit_that_identity_does_not_count_for() {
        let four = ["gzip, identity, br", "gzip, identity, zstd"];
        assert_eq!(parsed(&four), Ok("gzip, br, gzip, zstd".into()));
        let five = ["gzip, br, gzip", "zstd, deflate"];
        assert_eq!(parsed(&five), Err(UnsupportedCoding::TooMany));
    }
}
