//! The one type that owns a secret value.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes of a secret: wiped when dropped, never printed.
///
/// There is deliberately no `Clone`, `Display`, `Serialize`, `PartialEq` or `AsRef`: each of
/// them has leaked a value somewhere. The bytes are reached only through [`SecretBytes::expose`],
/// so a reviewer can list every place that does with one search.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of `bytes`; the caller keeps no copy.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself. Whoever calls this answers for where the bytes go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length of the value in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value has no bytes. Such a value is refused when it is saved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the length: it narrows a guess.
        f.write_str("SecretBytes(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = SecretBytes::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "SecretBytes(redacted)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
