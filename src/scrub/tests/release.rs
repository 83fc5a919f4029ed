//! What is let go before it is decided.

use proptest::prelude::*;
use proptest::sample::Index;

use super::encoders::forms;
use super::properties::value;
use super::*;

/// Scrubs `text` in pieces of `size` bytes, and lets go of what waits after each of them.
fn released(needles: &Arc<Needles>, text: &[u8], size: usize) -> (Vec<u8>, Vec<Hit>) {
    let mut scrubber = Scrubber::new(Arc::clone(needles), Replacement::SameLength);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    let mut pushed = 0;
    for piece in text.chunks(size) {
        scrubber.push(piece, &mut out, &mut hits);
        pushed += piece.len();
        scrubber.release(&mut out, &mut hits);
        assert_eq!(scrubber.waiting(), Waiting::Nothing);
        // Of base64 that is written again, the bits of a character may be missing, and an escape
        // that is not complete.
        assert!(out.len() + 6 >= pushed, "all that came was let go");
    }
    scrubber.finish(&mut out, &mut hits);
    (out, hits)
}

proptest! {
    #![proptest_config(cases(256))]

    /// However often it is let go, at most three bytes of a value leave, and nothing else changes
    /// but what is masked.
    #[test]
    fn at_most_three_bytes_of_a_value_are_let_go(
        value in value(),
        form in any::<Index>(),
        before in "[ -~]{0,12}",
        after in "[ -~]{0,12}",
        size in 1..24_usize,
    ) {
        let form = form.get(&forms(&value)).clone();
        let text = [before.as_bytes(), &form, after.as_bytes()].concat();
        let needles = one(&value);
        let (out, _) = released(&needles, &text, size);
        for (start, stretch) in needles.find(&text).iter().map(|hit| (hit.offset as usize, hit.length)) {
            let left = (start..start + stretch).filter(|&at| out[at] == text[at]).count();
            // A form may contain the characters that mask it.
            let masks = |byte: &&u8| b"*~^Kioq%\\\r\nrn".contains(byte);
            let alike = text[start..start + stretch].iter().filter(masks).count();
            prop_assert!(left <= 3 + alike, "{} of {}", out.escape_ascii(), text.escape_ascii());
        }
    }
}

#[test]
fn the_search_goes_on_across_what_was_let_go() {
    let needles = one(b"correct-horse");
    let mut scrubber = Scrubber::new(needles, Replacement::Placeholder);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    scrubber.push(b"ends in cor", &mut out, &mut hits);
    assert_eq!(
        (out.as_slice(), scrubber.waiting()),
        (&b"ends in "[..], Waiting::Little)
    );
    scrubber.release(&mut out, &mut hits);
    assert_eq!((out.as_slice(), hits.len()), (&b"ends in cor"[..], 0));
    scrubber.push(b"rect-", &mut out, &mut hits);
    assert_eq!(scrubber.waiting(), Waiting::Much);
    scrubber.release(&mut out, &mut hits);
    assert_eq!(out, b"ends in cor*****");
    assert_eq!(hits[0].form, HitForm::Partial);
    assert_eq!((hits[0].offset, hits[0].length), (8, 8));
    scrubber.push(b"horse and more", &mut out, &mut hits);
    scrubber.finish(&mut out, &mut hits);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "ends in cor*****<<a>> and more"
    );
    assert_eq!(
        (hits[1].form, hits[1].offset, hits[1].length),
        (HitForm::Raw, 8, 13)
    );
}

#[test]
fn a_value_that_another_one_continues_is_replaced_when_it_is_let_go() {
    let values = [b"sk-live-".to_vec(), b"sk-live-TAIL".to_vec()];
    let mut scrubber = Scrubber::new(needles(&values), Replacement::Placeholder);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    scrubber.push(b"it is sk-live-TA", &mut out, &mut hits);
    assert_eq!(scrubber.waiting(), Waiting::Much);
    scrubber.release(&mut out, &mut hits);
    assert_eq!(String::from_utf8_lossy(&out), "it is <<a>>**");
    scrubber.push(b"IL.", &mut out, &mut hits);
    assert_eq!(String::from_utf8_lossy(&out), "it is <<a>>**.");
}

#[test]
fn every_last_byte_is_let_go() {
    let needles = one(b"ghp_Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX");
    for last in 0..=255_u8 {
        let mut scrubber = Scrubber::new(Arc::clone(&needles), Replacement::SameLength);
        let (mut out, mut hits) = (Vec::new(), Vec::new());
        let message = [&b"\0\0\0\0\x08message"[..], &[last]].concat();
        scrubber.push(&message, &mut out, &mut hits);
        assert_ne!(scrubber.waiting(), Waiting::Much, "{last}");
        scrubber.release(&mut out, &mut hits);
        assert_eq!((out, hits.len()), (message, 0));
    }
}

#[test]
fn of_a_short_value_a_third_is_let_go() {
    let none = needles(&[]);
    let value = Arc::new(SecretBytes::new(b"pin-42".to_vec()));
    let used = none.with_used(&[("pin", value)]);
    for (text, expected) in [(&b"a pi"[..], &b"a pi"[..]), (b"a pin", b"a ***")] {
        let mut scrubber = Scrubber::new(Arc::clone(&used), Replacement::Placeholder);
        let (mut out, mut hits) = (Vec::new(), Vec::new());
        scrubber.push(text, &mut out, &mut hits);
        scrubber.release(&mut out, &mut hits);
        assert_eq!(out, expected);
    }
}
