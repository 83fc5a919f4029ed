//! What a backup says of itself.

use serde::{Deserialize, Serialize};

use crate::ledger::snapshot::Position;

/// The form of the manifest that this program writes.
pub(super) const FORMAT: u32 = 1;

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the backup.
    pub format: u32,
    /// When it was made.
    pub made: String,
    /// The Egret that made it.
    pub egret: String,
    /// The name of the master key that opens it.
    pub master_key: String,
    /// The store.
    pub store: StoreState,
    /// The ledger.
    pub ledger: LedgerEnd,
    /// Every other file of the backup.
    pub files: Vec<FileEntry>,
}

/// The state of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// The version of its form.
    pub schema: i64,
    /// The number of its last change.
    pub revision: i64,
}

/// The last line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEnd {
    /// Its number; 0 without any.
    pub seq: u64,
    /// Its hash.
    pub hash: Option<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path in the backup.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

impl From<Position> for LedgerEnd {
    fn from(position: Position) -> Self {
        Self {
            seq: position.seq,
            hash: position.hash.map(|hash| hash.to_string()),
        }
    }
}

/// Whether a name in a manifest stays within the backup: a file, or one in `ledger`.
pub(super) fn is_plain(name: &str) -> bool {
    let file = name.strip_prefix("ledger/").unwrap_or(name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !file.is_empty() && file != "." && file != ".." && file.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lead_out_of_the_backup() {
        for good in ["egret.db", "ledger/current.jsonl", "ledger/torn-1.jsonl"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "",
            "..",
            "/etc/passwd",
            "ledger/",
            "ledger/..",
            "a/b",
            "ledger/a/b",
            "a\0b",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
