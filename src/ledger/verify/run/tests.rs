//! Whatever is done to a ledger of 200 lines shows.

use std::io::BufRead;

use super::*;
use crate::ledger::format::chain::Chain;
use crate::ledger::format::checkpoint::Cause;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::merkle::{Frontier, TreeHash};
use crate::ledger::format::note::Signer;
use crate::secret::SecretBytes;

/// Lines of the ledger, and after how many of them there are checkpoints.
const LINES: u64 = 200;
const EVERY: u64 = 40;

/// A ledger in memory, with the state of its check before each line.
struct Sample {
    signer: Signer,
    /// Each with its line feed.
    lines: Vec<Vec<u8>>,
    checkpoints: Vec<Checkpoint>,
    states: Vec<Checker>,
}

fn signer(seed: u8) -> Signer {
    Signer::of_ledger(&SecretBytes::new(vec![seed; 32])).unwrap()
}

fn time(line: u64) -> Timestamp {
    Timestamp::from_unix_micros(1_795_339_800_000_000 + i64::try_from(line).unwrap() * 1_000_000)
}

fn entry(number: u64) -> Entry<'static> {
    Entry {
        slug: Some("gh".into()),
        action: Some("say \"hi\" é".into()),
        version: Some(u32::try_from(number % 3).unwrap()),
        locations: vec!["header:authorization".into()],
        duration_ms: Some(number * 7),
        ..Entry::new(event::USE)
    }
}

impl Sample {
    fn new() -> Self {
        let signer = signer(7);
        let (mut chain, mut tree) = (Chain::start(), Frontier::default());
        let (mut lines, mut checkpoints) = (Vec::new(), Vec::new());
        for number in 0..=LINES {
            if number % EVERY == 0 {
                checkpoints.push(Checkpoint {
                    origin: signer.verifier().name().clone(),
                    tree: tree.clone(),
                    head: chain.head(),
                    time: time(number),
                    cause: Cause::Count,
                });
            }
            let mut line = Vec::new();
            chain.append(time(number), &entry(number).encode(), &mut line);
            tree.push(TreeHash::of_leaf(line.strip_suffix(b"\n").unwrap()));
            lines.push(line);
        }
        lines.pop();
        let mut states = vec![Checker::new()];
        for line in &lines {
            let mut next = states.last().unwrap().clone();
            next.line(line.strip_suffix(b"\n").unwrap()).unwrap();
            states.push(next);
        }
        Self {
            signer,
            lines,
            checkpoints,
            states,
        }
    }

    fn notes(&self) -> String {
        notes(&self.signer, &self.checkpoints)
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            key: Some(self.signer.verifier()),
            ..Plan::default()
        }
    }

    fn whole(&self) -> Vec<u8> {
        self.lines.concat()
    }

    fn check(&self, lines: &[u8]) -> Result<Report, Flaw> {
        verify(
            [file("current.jsonl", lines)],
            self.notes().as_bytes(),
            self.plan(),
        )
    }

    /// The check of the whole ledger in which the lines after the first `kept` are replaced by
    /// `rest`, of which the first `altered` bytes matter and the others are as they were: taken up
    /// before the first altered line, and left as soon as something is wrong.
    fn check_from(&self, kept: usize, rest: &[u8]) -> Result<(), Wrong> {
        let mut checker = self.states[kept].clone();
        let mut lines = RawLines::new(rest);
        while let Next::Line(line) = lines.next_line().unwrap() {
            checker.line(line)?;
            for checkpoint in &self.checkpoints {
                if checkpoint.size() == checker.size() && !checker.is_at(checkpoint) {
                    return Err(Wrong::changed(0, checkpoint));
                }
            }
        }
        let last = self.checkpoints.last().unwrap();
        if checker.size() < last.size() {
            Err(Wrong::missing(checker.size(), last))
        } else {
            Ok(())
        }
    }
}

fn notes(signer: &Signer, checkpoints: &[Checkpoint]) -> String {
    let note = |checkpoint: &Checkpoint| checkpoint.sign(signer).unwrap() + "\n";
    checkpoints.iter().map(note).collect()
}

fn file<'a>(name: &str, bytes: &'a [u8]) -> InputFile<'a> {
    InputFile {
        name: name.to_owned(),
        skip: 0,
        is_current: name == "current.jsonl",
        open: Box::new(move || Ok(Box::new(bytes) as Box<dyn BufRead>)),
    }
}

