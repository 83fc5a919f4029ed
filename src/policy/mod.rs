//! Where a credential may be used: pure decisions over names, never over values.
//!
//! A request is checked in the order of this list: its [`destination`] is normalised once, every
//! placeholder has a [`location`], the credential's [`grant`] says what is allowed, [`decide`]
//! compares the three, and [`address`] checks the addresses that the destination's name resolves to.
//! Before all of that, [`egress`] says whether the client may go there at all.
//!
//! No code here reads a clock, a file or a socket. So a decision depends on its arguments alone, and
//! `egret explain` explains it with the code that enforces it.

pub mod address;
pub mod attachment;
pub mod decide;
pub mod destination;
pub mod egress;
pub mod egress_index;
pub mod floor;
pub mod grant;
pub mod location;
mod path;
pub mod requirement;
mod serde_text;
pub mod share_limits;
pub mod use_limits;
