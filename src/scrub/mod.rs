//! Takes secret values out of what comes back from an upstream, in whatever form they come.
//!
//! Pure: bytes in, bytes out. [`Needles`] are the values of a principal prepared for searching,
//! [`Scrubber`] takes them out of a stream, [`scrub_bytes`] out of a complete header value, and
//! [`Needles::find`] only looks, and [`Needles::find_in_name`] looks at the name of a field.
//!
//! # What is found
//!
//! A value is found wherever the text can be *read* as the value. A text is read as a sequence of
//! units, each a literal byte or an escape, in any mix and up to two escapes deep (`escapes`). Of
//! every value several spellings are searched that way (`needle`): the value itself, its base64
//! at three alignments in both alphabets, its hex, its UTF-16. So percent-encoded base64 and hex
//! with separators need no needles of their own.
//!
//! # How
//!
//! A filter over four-byte groups names the positions at which a needle could begin (`filter`,
//! `needle_index`, `candidates`). From each of them all needles are followed at once through a
//! sorted list (`trie`), as partial matches (`matcher`). Of those that begin inside one another only
//! the longest is followed, and the others are recovered from its failure links when it ends
//! (`failure_links`), so the time is linear in the text whatever the values are. The filter may be
//! wrong in one direction only, so what is found, and what is written, is a function of the text and
//! not of how it was cut, as long as nothing is let go early ([`Scrubber::release`]).
//!
//! # What is put in its place
//!
//! Hits that overlap are replaced as their union (`regions`), by the placeholder of the leftmost hit
//! (of those that begin together, the longest); hits that merely touch stay two. What is written
//! (`mark`) is what the place allows: escaped in XML and in URIs, a string in place of a JSON number
//! (`json_place`), and base64 in base64, of which the rest is then written again (`base64_run`).
//!
//! Other text leaves unchanged, and a value cannot be made of such text alone, or it would have been
//! a hit. It could be made of such text *and a replacement*: with a value `secret12<`, the text
//! `secret12` before a placeholder. Where the values make that possible at all, what the first pass
//! wrote is read a second time, and what is found then gives way to characters that no value
//! contains. (If the values together use up every such character, a value that contains one may
//! still be completed by it; nothing is then known that was not sent in the clear.)

pub use hit::{Hit, Replacement};
pub use needle::{HitForm, MIN_SEARCHED};
pub use needles::Needles;
pub use pass::Waiting;
pub use scrubber::{Scrubber, scrub_bytes, scrub_bytes_with};
pub use weakness::{Weakness, is_weak, weak_value};

mod backslash;
mod base64_run;
mod candidates;
mod derived;
mod entities;
mod escape_fast_path;
mod escapes;
mod failure_links;
mod filter;
mod gap;
mod haystack;
mod hit;
mod json_place;
mod mark;
mod matcher;
mod names;
mod needle;
mod needle_index;
mod needles;
mod pass;
mod regions;
mod scan;
mod scrubber;
mod trie;
mod weakness;

#[cfg(test)]
mod tests;
