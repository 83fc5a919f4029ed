//! TLS on both sides: the local authority and its leaves, the intercepting server, the upstream client.
//!
//! One crypto provider (aws-lc-rs) serves all of it, see [`provider`].

pub mod authority;
pub mod client;
pub mod leaf;
mod profile;
pub mod server;
pub mod ticket;
pub mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The process's only cryptography provider, with the post-quantum hybrid key exchange first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
