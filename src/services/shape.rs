//! What the keys of a service look like.

use std::fmt;

use serde::Deserialize;

/// One kind of key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyShape {
    /// How it begins; empty where nothing marks it.
    pub prefix: String,
    /// Fewest bytes, with the prefix.
    #[serde(default)]
    pub min: Option<usize>,
    /// Most bytes, with the prefix.
    #[serde(default)]
    pub max: Option<usize>,
    /// What follows the prefix.
    #[serde(default)]
    pub chars: Alphabet,
}

/// The characters of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// A-Z a-z 0-9.
    Alnum,
    /// With `_`.
    Word,
    /// With `-` and `_`.
    Url,
    /// 0-9 a-f, in either case.
    Hex,
    /// Hexadecimal digits and hyphens.
    Uuid,
    /// A-Z a-z 0-9 + / = and the URL-safe - and _.
    Base64,
    /// Visible ASCII.
    #[default]
    Visible,
}

/// Why a value is hardly a key of this kind. It says nothing about the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It begins in another way.
    Prefix,
    /// It is shorter or longer.
    Length,
    /// It has other characters.
    Characters,
}

impl KeyShape {
    /// Whether its prefix tells it from any other key.
    pub fn is_marked(&self) -> bool {
        self.prefix.len() >= 3
    }

    /// Whether `value` is of this kind.
    pub fn check(&self, value: &[u8]) -> Result<(), Misfit> {
        let rest = value
            .strip_prefix(self.prefix.as_bytes())
            .ok_or(Misfit::Prefix)?;
        let too_short = self.min.is_some_and(|min| value.len() < min);
        if too_short || self.max.is_some_and(|max| value.len() > max) {
            return Err(Misfit::Length);
        }
        if rest.iter().all(|&byte| self.chars.contains(byte)) {
            Ok(())
        } else {
            Err(Misfit::Characters)
        }
    }
}

impl Alphabet {
    fn contains(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Uuid => byte.is_ascii_hexdigit() || byte == b'-',
            Self::Base64 => byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte),
            Self::Visible => byte.is_ascii_graphic() || byte == b' ',
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "it begins in another way",
            Self::Length => "it has another length",
            Self::Characters => "it has characters that such a key does not have",
        })
    }
}
