//! How a person, and a program that acts for a person, is known to the admin side.
//!
//! Of every secret (a session's cookie, a personal token, a one-time link) only the SHA-256 is
//! stored: each has 256 random bits. Of a password there is an argon2id hash, which this module
//! moves and does not compute.
//!
//! Accounts, tokens and links are objects like users: authenticated, and part of the directory's
//! digest, so that a password or a token of an earlier time that is put back into the database is
//! noticed. Sessions are rows of a table of their own, because they come and go with every visit and
//! the proxy must not read its directory again for each. A session is authenticated like an object.
//! One that was put back still has to begin after [`Account::sessions_after`], which every change of
//! a password and every sign-out from everywhere moves on.

pub mod account;
mod hash;
pub mod link;
pub mod session;
pub mod token;

pub use account::Account;
pub use hash::SecretHash;
pub(in crate::vault) use hash::hex;
pub use link::{Link, LinkId};
pub use session::{Method, Session, SessionLimits};
pub use token::{ApiToken, ApiTokenId, Scope};
