//! The usage index: which actions used a credential, when, from which version, with what outcome.
//!
//! `ledger/usage.db` answers that at once on a ledger of any length. It is derived from the lines
//! and never the truth: deleted, damaged or belonging to another ledger, it is made again. What
//! binds it to its ledger is the hash of the last line it knows, which is looked up at its place
//! before anything is added; by the chain that hash covers all lines before.
//!
//! Whoever asks catches up first, and the server does in the background, so that little is left to
//! do. Several processes may: each batch of lines is one transaction, which begins with where the
//! last one ended.

mod answer;
mod choices;
mod filtered;
mod first_uses;
mod hours;
mod index;
mod keeper;
mod kept;
mod known;
mod log;
mod position;
mod schema;
mod shared;
mod tally;
mod write;

pub use answer::{ActionUsage, LastUses, RecentUse, Rejections, Usage};
pub use choices::Choices;
pub use filtered::{ActionSum, ClientUse, HourOfUse, LastActions, UsageFilter, UsageLine};
pub use index::{UsageError, UsageIndex};
pub use keeper::keep;
pub use kept::KeptSince;
pub use schema::USAGE;
pub use shared::UsageReader;

#[cfg(test)]
mod tests;
