//! Who is asked to sign the checkpoints of the ledger, too.

use http::Uri;

use crate::ledger::format::cosignature::WitnessKey;

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What checks its signatures.
    pub key: WitnessKey,
    /// Where checkpoints are sent: the whole address.
    pub url: Uri,
}