#[test]
fn an_untouched_ledger_is_in_order() {
    let sample = Sample::new();
    let report = sample.check(&sample.whole()).unwrap();
    let expected = Report {
        files: 1,
        lines: LINES,
        first: Some(1),
        last: LINES,
        last_time: Some(time(LINES - 1)),
        checkpoints: LINES / EVERY + 1,
        compared: LINES / EVERY + 1,
        last_checkpoint: Some(Signed {
            size: LINES,
            time: time(LINES),
            cause: "count",
        }),
        ..Report::default()
    };
    assert_eq!(report, expected);
    // The short cut of the tests below comes to the same end.
    assert_eq!(sample.check_from(0, &sample.whole()), Ok(()));
    assert_eq!(
        sample.check_from(150, &sample.lines[150..].concat()),
        Ok(())
    );
}

/// With EGRET_TEST_LONG=1 each byte is replaced by all 255 others.
#[test]
fn every_changed_byte_shows() {
    let sample = Sample::new();
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some();
    for kept in 0..sample.lines.len() {
        // What follows the first wrong line cannot make it right: three lines decide, unless no
        // line follows that would be linked to the last one.
        let end = (kept + 3).min(sample.lines.len());
        let mut rest = sample.lines[kept..end].concat();
        for at in 0..sample.lines[kept].len() {
            let byte = rest[at];
            let spread = u8::try_from(at % 251).unwrap();
            let some = [
                byte ^ 1,
                byte ^ 0x80,
                b'\n',
                b' ',
                byte.wrapping_add(2 + spread),
            ];
            let all: Vec<u8> = (0..=255).collect();
            let others = if is_long { &all[..] } else { &some[..] };
            for &other in others.iter().filter(|&&other| other != byte) {
                rest[at] = other;
                let checked = sample.check_from(kept, &rest);
                let is_cut = matches!(checked, Err(Wrong::Missing { .. }));
                assert!(checked.is_err(), "line {kept} byte {at}: {byte} to {other}");
                // It is found for what it is, and not because the rest was left out.
                let is_last_feed = at + 1 == sample.lines[kept].len() && end == LINES as usize;
                assert!(
                    !is_cut || is_last_feed,
                    "line {kept} byte {at}: {byte} to {other}"
                );
            }
            rest[at] = byte;
        }
    }
}

#[test]
fn every_deleted_or_added_byte_shows() {
    let sample = Sample::new();
    for kept in 0..sample.lines.len() {
        let end = (kept + 3).min(sample.lines.len());
        let rest = sample.lines[kept..end].concat();
        for at in 0..sample.lines[kept].len() {
            let without = [&rest[..at], &rest[at + 1..]].concat();
            let with = [&rest[..at], b"0", &rest[at..]].concat();
            for altered in [without, with] {
                assert!(
                    sample.check_from(kept, &altered).is_err(),
                    "line {kept} byte {at}"
                );
            }
        }
    }
}

#[test]
fn every_missing_repeated_or_moved_line_shows_and_is_named() {
    let sample = Sample::new();
    for kept in 0..sample.lines.len() {
        let seq = kept as u64 + 1;
        let named = |lines: Vec<Vec<u8>>| {
            let flaw = sample.check(&lines.concat()).unwrap_err();
            (flaw.file, flaw.line, flaw.wrong)
        };
        let at = |line: u64| ("current.jsonl".to_owned(), Some(line));
        let mut lines = sample.lines.clone();
        lines.remove(kept);
        let (file, line, wrong) = named(lines);
        if seq == LINES {
            assert!(matches!(wrong, Wrong::Missing { .. }));
        } else {
            assert_eq!(
                ((file, line), wrong),
                (at(seq), Wrong::Sequence { found: seq + 1 })
            );
        }

        let mut lines = sample.lines.clone();
        lines.insert(kept, lines[kept].clone());
        let (file, line, wrong) = named(lines);
        assert_eq!(
            ((file, line), wrong),
            (at(seq + 1), Wrong::Sequence { found: seq })
        );

        for other in kept + 1..sample.lines.len() {
            let mut moved = sample.lines[kept..].to_vec();
            moved.swap(0, other - kept);
            let found = other as u64 + 1;
            let wrong = sample.check_from(kept, &moved.concat()).unwrap_err();
            assert_eq!(wrong, Wrong::Sequence { found });
        }
    }
}

