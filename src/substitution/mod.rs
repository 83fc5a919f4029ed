//! Finding placeholders and putting values in their place: pure, bytes in and bytes out.
//!
//! From the inside out:
//!
//! * [`slug`]: the names; [`wire`]: how one character can be spelled at each kind of place;
//! * [`placeholder`]: the scanner; [`encode`]: how a value is written there;
//! * [`find`], [`basic`] and [`body`]: where the placeholders of a request stand;
//! * [`plan`]: the single pass that puts the values in; [`stream`]: the same for a body too large to hold.
//!
//! There is one scanner and one writer. A held body is read by the same code as a streamed one, as
//! a stream that comes in one piece, so the two cannot differ.

pub mod basic;
pub mod body;
pub mod encode;
pub mod fence;
pub mod find;
mod form;
mod json;
mod media;
mod multipart;
mod part;
pub mod placeholder;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod slug;
pub mod stream;
mod walk;
pub mod wire;
mod xml;
