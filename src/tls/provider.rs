//! The cryptography provider of both sides.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The process's only cryptography provider, with the post-quantum hybrid key exchange first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
