//! Names of the events that requests leave in the ledger. Administrative events are named by the
//! command that makes them: `credential.created`, `credential.rotated`, …

/// A value is about to leave; durable before it does.
pub const USE: &str = "use";
/// What became of a request that has `use` lines.
pub const RESULT: &str = "result";
/// A placeholder was refused.
pub const DENIED: &str = "denied";
/// A placeholder was passed on literally (`unresolved = "ignore"`).
pub const IGNORED: &str = "ignored";
/// An answer repeated a value, which was taken out.
pub const SCRUBBED: &str = "scrubbed";
/// The ledger could not be written from this time on, and requests were refused for it; the
/// line is written as soon as it can be.
pub const INTERRUPTED: &str = "ledger.interrupted";
/// A `use` that a crash left without its `result`, said again at the next start: what became of
/// the request is not known. One line for each `use`, with all that it said.
pub const RECOVERED: &str = "recovered";
/// At start, something of the ledger was missing or did not fit; `code` says what, `locations`
/// where, as names of files or ranges of sequence numbers.
pub const DAMAGED: &str = "ledger.damaged";
/// Rotated files are about to be dropped, because the configuration keeps no more; `locations`
/// has the sequence numbers of their lines: `1-20000`.
pub const DROPPED: &str = "ledger.dropped";
/// Checkpoints begin here, with the key in `locations`; lines before were written without any.
pub const SIGNED: &str = "ledger.signed";
