//! What holds for the name of every field, whose case is not known.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::encoders::forms;
use super::properties::{assemble, pieces, values};
use super::*;

/// The characters of a name (RFC 9110 section 5.6.2).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

fn found(needles: &Needles, name: &str) -> Option<(String, HitForm)> {
    let hit = needles.find_in_name(name.as_bytes())?;
    Some((needles.name(hit.reference).to_owned(), hit.form))
}

proptest! {
    #![proptest_config(cases(512))]

    /// What is found in a name as it is written is found in what is left of it in lower case.
    #[test]
    fn no_value_is_lost_with_the_case(
        values in values(),
        pieces in pieces(),
        short in "[a-zA-Z+% ]{1,7}",
    ) {
        let used = [("z", Arc::new(SecretBytes::new(short.into_bytes())))];
        let needles = needles(&values).with_used(&used);
        let mut name = assemble(&pieces, &values);
        name.retain(is_token);
        if !needles.find(&name).is_empty() {
            let lower = name.to_ascii_lowercase();
            prop_assert!(
                needles.find_in_name(&lower).is_some(),
                "{} is not found in {}", name.escape_ascii(), lower.escape_ascii()
            );
        }
    }

    /// Every form that can be a name is found, in the middle of any name.
    #[test]
    fn every_form_is_found_in_lower_case(
        values in values(),
        which in any::<Index>(),
        before in "[a-z-]{0,8}",
        after in "[a-z-]{0,8}",
    ) {
        let all: Vec<_> = values.iter().flat_map(|value| forms(value)).collect();
        let written: Vec<_> = all.iter().filter(|form| form.iter().all(is_token)).collect();
        prop_assume!(!written.is_empty());
        let form = which.get(&written).to_ascii_lowercase();
        let name = [before.as_bytes(), &form, after.as_bytes()].concat();
        prop_assert!(needles(&values).find_in_name(&name).is_some(), "{}", name.escape_ascii());
    }

    /// A name that only begins like a value, or shares a piece with it, is let through.
    #[test]
    fn nothing_else_is_found(value in "[a-zA-Z]{8,24}", kept in any::<Index>(), last in "[0-9]{1,4}") {
        let prefix = &value[..kept.index(value.len())];
        let name = format!("x-{prefix}{last}").to_ascii_lowercase();
        prop_assert_eq!(one(value.as_bytes()).find_in_name(name.as_bytes()), None);
    }

    /// No name makes it panic.
    #[test]
    fn any_bytes_can_be_searched(values in values(), name in vec(any::<u8>(), 0..64)) {
        let _ = needles(&values).find_in_name(&name);
    }
}

#[test]
fn a_name_is_compared_without_regard_to_case() {
    let all = needles(&[
        b"mVQMZbpEQ".to_vec(),
        b"Pass-Word.One".to_vec(),
        b"with a blank".to_vec(),
    ]);
    for (name, value, form) in [
        ("mvqmzbpeq", "a", HitForm::Raw),
        ("x-mvqmzbpeq-y", "a", HitForm::Raw),
        ("%6dvqmzbp%45q", "a", HitForm::Percent),
        ("%256dvqmzbpeq", "a", HitForm::Percent),
        // `bVZRTVpicEVR` and `6d56514d5a62704551`.
        ("x-bvzrtvpicevr", "a", HitForm::Base64),
        ("6d56514d5a62704551", "a", HitForm::Hex),
        ("pass-word.one", "b", HitForm::Raw),
        ("with+a+blank", "c", HitForm::Percent),
    ] {
        assert_eq!(found(&all, name), Some((value.to_owned(), form)), "{name}");
    }
    for name in [
        "",
        "x",
        "date",
        "mvqmzbpe",
        "x-mvqm-zbpeq",
        "content-type",
        "%6dvqm",
    ] {
        assert_eq!(found(&all, name), None, "{name}");
    }
}

/// A value that is too short for the rest is looked for once it was used.
#[test]
fn a_short_value_is_found_in_a_name_once_it_was_used() {
    let all = one(b"correct-horse");
    assert_eq!(found(&all, "x-pin7"), None);
    let used = [("pin", Arc::new(SecretBytes::new(b"PiN7".to_vec())))];
    let all = all.with_used(&used);
    assert_eq!(
        found(&all, "x-pin7"),
        Some(("pin".to_owned(), HitForm::Raw))
    );
    assert_eq!(
        found(&all, "x-%70in7"),
        Some(("pin".to_owned(), HitForm::Percent))
    );
    assert_eq!(found(&all, "x-pin"), None);
}
