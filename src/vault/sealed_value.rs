//! A sealed value in memory, opened once for all that need it at the same time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::secret::SecretBytes;
use crate::vault::seal::Sealed;

/// One value of a credential, with a weak reference to its plaintext while someone has it open.
///
/// The values that answers are searched for are open anyway. An authorised request shares that
/// plaintext, so there is no second copy. The reference keeps nothing open: once the last holder
/// drops the plaintext, it is wiped. It cannot be outdated either, because a value that is
/// replaced, moved or sealed again is another `SealedValue`, of another [`Credential`].
///
/// [`Credential`]: crate::vault::Credential
pub struct SealedValue {
    sealed: Sealed,
    opened: Mutex<Weak<SecretBytes>>,
}

impl SealedValue {
    /// The plaintext: the one that is open already, or else what `open` returns.
    pub(in crate::vault) fn open<E>(
        &self,
        open: impl FnOnce(&Sealed) -> Result<SecretBytes, E>,
    ) -> Result<Arc<SecretBytes>, E> {
        // Held while it is opened, so that two callers do not open it twice.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = opened.upgrade() {
            return Ok(value);
        }
        let value = Arc::new(open(&self.sealed)?);
        *opened = Arc::downgrade(&value);
        Ok(value)
    }

    /// The value as the store has it.
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
    fn a_value_is_open_once_and_only_while_someone_holds_it() {
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
    fn a_failure_to_open_is_not_remembered() {
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
