//! Finding placeholders and putting values in their place.

pub mod basic;
pub mod body;
pub mod encode;
pub mod fence;
pub mod find;
mod form;
mod json;
mod media;
mod multipart;
pub mod placeholder;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod slug;
pub mod stream;
mod walk;
pub mod wire;
mod xml;