#[test]
fn every_truncation_shows() {
    let sample = Sample::new();
    let whole = sample.whole();
    let (mut kept, mut begin) = (0, 0);
    for length in 0..whole.len() {
        if length == begin + sample.lines[kept].len() {
            begin = length;
            kept += 1;
        }
        let checked = sample.check_from(kept, &whole[begin..length]);
        assert!(matches!(checked, Err(Wrong::Missing { .. })), "{length}");
    }
    let flaw = sample.check(&whole[..whole.len() - 1]).unwrap_err();
    assert_eq!(flaw.file, "checkpoints");
    assert!(matches!(
        flaw.wrong,
        Wrong::Missing {
            size: LINES,
            last: 199,
            ..
        }
    ));
}

#[test]
fn every_changed_or_missing_byte_of_the_checkpoints_shows() {
    let sample = Sample::new();
    let notes = sample.notes().into_bytes();
    let key = Some(sample.signer.verifier());
    let read = |notes: &[u8]| {
        let mut checkpoints = Checkpoints::new(notes, key);
        let mut found = Vec::new();
        while let Some(placed) = checkpoints.next_checkpoint()? {
            found.push(placed.checkpoint);
        }
        Ok::<_, Flaw>(found)
    };
    assert_eq!(read(&notes).unwrap(), sample.checkpoints);
    for at in 0..notes.len() {
        for change in [1, 0x80, 0x20, 2 + u8::try_from(at % 100).unwrap()] {
            let mut altered = notes.clone();
            altered[at] ^= change;
            assert!(read(&altered).is_err(), "byte {at}: {change}");
        }
        let without = [&notes[..at], &notes[at + 1..]].concat();
        assert!(read(&without).is_err(), "byte {at} missing");
        let cut = read(&notes[..at]);
        // Whole notes may go missing from the end: only a checkpoint kept elsewhere tells.
        let is_whole = at == 0 || notes[..at].ends_with(b"\n\n") && cut.is_ok();
        assert_eq!(cut.is_ok(), is_whole, "cut at {at}");
    }
}

#[test]
fn a_checkpoint_of_another_key_or_out_of_order_is_refused() {
    let sample = Sample::new();
    let whole = sample.whole();
    let check = |notes: &str| {
        let files = [file("current.jsonl", &whole)];
        verify(files, notes.as_bytes(), sample.plan())
            .unwrap_err()
            .wrong
    };
    let foreign = notes(&signer(8), &sample.checkpoints);
    assert!(matches!(check(&foreign), Wrong::Checkpoint(_)));
    let mut swapped = sample.checkpoints.clone();
    swapped.swap(2, 3);
    let swapped = notes(&sample.signer, &swapped);
    let (size, before) = (2 * EVERY, 3 * EVERY);
    assert_eq!(check(&swapped), Wrong::CheckpointOrder { size, before });
}

#[test]
fn a_history_written_anew_is_told_from_the_one_that_was_signed() {
    let sample = Sample::new();
    let mut chain = Chain::start();
    let mut forged = Vec::new();
    for number in 0..LINES {
        let entry = Entry {
            slug: (number != 60).then(|| "gh".into()),
            ..entry(number)
        };
        chain.append(time(number), &entry.encode(), &mut forged);
    }
    let flaw = sample.check(&forged).unwrap_err();
    let (first, last, time) = (EVERY + 1, 2 * EVERY, time(2 * EVERY));
    assert_eq!(flaw.wrong, Wrong::Changed { first, last, time });
    assert_eq!(flaw.file, "checkpoints");
    // Without signatures the chain alone cannot tell.
    let files = [file("current.jsonl", &forged)];
    assert!(verify(files, &b""[..], Plan::default()).is_ok());
}

#[test]
fn only_a_checkpoint_kept_elsewhere_shows_that_the_end_is_gone() {
    let sample = Sample::new();
    let short = sample.lines[..120].concat();
    let notes = notes(&sample.signer, &sample.checkpoints[..4]);
    let check = |kept: &[Checkpoint]| {
        let plan = Plan {
            kept: kept.to_vec(),
            ..sample.plan()
        };
        verify([file("current.jsonl", &short)], notes.as_bytes(), plan)
    };
    assert_eq!(check(&[]).unwrap().last, 120);
    assert_eq!(check(&sample.checkpoints[..4]).unwrap().kept, 4);
    let flaw = check(&sample.checkpoints[4..5]).unwrap_err();
    let time = time(160);
    assert_eq!(
        flaw.wrong,
        Wrong::Missing {
            size: 160,
            last: 120,
            time
        }
    );
}

