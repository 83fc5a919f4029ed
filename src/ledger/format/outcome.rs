//! How the ledger says that something ended.

/// Of [`crate::ledger::event::USE`].
pub const USED: &str = "used";
/// Of [`crate::ledger::event::DENIED`].
pub const DENIED: &str = "denied";
/// Of [`crate::ledger::event::RESULT`]: the upstream answered.
pub const FORWARDED: &str = "forwarded";
/// Of [`crate::ledger::event::RESULT`]: there was no answer; `code` says why.
pub const FAILED: &str = "failed";
/// Of [`crate::ledger::event::RESULT`]: the client left before the answer was through.
pub const CLIENT_GONE: &str = "client_gone";
/// Of [`crate::ledger::event::RECOVERED`]: Egret ended before it could say.
pub const UNKNOWN: &str = "unknown";
