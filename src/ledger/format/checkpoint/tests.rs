use proptest::prelude::*;

use super::*;
use crate::secret::SecretBytes;

/// Made with other tools than this crate's: SHA-256 and Ed25519 of a Python library over the lines
/// of `ledger-record-2.jsonl`, sizes 0, 3 and 4, under the seed of 32 sevens.
const GOLDEN: &str = include_str!("../../../../tests/golden/ledger-checkpoints.txt");
const GOLDEN_KEY: &str = include_str!("../../../../tests/golden/ledger-public-key.txt");
const LINES: &str = include_str!("../../../../tests/golden/ledger-record-2.jsonl");

fn signer(seed: u8) -> Signer {
    Signer::of_ledger(&SecretBytes::new(vec![seed; 32])).unwrap()
}

fn checkpoint(signer: &Signer, lines: &[&str], time: &str, cause: Cause) -> Checkpoint {
    let mut tree = Frontier::default();
    for line in lines {
        tree.push(TreeHash::of_leaf(line.as_bytes()));
    }
    let last = lines.last();
    Checkpoint {
        origin: signer.verifier().name().clone(),
        tree,
        head: last.map_or(LineHash::GENESIS, |line| LineHash::of(line.as_bytes())),
        time: time.parse().unwrap(),
        cause,
    }
}

fn golden() -> [Checkpoint; 3] {
    let lines: Vec<&str> = LINES.lines().collect();
    let of = |size: usize, time, cause| checkpoint(&signer(7), &lines[..size], time, cause);
    [
        of(0, "2026-11-22T09:29:00Z", Cause::Start),
        of(3, "2026-11-22T09:30:01Z", Cause::Count),
        of(4, "2026-11-22T09:30:02.123456Z", Cause::Shutdown),
    ]
}

#[test]
fn checkpoints_are_frozen() {
    let mut written = String::new();
    for checkpoint in golden() {
        written.push_str(&checkpoint.sign(&signer(7)).unwrap());
        written.push('\n');
    }
    assert_eq!(written, GOLDEN);
    let key = signer(7).verifier().to_string();
    assert_eq!(key, GOLDEN_KEY.trim_end());
}

#[test]
fn frozen_checkpoints_are_read_back() {
    let verifier: Verifier = GOLDEN_KEY.trim_end().parse().unwrap();
    let mut notes = Notes::new(GOLDEN);
    let read: Vec<_> = notes
        .by_ref()
        .map(|note| Checkpoint::open(note, &verifier).unwrap())
        .collect();
    assert_eq!(read, golden());
    assert_eq!(notes.rest(), "");
}

#[test]
fn a_torn_note_is_left_over() {
    let ends: Vec<usize> = Notes::new(GOLDEN)
        .scan(0, |end, note| {
            *end += note.len() + 1;
            Some(*end)
        })
        .collect();
    for cut in (0..GOLDEN.len()).filter(|&cut| GOLDEN.is_char_boundary(cut)) {
        let mut notes = Notes::new(&GOLDEN[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut);
        assert_eq!(notes.by_ref().count(), whole.clone().count(), "{cut}");
        assert_eq!(notes.rest().len(), cut - whole.max().unwrap_or(&0), "{cut}");
    }
}

#[test]
fn a_checkpoint_of_another_ledger_is_refused_although_the_key_fits() {
    let signer = signer(1);
    let checkpoint = Checkpoint {
        origin: "b.example".parse().unwrap(),
        ..checkpoint(&signer, &[], "2026-11-22T09:29:00Z", Cause::Start)
    };
    let note = checkpoint.sign(&signer).unwrap();
    let opened = Checkpoint::open(&note, signer.verifier());
    assert_eq!(opened, Err(NoteError::NotACheckpoint));
}

#[test]
fn one_checkpoint_has_one_spelling() {
    let checkpoint = &golden()[1];
    let good = checkpoint.to_string();
    assert_eq!(good.parse().as_ref(), Ok(checkpoint));
    let extended = format!("{good}an extension\n");
    assert_eq!(extended.parse().as_ref(), Ok(checkpoint));

    let line = |at: usize| good.lines().nth(at).unwrap().to_owned();
    let (root, head, frontier) = (line(2), line(5), line(6));
    let other = BASE64_STANDARD.encode([1; 32]);
    let mut bad = vec![
        String::new(),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("{good}\nx\n"),
        format!("\n{good}"),
    ];
    for (from, to) in [
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n+3\n"),
        ("\n3\n", "\n4\n"),
        ("\n3\n", "\n7\n"),
        ("\n3\n", "\n18446744073709551619\n"),
        (".000000Z", "Z"),
        (".000000Z", ".000000+00:00"),
        ("time ", ""),
        ("cause count", "cause counted"),
        ("cause count\n", ""),
        ("frontier ", "frontier  "),
        (&*root, &*other),
        (&*root, "AAAA"),
        (&*head, "head 00"),
        (&*frontier, "frontier"),
        (&*frontier, &*format!("{frontier} {other}")),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from:?}");
        bad.push(text);
    }
    bad.push(good.replace(&head, &format!("head {}", LineHash::GENESIS)));
    bad.push(good.replace(&head, &head.to_uppercase().replace("HEAD", "head")));
    // Without the lines that are Egret's own, there is nothing to take up a tree from.
    bad.push(
        good.lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect(),
    );
    for text in bad {
        let read = text.parse::<Checkpoint>();
        assert_eq!(read, Err(NoteError::NotACheckpoint), "{text:?}");
    }
}

#[test]
fn every_cause_has_a_word_of_its_own() {
    for cause in Cause::ALL {
        assert_eq!(cause.as_str().parse(), Ok(cause));
    }
    assert!("".parse::<Cause>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_ledger_is_taken_up_from_any_checkpoint(size in 0_usize..70, micros in 0_i64..i64::MAX) {
        let lines: Vec<String> = (0..size).map(|number| format!("line {number}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let signer = signer(3);
        let written = Checkpoint {
            time: Timestamp::from_unix_micros(micros),
            ..checkpoint(&signer, &lines, "2026-11-22T09:29:00Z", Cause::Time)
        };
        let read = Checkpoint::open(&written.sign(&signer).unwrap(), signer.verifier());
        prop_assert_eq!(read, Ok(written));
    }

    #[test]
    fn reading_never_panics(text in "(a\n)?[0-9]{0,2}\n[A-Za-z=\n ]{0,60}") {
        prop_assert!(text.parse::<Checkpoint>().is_err());
        prop_assert!(Notes::new(&text).count() <= text.len());
    }
}
