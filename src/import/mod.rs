//! Credentials from files of other programs: what would be saved, before anything is.
//!
//! A parser makes rows of a file; [`proposal`] says for each row which slug, service and hosts it
//! would get. Nothing here saves, and no error quotes the file: a line that cannot be read may be
//! the middle of a key. Pure.

mod csv;
mod dotenv;
mod error;
mod format;
mod json;
mod part;
pub mod programs;
mod proposal;
mod row;

pub use self::error::ImportError;
pub use self::format::Format;
pub use self::proposal::{Proposal, propose};
pub use self::row::Row;