#[test]
fn a_ledger_whose_older_files_are_gone_is_taken_up_from_a_checkpoint() {
    let sample = Sample::new();
    let notes = sample.notes();
    let key = Some(sample.signer.verifier());
    let rest = sample.lines[80..].concat();
    let start = start_before(81, notes.as_bytes(), key).unwrap();
    assert_eq!(start.size(), 80);
    let plan = |start: &Checkpoint| Plan {
        start: Some(start.clone()),
        ..sample.plan()
    };
    let report = verify([file("f", &rest)], notes.as_bytes(), plan(&start)).unwrap();
    assert_eq!((report.first, report.lines), (Some(81), 120));
    assert_eq!((report.checkpoints, report.compared), (6, 4));
    // Not from a place that no checkpoint speaks of.
    let none = start_before(82, notes.as_bytes(), key).unwrap_err();
    assert_eq!(none.wrong, Wrong::NoBeginning { first: 82 });
    // Nor with lines of somewhere else after it.
    let other = sample.lines[79..].concat();
    assert!(verify([file("f", &other)], notes.as_bytes(), plan(&start)).is_err());
    let kept = Plan {
        kept: vec![sample.checkpoints[1].clone()],
        ..plan(&start)
    };
    let flaw = verify([file("f", &rest)], notes.as_bytes(), kept).unwrap_err();
    assert_eq!(flaw.wrong, Wrong::TooOld { size: 40 });
}

#[test]
fn lines_before_the_start_are_passed_over_but_must_be_there() {
    let sample = Sample::new();
    let notes = sample.notes();
    let whole = sample.whole();
    let check = |lines: &[u8]| {
        let plan = Plan {
            start: Some(sample.checkpoints[5].clone()),
            ..sample.plan()
        };
        let file = InputFile {
            skip: LINES,
            ..file("current.jsonl", lines)
        };
        verify([file], notes.as_bytes(), plan)
    };
    assert_eq!(check(&whole).unwrap().lines, 0);
    let flaw = check(&sample.lines[..150].concat()).unwrap_err();
    assert!(matches!(
        flaw.wrong,
        Wrong::Missing {
            last: 150,
            size: LINES,
            ..
        }
    ));
}

#[test]
fn a_rotated_file_ends_with_a_line_and_the_current_one_may_be_growing() {
    let sample = Sample::new();
    let (old, new) = (sample.lines[..80].concat(), sample.lines[80..].concat());
    let grown = [&new[..], b"{\"seq\":201"].concat();
    let files = [file("1", &old), file("current.jsonl", &grown)];
    let report = verify(files, sample.notes().as_bytes(), sample.plan()).unwrap();
    assert_eq!((report.files, report.unfinished), (2, 10));
    let files = [
        file("1", &old[..old.len() - 1]),
        file("current.jsonl", &new),
    ];
    let flaw = verify(files, sample.notes().as_bytes(), sample.plan()).unwrap_err();
    assert_eq!(
        (flaw.file.as_str(), flaw.line, flaw.wrong),
        ("1", Some(80), Wrong::CutOff)
    );
}

#[test]
fn a_clock_that_was_set_back_is_reported_and_no_flaw() {
    let mut chain = Chain::start();
    let mut lines = Vec::new();
    for seconds in [5, 3, 4, 4] {
        let at = Timestamp::from_unix_micros(seconds * 1_000_000);
        chain.append(at, &entry(1).encode(), &mut lines);
    }
    let report = verify([file("f", &lines)], &b""[..], Plan::default()).unwrap();
    assert_eq!((report.lines, report.clock_steps), (4, 1));
}

#[test]
fn a_ledger_that_says_it_is_signed_does_not_pass_without_checkpoints() {
    let mut lines = Vec::new();
    let signed = Entry::new(event::SIGNED);
    Chain::start().append(time(0), &signed.encode(), &mut lines);
    let flaw = verify([file("f", &lines)], &b""[..], Plan::default()).unwrap_err();
    assert_eq!(flaw.wrong, Wrong::NoCheckpoints);
}

#[test]
fn checkpoints_without_a_key_are_not_believed() {
    let sample = Sample::new();
    let whole = sample.whole();
    let files = [file("f", &whole)];
    let flaw = verify(files, sample.notes().as_bytes(), Plan::default()).unwrap_err();
    assert_eq!(flaw.wrong, Wrong::NoKey);
}
