//! Names that a placeholder can carry.

use std::fmt;
use std::sync::Arc;

/// The longest slug, in bytes.
pub const MAX_SLUG: usize = 64;

/// The longest field name, in bytes.
pub const MAX_FIELD: usize = 32;

/// The stable public name of a credential: `[a-z][a-z0-9_-]{0,63}`. Never secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(Arc<str>);

/// One value among several of a credential: `[a-z][a-z0-9_]{0,31}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(Arc<str>);

/// What a placeholder asks for: a credential, or one field of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The credential.
    pub slug: Slug,
    /// The field, where the credential has several.
    pub field: Option<Field>,
}

/// A text that is not a slug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slug is a lower-case letter followed by up to 63 of a-z, 0-9, '_' and '-'")]
pub struct InvalidSlug;

/// A text that is not a field name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field name is a lower-case letter followed by up to 31 of a-z, 0-9 and '_'")]
pub struct InvalidField;

impl Slug {
    /// Accepts `text` if the grammar does. Nothing is folded or trimmed: `GH` is not `gh`.
    pub fn parse(text: &str) -> Result<Self, InvalidSlug> {
        if is_name(text.as_bytes(), MAX_SLUG, is_slug_byte) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSlug)
        }
    }

    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Slug {
    /// What a stand-in names that is another's or was taken back. It is outside of the grammar, so that
    /// no credential has it.
    pub(super) fn of_unknown_stand_in() -> Self {
        Self(UNKNOWN_STAND_IN.into())
    }

    /// Whether it is named by a stand-in that is another's or was taken back.
    pub fn is_unknown_stand_in(&self) -> bool {
        *self.0 == *UNKNOWN_STAND_IN
    }
}

const UNKNOWN_STAND_IN: &str = "(stand-in)";

impl Field {
    /// Accepts `text` if the grammar does.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        if is_name(text.as_bytes(), MAX_FIELD, is_field_byte) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidField)
        }
    }

    /// The field name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    /// The way a request writes it: `<<slug>>` or `<<slug.field>>`.
    pub fn placeholder(&self) -> String {
        format!("<<{self}>>")
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            None => self.slug.fmt(f),
            Some(field) => write!(f, "{}.{field}", self.slug),
        }
    }
}

impl std::str::FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl std::str::FromStr for Field {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Whether `byte` may begin a slug or a field name.
pub(super) fn is_first_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase()
}

/// Whether a slug may contain `byte` after its first byte.
pub(super) fn is_slug_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')
}

/// Whether a field name may contain `byte` after its first byte.
pub(super) fn is_field_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')
}

fn is_name(text: &[u8], max: usize, allowed: fn(u8) -> bool) -> bool {
    match text.split_first() {
        Some((&first, rest)) => {
            is_first_byte(first) && text.len() <= max && rest.iter().all(|&byte| allowed(byte))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_follow_the_grammar() {
        let longest = "a".repeat(64);
        for good in ["a", "github-pat", "x_1-", longest.as_str()] {
            assert_eq!(
                Slug::parse(good).map(|slug| slug.to_string()),
                Ok(good.to_owned())
            );
        }
        let too_long = "a".repeat(65);
        for bad in [
            "",
            "1a",
            "-a",
            "_a",
            "A",
            "aB",
            "a b",
            "a.b",
            "g\u{125}",
            "a\n",
            too_long.as_str(),
        ] {
            assert_eq!(Slug::parse(bad), Err(InvalidSlug), "{bad:?}");
        }
    }

    #[test]
    fn fields_have_no_hyphen_and_32_bytes() {
        assert!(Field::parse("user_name2").is_ok());
        assert!(Field::parse(&"f".repeat(32)).is_ok());
        for bad in ["", "user-name", "2fa", "User"] {
            assert_eq!(Field::parse(bad), Err(InvalidField), "{bad:?}");
        }
        assert_eq!(Field::parse(&"f".repeat(33)), Err(InvalidField));
    }

    #[test]
    fn a_reference_shows_itself_as_the_request_wrote_it() {
        let slug = Slug::parse("crm-login").unwrap();
        let bare = Reference {
            slug: slug.clone(),
            field: None,
        };
        let full = Reference {
            slug,
            field: Some(Field::parse("password").unwrap()),
        };
        assert_eq!(bare.placeholder(), "<<crm-login>>");
        assert_eq!(full.placeholder(), "<<crm-login.password>>");
        assert_eq!(full.to_string(), "crm-login.password");
    }
}
