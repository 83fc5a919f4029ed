//! Why there is no master key.

/// The master key could not be loaded. Never holds a part of it.
#[derive(Debug, thiserror::Error)]
#[error("the master key cannot be loaded from {source_name}: {reason}")]
pub struct KeyringError {
    /// The key source as it is written in the configuration.
    pub source_name: String,
    /// What went wrong and how to fix it.
    pub reason: String,
}
