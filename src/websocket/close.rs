//! The close code of a connection.

use super::frame::MAX_CONTROL;

/// A close code with its reason (RFC 6455 section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// One that may be sent.
    pub code: u16,
    /// For a person to read. At most 123 bytes.
    pub reason: String,
}

impl Close {
    /// The peer is going away.
    pub const GOING_AWAY: u16 = 1001;
    /// A frame breaks the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A text message is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A message is refused.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// An internal error.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The upstream broke the protocol (IANA WebSocket Close Code registry).
    pub const BAD_GATEWAY: u16 = 1014;

    /// A code with a reason, cut to what fits.
    pub fn new(code: u16, reason: &str) -> Self {
        let end = reason.floor_char_boundary(MAX_CONTROL - 2);
        Self {
            code,
            reason: reason[..end].to_owned(),
        }
    }
}
