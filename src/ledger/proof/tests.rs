use std::fs;

use super::*;
use crate::ledger::fixture::{LINES, ledger, signer};
use crate::ledger::layout::rotated;

#[test]
fn every_line_is_proven_with_nothing_but_the_proof_and_the_key() {
    let (dir, key) = ledger(&[0, 5, 16, 16, 30, LINES], 16);
    for seq in 1..=LINES {
        let text = prove(dir.path(), seq, None).unwrap().to_string();
        let proven = text.parse::<Proof>().unwrap().check(&key).unwrap();
        assert_eq!(proven.record.seq, seq);
        assert_eq!(
            proven.record.entry.event,
            format!("event-{}", seq - 1).as_str()
        );
        assert!(proven.checkpoint.size() >= seq);
    }
    for seq in [0, LINES + 1, u64::MAX] {
        assert!(prove(dir.path(), seq, None).is_err());
    }
}

#[test]
fn a_line_is_proven_under_a_checkpoint_kept_elsewhere() {
    let (dir, key) = ledger(&[5, 16, LINES], 16);
    let last = last_checkpoint(dir.path()).unwrap().unwrap();
    for seq in 1..=LINES {
        let proof = prove(dir.path(), seq, Some(last.clone())).unwrap();
        assert_eq!(proof.check(&key).unwrap().checkpoint.size(), LINES);
    }
}

#[test]
fn what_was_dropped_is_not_proven_and_what_is_behind_it_is() {
    let (dir, key) = ledger(&[5, 16, 30], 16);
    fs::remove_file(rotated(dir.path(), 1)).unwrap();
    assert!(matches!(
        prove(dir.path(), 16, None),
        Err(ProveError::NotThere { seq: 16 })
    ));
    for seq in 17..=30 {
        prove(dir.path(), seq, None).unwrap().check(&key).unwrap();
    }
    assert!(matches!(
        prove(dir.path(), 31, None),
        Err(ProveError::NotCovered { seq: 31 })
    ));
}

#[test]
fn every_changed_byte_of_a_proof_shows() {
    let (dir, key) = ledger(&[11, LINES], 16);
    let proof = prove(dir.path(), 9, None).unwrap().to_string();
    let holds = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).ok()?;
        text.parse::<Proof>().ok()?.check(&key).ok()
    };
    assert!(holds(proof.as_bytes()).is_some());
    for at in 0..proof.len() {
        for change in [1, 2, 4, 0x20, 0x80] {
            let mut altered = proof.clone().into_bytes();
            altered[at] ^= change;
            assert!(holds(&altered).is_none(), "byte {at}: {change}");
        }
        let without = [&proof.as_bytes()[..at], &proof.as_bytes()[at + 1..]].concat();
        assert!(holds(&without).is_none(), "byte {at} missing");
        assert!(holds(&proof.as_bytes()[..at]).is_none(), "cut at {at}");
    }
    assert_eq!(
        proof.parse::<Proof>().unwrap().check(signer(4).verifier()),
        Err(InvalidProof::Checkpoint(NoteError::NotSigned))
    );
}

#[test]
fn a_line_that_was_changed_cannot_be_proven() {
    let (dir, _) = ledger(&[11, LINES], 16);
    let path = rotated(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("event-3\"", "event-8\"")).unwrap();
    let reason = InvalidProof::NotIncluded;
    for seq in [4, 5] {
        assert!(matches!(
            prove(dir.path(), seq, None),
            Err(ProveError::Mismatch { reason: found, .. }) if found == reason
        ));
    }
    assert!(prove(dir.path(), 20, None).is_ok());
}
