//! The embedded store: one SQLite file in WAL mode.
//!
//! Nothing else in this program may open `egret.db` or its `-wal` and `-shm` files, not even to
//! read: POSIX drops all locks that a process holds on a file as soon as it closes *any*
//! descriptor of it (<https://sqlite.org/howtocorrupt.html>, section 2.2).

mod accept;
mod accounts;
mod approvals;
mod audit;
mod bundles;
mod clients;
mod commits;
mod copy;
mod credentials;
mod database;
mod discard;
mod egress;
mod error;
mod groups;
mod handover;
mod issued;
mod joint;
mod key_requests;
mod load;
mod location;
mod objects;
mod outbox;
mod people;
mod permission;
mod rekey;
mod reserve;
mod rows;
mod schema;
mod seen;
mod sessions;
mod together;
mod tokens;
mod upgrade;

pub use commits::WalWatch;
pub use database::Database;
pub use location::Location;

#[cfg(test)]
mod tamper;
#[cfg(test)]
mod tests;
