//! Where a credential may be used: pure decisions over names, never over values.
//!
//! A request is judged in the order of this list: its [`destination`] is normalised once, every
//! placeholder has a [`location`], the credential's [`grant`] says what is allowed, [`decide`]
//! compares the three, and [`address`] judges what the destination's name resolves to.
//!
//! Nothing in here reads a clock, a file or a socket, so that a decision depends on its arguments
//! alone and can be explained (`egret explain`) with the code that enforces it.

pub mod address;
pub mod decide;
pub mod destination;
pub mod grant;
pub mod location;
mod path;
mod serde_text;
