//! Logging without values, and protection of the process's memory.
//!
//! Logs are structured and carry names, never values: a URL appears as scheme, host and path with
//! its placeholders in place. Three things could break that from outside our own code, and each is
//! closed: trace output of other crates (HTTP libraries log what they parse) by the filter of
//! [`log`], panic messages (slicing a string quotes it) and core dumps by [`process`]. After all of
//! them comes a filter that takes live values out of each line ([`redact`]).

pub mod access_log;
mod log;
mod log_writer;
mod process;
pub mod redact;
mod timestamp;
pub mod traces;
pub mod trim;

pub use self::log::{LogError, Logging, init};
pub use self::process::{seal_memory, seal_process};
