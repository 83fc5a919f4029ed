//! WebSocket framing (RFC 6455 section 5) without input or output: bytes become events, and back.
//!
//! A [`Receiver`] reads the frames of one side and checks all that the protocol specifies; a
//! [`Sender`] writes frames to the other. An intermediary may fragment a message differently as long
//! as no extension was negotiated (section 5.4). So a frame of any length passes in constant memory:
//! its payload is forwarded as it arrives.
//!
//! The codec is our own because WebSocket libraries read whole frames into memory, and because an
//! intermediary has to refuse protocol errors that an endpoint may ignore.

mod close;
mod frame;
mod receive;
mod send;
mod utf8;

#[cfg(test)]
mod properties;

pub use close::Close;
pub use frame::{MAX_CONTROL, MessageKind, Peer};
pub use receive::{FrameEvent, Receiver, Violation};
pub use send::{NoKey, Sender};
