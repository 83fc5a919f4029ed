//! Configuration in two stages: what was typed (`raw`) becomes what the program needs ([`Config`]).
//!
//! Flags win over the environment, the environment over the file, the file over the embedded
//! defaults. A setting remembers where it was typed, so that a complaint can name the line and
//! `egret config show` can answer "why is it that?". All problems are reported at once.
//!
//! Relative paths are relative to the data directory, wherever they were typed: one rule, and a
//! data directory that can be moved as a whole.

mod destination;
mod key;
mod model;
mod problem;
mod raw;
mod resolve;
mod sources;
mod treatment;
mod units;

pub use self::key::restart_needed;
pub use self::model::{
    Admin, Alpn, Body, Config, Durability, Keys, Ledger, Log, LogFormat, Proxy, Resolve, Store,
    Tls, Upstream,
};
pub use self::problem::{Origin, Problem, Problems};
pub use self::raw::Flag;
pub use self::sources::{Loaded, Shown, Sources};
pub use self::treatment::{DestinationRule, Exposed, Range, ScanPlace, Treatment, Unresolved};
