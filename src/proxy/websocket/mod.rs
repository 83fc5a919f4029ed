//! A WebSocket connection through the proxy, once both sides have agreed to it (RFC 6455).
//!
//! What a client sends is searched message by message and every placeholder is decided on at that
//! moment (`outgoing`); what the upstream sends is scrubbed (`incoming`). All that is needed is
//! a pair of byte streams, so it does not matter which version of HTTP they came out of.
//!
//! Each direction is one loop that reads only when all it has read before was written, so a slow
//! reader slows its writer down and nothing piles up here.

pub(in crate::proxy) mod conversation;
pub(in crate::proxy) mod handshake;
mod incoming;
mod messages;
mod outbox;
mod outgoing;
