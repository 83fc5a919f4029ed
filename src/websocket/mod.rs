//! WebSocket framing (RFC 6455 section 5) without input or output: bytes in, events out, and back.
//!
//! A [`Receiver`] reads the frames of one side and checks everything the protocol lets it check; a
//! [`Sender`] writes frames to the other. Between the two an intermediary may change how a message
//! is cut into frames as long as no extension was negotiated (section 5.4), and here that is what
//! lets a frame of any length pass in constant memory: its payload is handed on as it comes.
//!
//! The codec is our own because the libraries for this read whole frames into memory, and because
//! an intermediary has to refuse what an endpoint may leave unsaid.

mod frame;
mod receive;
mod send;
mod utf8;

#[cfg(test)]
mod properties;

pub use receive::{Event, Receiver, Violation};
pub use send::{NoKey, Sender};

/// Which end of the connection the peer is: a client masks its frames and a server does not (RFC
/// 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The peer is a client.
    Client,
    /// The peer is a server.
    Server,
}

/// What a data message holds (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// The most that the payload of a control frame can hold, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

/// A close code with its reason (RFC 6455 section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// One that may be sent.
    pub code: u16,
    /// For people. At most 123 bytes.
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
    /// Something failed here.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// What lies behind this server broke the protocol (IANA WebSocket Close Code registry).
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
