//! Stand-ins as the store keeps them.

use serde::{Deserialize, Serialize};

/// A text that means a credential. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    /// The text.
    pub text: String,
    /// When it was made, unix seconds.
    pub created: i64,
    /// When it was taken back. It is then refused, so that it is not sent to an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
}
