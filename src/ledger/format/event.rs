//! Names of the events that requests leave in the ledger. Administrative events are named by the
//! command that makes them: `credential.created`, `credential.rotated`, …

/// Every event of this file.
pub const ALL: &[&str] = &[
    USE,
    RESULT,
    DENIED,
    IGNORED,
    DESTINATION,
    OWN_KEY,
    REJECTED,
    ACCEPTED,
    SCRUBBED,
    INTERRUPTED,
    RECOVERED,
    DAMAGED,
    DROPPED,
    SIGNED,
    TAKEN_BACK,
    UNVERIFIED,
];

/// A value is about to leave; durable before it does.
pub const USE: &str = "use";
/// What became of a request that has `use` lines.
pub const RESULT: &str = "result";
/// A placeholder was refused.
pub const DENIED: &str = "denied";
/// A placeholder was passed on literally (`unresolved = "ignore"`).
pub const IGNORED: &str = "ignored";
/// The first request of a client to a destination that is only observed.
pub const DESTINATION: &str = "destination";
/// A client brought a key that Egret does not hold; `locations` says where, and how many requests did
/// so since the server started. Written each time that number has doubled.
pub const OWN_KEY: &str = "own_key";
/// An upstream refused a credential several times in a row (401 or 403).
pub const REJECTED: &str = "rejected";
/// An upstream took a credential again that was rejected.
pub const ACCEPTED: &str = "accepted";
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
/// A program that was to follow did not serve, and the one before it writes the ledger again; `locations`
/// has the sequence numbers of the lines that the other one wrote, if there are any: `20-27`.
pub const TAKEN_BACK: &str = "ledger.taken_back";
/// Something in the store is not what Egret wrote; `locations` says what, or `owner` and `slug`.
pub const UNVERIFIED: &str = "store.unverified";

#[cfg(test)]
mod tests {
    #[test]
    fn every_event_is_in_the_list() {
        let is_name = |line: &&str| line.starts_with("pub const ") && line.contains(": &str =");
        let declared = include_str!("event.rs").lines().filter(is_name).count();
        assert_eq!(declared, super::ALL.len());
    }
}
