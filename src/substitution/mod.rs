//! Finding placeholders and putting values in their place: pure, bytes in and bytes out.
//!
//! From the inside out:
//!
//! * [`slug`]: the names; [`encoding`]: how one character can be written in each part of a request;
//! * [`placeholder`]: the scanner; [`encode`]: how a value is written there;
//! * [`stand_in`]: other texts that mean a placeholder;
//! * [`find`], [`basic`] and [`body`]: where the placeholders of a request are;
//! * [`splice`]: the single pass that puts the values in; [`stream`]: the same for a body too large to hold.
//!
//! There is one scanner and one writer. A held body is read by the same code as a streamed one, as
//! a stream that comes in one piece, so the two cannot differ.

pub mod basic;
pub mod body;
mod body_kind;
mod body_scanner;
mod body_search;
pub mod boundary_guard;
mod candidates;
mod correction;
mod delimiters;
pub mod edit;
pub mod encode;
pub mod encoding;
pub mod find;
mod form;
mod http_message;
mod inner_text;
mod json;
mod json_text;
mod media_type;
mod multipart;
mod part_head;
pub mod part_length;
pub mod percent;
pub mod piecewise;
pub mod placeholder;
#[cfg(test)]
mod properties;
mod single_part;
pub mod slug;
pub mod sniff;
pub mod splice;
pub mod stand_in;
pub mod stream;
mod xml;
