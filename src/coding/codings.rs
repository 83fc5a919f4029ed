//! The names of codings, as `Content-Encoding` lists them.

use std::fmt;

/// How many codings may be applied to one body. Each costs the memory of a decompressor, and no
/// known software applies more than two.
const MAX_STACKED: usize = 4;

/// What is written for no coding: by its name, by servers that mean that, and as the name of a character
/// set or of an encoding of mail.
const NO_CODING: [&str; 13] = [
    "identity",
    "none",
    "null",
    "no",
    "utf-8",
    "utf8",
    "us-ascii",
    "iso-8859-1",
    "text",
    "plain",
    "binary",
    "7bit",
    "8bit",
];

/// Codings that cannot be opened, by name: so that an error can say which it was.
const OTHERS: [&str; 14] = [
    "compress",
    "x-compress",
    "sdch",
    "dcb",
    "dcz",
    "aes128gcm",
    "aws-chunked",
    "exi",
    "pack200-gzip",
    "lzma",
    "xz",
    "bzip2",
    "snappy",
    "lz4",
];

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

    /// The same for `Content-Encoding`, in which other labels than `identity` name no coding either.
    pub fn of_content<'a>(
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, UnsupportedCoding> {
        let members = values.into_iter().flat_map(list_members);
        Self::parse(members.filter(|name| !is_one_of(name, &NO_CODING)))
    }

    /// The names in a `Content-Encoding`, for people.
    pub fn describe<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> String {
        let members = values.into_iter().flat_map(list_members);
        let names = members.take(MAX_STACKED + 1).map(|name| {
            let coding = Coding::from_name(name).map(Coding::as_str);
            let is_it = |other: &&&str| name.eq_ignore_ascii_case(other.as_bytes());
            let other = || OTHERS.iter().find(is_it).copied();
            coding.or_else(other).unwrap_or("one that is not known")
        });
        names.collect::<Vec<_>>().join(", ")
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

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    let is_it = |one: &&str| name.eq_ignore_ascii_case(one.as_bytes());
    names.iter().any(is_it)
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
    fn what_names_no_coding_is_none_in_a_content_encoding_only() {
        for label in NO_CODING {
            let shout = label.to_uppercase();
            for value in [label, &shout, &format!("{label}, , identity")] {
                let parsed = Codings::of_content([value.as_bytes()]);
                assert!(parsed.is_ok_and(|codings| codings.is_identity()), "{value}");
            }
        }
        let mixed = Codings::of_content([&b"utf-8, gzip"[..], b"none"]);
        assert_eq!(mixed.map(|codings| codings.to_string()), Ok("gzip".into()));
        assert_eq!(parsed(&["utf-8"]), Err(UnsupportedCoding::Unknown));
        let unknown = Codings::of_content([&b"utf-8, sdch"[..]]);
        assert_eq!(unknown, Err(UnsupportedCoding::Unknown));
    }

    #[test]
    fn a_name_that_is_not_known_is_not_repeated() {
        let described = Codings::describe([&b"SDCH, x-gzip"[..], b"s3cr3t, br"]);
        assert_eq!(described, "sdch, gzip, one that is not known, br");
        assert_eq!(Codings::describe([]), "");
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
