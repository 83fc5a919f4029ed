//! A slug as the text of a stored object, for `#[serde(with = …)]`.

use serde::{Deserialize as _, Deserializer, Serializer};

use crate::substitution::slug::Slug;

/// Writes it.
pub fn serialize<S: Serializer>(slug: &Slug, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(slug.as_str())
}

/// Reads it.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Slug, D::Error> {
    let text = String::deserialize(deserializer)?;
    Slug::parse(&text).map_err(|_| serde::de::Error::custom("not a slug"))
}
