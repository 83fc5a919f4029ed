//! TLS on both sides: the local authority and its leaves, the server that intercepts, the client of
//! upstreams.
//!
//! One crypto provider (aws-lc-rs) serves all of it, see [`provider()`].

pub mod acceptance;
pub mod authority;
pub mod client;
mod error;
pub mod fingerprint;
pub mod leaf;
pub mod listener;
mod pinned;
mod profile;
mod provider;
pub mod server;
mod succession;
pub mod verify;

pub use provider::provider;
pub use succession::Succession;
