//! A sealed value in memory, opened once for all who need it at the same time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::secret::SecretBytes;
use crate::vault::seal::Sealed;

/// One value of a credential: sealed, and known to be open for as long as somebody has it open.
///
/// What answers are searched for is open anyway. A request that was authorised gets that same
/// plaintext, and no second copy of it comes into being. Nothing is value open for its sake: once
/// the last holder lets go, the plaintext is wiped. And nothing can be outdated, because a value
/// that is replaced, moved or sealed anew is another `SealedValue`, of another [`Credential`].
///
/// [`Credential`]: crate::vault::Credential
pub struct SealedValue {
    sealed: Sealed,
    opened: Mutex<Weak<SecretBytes>>,
}

impl SealedValue {
    /// The value: as others have it open, or else as `open` opens it.
    pub(in crate::vault) fn open<E>(
        &self,
        open: impl FnOnce(&Sealed) -> Result<SecretBytes, E>,
    ) -> Result<Arc<SecretBytes>, E> {
        // Held while it is opened, so that two who come at once do not open it twice.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = opened.upgrade() {
            return Ok(value);
        }
        let value = Arc::new(open(&self.sealed)?);
        *opened = Arc::downgrade(&value);
        Ok(value)
    }

    /// The value as it lies in the store.
    pub(in crate::vault) fn sealed(&self) -> &Sealed {
        &self.sealed
    }
}

impl From<Sealed> for SealedValue {
    fn from(sealed: Sealed) -> Self {
        Self {
            sealed,
            opened: Mutex::default(),
        }
    }
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedValue(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_open_once_and_only_while_somebody_holds_it() {
        let value = SealedValue::from(Sealed::from_bytes(b"sealed".to_vec()));
        let opened = std::cell::Cell::new(0);
        let open = || {
            value
                .open(|sealed| {
                    opened.set(opened.get() + 1);
                    Ok::<_, ()>(SecretBytes::new(sealed.as_bytes().to_vec()))
                })
                .unwrap()
        };
        let (one, other) = (open(), open());
        assert!(Arc::ptr_eq(&one, &other) && opened.get() == 1);
        assert_eq!(Arc::strong_count(&one), 2, "the vault itself holds nothing");
        drop((one, other));
        assert_eq!(open().expose(), b"sealed");
        assert_eq!(opened.get(), 2);
    }

    #[test]
    fn what_does_not_open_is_tried_again() {
        let value = SealedValue::from(Sealed::from_bytes(Vec::new()));
        assert_eq!(value.open(|_| Err(1)).unwrap_err(), 1);
        let value = value.open(|_| Ok::<_, ()>(SecretBytes::new(b"v".to_vec())));
        assert_eq!(value.unwrap().expose(), b"v");
    }

    #[test]
    fn debug_shows_nothing() {
        let value = SealedValue::from(Sealed::from_bytes(b"hunter2".to_vec()));
        assert_eq!(format!("{value:?}"), "SealedValue(..)");
    }
}
