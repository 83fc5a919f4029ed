//! What substitution can write, the scrubber can find: an upstream may send back what it received.

use proptest::prelude::*;

use super::properties::value;
use super::*;
use crate::substitution::encode::encode;
use crate::substitution::encoding::Encoding;

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_value_is_found_in_every_encoding_that_substitution_writes(
        value in value(),
        before in "[\\[,;| ]{0,3}",
    ) {
        let needles = one(&value);
        for encoding in Encoding::ALL {
            let mut text = before.clone().into_bytes();
            if encode(encoding, &value, before.as_bytes(), &mut text).is_err() {
                continue;
            }
            let end = text.len();
            text.extend(b"|,");
            let covered = needles.find(&text).iter().any(|hit| {
                hit.offset <= before.len() as u64 && hit.offset as usize + hit.length >= end
            });
            prop_assert!(covered, "{:?}: {}", encoding, text.escape_ascii());
        }
    }
}
