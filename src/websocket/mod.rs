//! WebSocket framing (RFC 6455 section 5) without input or output: bytes in, events out, and back.
//!
//! A [`Receiver`] reads the frames of one side and checks everything the protocol lets it check; a
//! [`Sender`] writes frames to the other. Between the two an intermediary may change how a message
//! is cut into frames as long as no extension was negotiated (section 5.4), and here that is what
//! lets a frame of any length pass in constant memory: its payload is handed on as it comes.
//!
//! The codec is our own because the libraries for this read whole frames into memory, and because
//! an intermediary has to refuse what an endpoint may leave unsaid.

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
