//! The proxy: from an accepted connection to the client's answer, in flow order.
//!
//! [`inbound`] accepts connections and reads requests; [`exchange`] decides about each; [`outbound`] is
//! the one way out; [`response`] is the way back, and [`websocket`] both at once, message by message.
//! [`runtime`] is what all of them run on.

pub mod context;
pub mod exchange;
pub mod inbound;
pub mod outbound;
pub mod response;
pub mod runtime;
pub mod websocket;
