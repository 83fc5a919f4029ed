//! The embedded store: one SQLite file in WAL mode.
//!
//! Nothing else in this program may open `egret.db` or its `-wal` and `-shm` files, not even to
//! read: POSIX drops all locks that a process holds on a file as soon as it closes *any*
//! descriptor of it (<https://sqlite.org/howtocorrupt.html>, section 2.2).

mod clients;
mod commits;
mod credentials;
mod database;
mod error;
mod load;
mod location;
mod outbox;
mod rows;
mod schema;

pub use commits::WalWatch;
pub use database::Database;
pub use location::Location;

#[cfg(test)]
mod tests;
