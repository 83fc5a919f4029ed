//! UTF-8 that arrives in pieces.

/// Checks a text piece by piece (RFC 6455 section 8.1), and holds at most three bytes of it.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end has not arrived.
    begun: Vec<u8>,
}

/// The text is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Takes the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while !self.begun.is_empty() {
            let Some((byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.begun.push(*byte);
            piece = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(NotUtf8),
            Err(error) => {
                self.begun.extend_from_slice(&piece[error.valid_up_to()..]);
                Ok(())
            }
        }
    }

    /// Ends the text; the next piece begins another.
    pub(super) fn finish(&mut self) -> Result<(), NotUtf8> {
        if self.begun.is_empty() {
            Ok(())
        } else {
            Err(NotUtf8)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_judged_like_the_whole(
            parts in prop::collection::vec(prop_oneof![
                "\\PC{0,4}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..3),
                prop::sample::select(vec![b"\xf0\x9f".to_vec(), b"\x98\x80".to_vec(), b"\xed\xa0\x80".to_vec()]),
            ], 0..8),
        ) {
            let mut utf8 = Utf8::default();
            let judged = parts.iter().try_for_each(|part| utf8.push(part)).and_then(|()| utf8.finish());
            prop_assert!(utf8.begun.len() <= 4);
            prop_assert_eq!(judged.is_ok(), std::str::from_utf8(&parts.concat()).is_ok());
        }
    }
}
