//! Backups.

use serde::Serialize;

/// `egret backup`.
#[derive(Debug, Serialize)]
pub struct BackupMade<'a> {
    /// Where it is.
    pub directory: String,
    /// When it was made.
    pub made: &'a str,
    /// The name of the master key that it needs.
    pub master_key: &'a str,
    /// The number of the store's last change.
    pub change: i64,
    /// The number of the ledger's last line.
    pub line: u64,
    /// How many files it has.
    pub files: usize,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// `egret restore`.
#[derive(Debug, Serialize)]
pub struct BackupRestored<'a> {
    /// When the backup was made.
    pub made: &'a str,
    /// The number of the store's last change.
    pub change: i64,
    /// The number of the ledger's last line.
    pub line: u64,
    /// Entries of the store that are not used, because Egret did not write them.
    pub unverified: &'a [String],
    /// Whether `egret store accept` has to be run before the next start.
    pub must_be_accepted: bool,
    /// What happened since, if a ledger said so.
    pub lost: Option<LostSince>,
}

/// What is not in the backup.
#[derive(Debug, Serialize)]
pub struct LostSince {
    /// Changes of credentials, people and clients, as the ledger has them.
    pub changes: Vec<serde_json::Value>,
    /// How many uses of credentials are on record.
    pub uses: u64,
    /// The number of the last line of that ledger.
    pub last_line: u64,
}
