//! Where the ledger is sent to, beside being written.

use std::path::PathBuf;

use http::Uri;

/// A collector of ledger lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipTarget {
    /// Its address.
    pub url: Uri,
    /// How lines are written for it.
    pub form: ShipForm,
    /// The file with the token that it wants to see.
    pub token: Option<PathBuf>,
}

/// How lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShipForm {
    /// As they are, many in a POST.
    Jsonl,
    /// As events of the Open Cybersecurity Schema Framework, many in a POST.
    Ocsf,
    /// Each as a message of syslog.
    Syslog,
}
