//! One entry of a file, whatever the format.

use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::vault::Kind;

/// Most rows of one file.
pub const MOST_ROWS: usize = 10_000;
/// Longest value, in bytes.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// One entry of a file.
#[derive(Debug)]
pub struct Row {
    /// Its line, from 1 on.
    pub line: usize,
    /// What the file calls it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The value; for a login the JSON that the vault reads.
    pub value: SecretBytes,
    /// Hosts that the file names.
    pub hosts: Vec<HostPattern>,
    /// Places that the file names.
    pub locations: Vec<LocationRule>,
}
