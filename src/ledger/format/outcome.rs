//! How the ledger says that something ended.

/// Every outcome.
pub const ALL: &[&str] = &[
    USED,
    ATTACHED,
    DENIED,
    FORWARDED,
    FAILED,
    CLIENT_GONE,
    UNKNOWN,
];

/// Of [`crate::ledger::event::USE`].
pub const USED: &str = "used";
/// Of [`crate::ledger::event::USE`]: the client sent no placeholder, its owner had it attached.
pub const ATTACHED: &str = "attached";
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

#[cfg(test)]
mod tests {
    #[test]
    fn every_outcome_is_in_the_list() {
        let is_name = |line: &&str| line.starts_with("pub const ") && line.contains(": &str =");
        let declared = include_str!("outcome.rs").lines().filter(is_name).count();
        assert_eq!(declared, super::ALL.len());
    }
}
