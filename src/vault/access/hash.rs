//! The hash of a secret that a person or a program presents.

/// SHA-256 of a secret. All that is stored of it.
pub type SecretHash = [u8; 32];

/// A hash as it is written into the store.
pub(in crate::vault) fn hex(hash: &SecretHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
