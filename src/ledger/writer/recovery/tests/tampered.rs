//! What somebody without the key can do to a ledger that no server has open, and what a copy of one
//! in use can have.

use super::*;
use crate::ledger::format::record::Record;
use crate::ledger::verify::{Ask, VerifyError, Wrong, directory};

/// The names of the codes that were said.
fn codes(told: &[String]) -> Vec<&str> {
    told.iter()
        .filter_map(|text| text.split(' ').next())
        .collect()
}

/// The lines linked again, as if they had always been so.
fn linked_again(lines: &[Vec<u8>], size: u64, head: LineHash) -> Vec<u8> {
    let mut chain = Chain::at(size, head);
    let mut out = Vec::new();
    for line in lines {
        let record = Record::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        chain.append(record.time, &record.entry.encode(), &mut out);
    }
    out
}

/// A closed ledger of eight lines, two checkpoints and the one of its end.
fn closed() -> Ledger {
    let mut ledger = Ledger::new();
    for number in 0..8 {
        ledger.add(Entry::new(format!("event-{number}")));
        if number % 3 == 2 {
            ledger.sign(Cause::Count);
        }
    }
    ledger.close();
    ledger
}

/// Every line dropped, changed or doubled, linked again, with and without the checkpoints, the
/// public key and the head.
#[test]
fn no_history_that_was_rewritten_without_the_key_is_taken_for_the_ledgers_own() {
    let lines = closed().lines();
    let mut tried = 0;
    for at in 0..=lines.len() {
        for change in ["drop", "change", "double", "add"] {
            let mut rewritten = lines.clone();
            match change {
                _ if at == lines.len() && change != "add" => continue,
                "drop" => drop(rewritten.remove(at)),
                "change" => {
                    let text = String::from_utf8(rewritten[at].clone()).unwrap();
                    rewritten[at] = text.replace("event-", "other-").into_bytes();
                }
                "double" => rewritten.insert(at, rewritten[at].clone()),
                _ => rewritten.insert(at, lines[0].clone()),
            }
            let rewritten = linked_again(&rewritten, 0, LineHash::GENESIS);
            for gone in [
                &[][..],
                &["checkpoints"],
                &["ledger.head"],
                &["checkpoints", "ledger.head"],
                &["checkpoints", "public.key"],
            ] {
                let mut ledger = closed();
                fs::write(ledger.path(CURRENT), &rewritten).unwrap();
                for name in gone {
                    fs::remove_file(ledger.path(name)).unwrap();
                }
                // Either the ledger is not opened, or it says what is wrong.
                if let Ok(entries) = ledger.try_start() {
                    let is_damage = |entry: &Entry| entry.event == event::DAMAGED;
                    assert!(
                        entries.iter().any(is_damage),
                        "line {at}, {change}, without {gone:?}: {entries:?}"
                    );
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn lines_after_a_clean_end_are_set_aside_and_named() {
    let mut ledger = closed();
    let own = ledger.lines();
    let forged = Entry::new("forged");
    let mut chain = Chain::after(own[7].strip_suffix(b"\n").unwrap()).unwrap();
    let mut more = Vec::new();
    chain.append(now(), &forged.encode(), &mut more);
    fs::write(ledger.path(CURRENT), [own.concat(), more.clone()].concat()).unwrap();
    let told = ledger.start();
    assert!(told[0].starts_with("lines_foreign 9 torn-"), "{told:?}");
    assert_eq!(ledger.lines(), own);
    assert_eq!(torn(ledger.dir.path()), [more.clone()], "and none is lost");
    assert_eq!(ledger.size(), 8);
    // In files of their own.
    ledger.close();
    fs::write(ledger.path("00000000000000000009.jsonl"), &more).unwrap();
    let told = ledger.start();
    assert!(told[0].starts_with("lines_foreign 9 torn-"), "{told:?}");
    assert_eq!(torn(ledger.dir.path()).len(), 2);
    assert_eq!(ledger.size(), 8);
}

#[test]
fn a_ledger_of_before_heads_were_kept_goes_on_with_the_lines_of_commands() {
    let mut ledger = closed();
    // As that Egret left it: no head, and a key that says nothing of one.
    fs::remove_file(ledger.path("ledger.head")).unwrap();
    let seal = signing(ledger.dir.path(), 1).seal;
    let mut key = seal
        .open(&fs::read(ledger.path("signing.key")).unwrap())
        .unwrap();
    key.truncate(32);
    fs::write(ledger.path("signing.key"), seal.seal(&key).unwrap()).unwrap();
    let mut chain = Chain::after(ledger.lines()[7].strip_suffix(b"\n").unwrap()).unwrap();
    let mut more = ledger.lines().concat();
    let entry = Entry::new("credential.created");
    chain.append(now(), &entry.encode(), &mut more);
    fs::write(ledger.path(CURRENT), &more).unwrap();
    assert_eq!(ledger.start(), Vec::<String>::new());
    assert_eq!(ledger.size(), 9);
    // From here on the head is missed.
    ledger.sign(Cause::Start);
    ledger.opened = None;
    fs::remove_file(ledger.path("ledger.head")).unwrap();
    assert_eq!(ledger.start(), ["head_missing ledger.head"]);
}

#[test]
fn a_lost_signing_key_is_named_and_the_ledger_still_verifies_with_the_next() {
    let mut ledger = Ledger::new();
    for _ in 0..3 {
        ledger.add_some(4);
        ledger.rotate();
    }
    ledger.add_some(2);
    ledger.close();
    let old = fs::read_to_string(ledger.path("public.key")).unwrap();
    // The first file was dropped: its checkpoint has to be signed again.
    fs::remove_file(ledger.path("00000000000000000001.jsonl")).unwrap();
    fs::remove_file(ledger.path("signing.key")).unwrap();
    let entries = ledger.try_start().unwrap();
    let new = fs::read_to_string(ledger.path("public.key")).unwrap();
    assert_ne!(old, new);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].event, event::SIGNED);
    assert_eq!(entries[0].code.as_deref(), Some("signing_key_replaced"));
    assert_eq!(entries[0].locations[..2], [new.trim_end(), old.trim_end()]);
    let aside = ledger.path(&entries[0].locations[2]);
    assert!(aside.exists(), "the older checkpoints are kept");
    ledger.add(entries[0].clone());
    ledger.sign(Cause::Start);
    let verified = directory(ledger.dir.path(), &Ask::default()).unwrap();
    assert_eq!((verified.report.first, verified.report.last), (Some(5), 15));
    assert_eq!(verified.report.key_changes, [15]);
    assert_eq!(ledger.start(), Vec::<String>::new(), "said once");
}

#[test]
fn a_lost_signing_key_that_nothing_vouches_for_is_damage() {
    let mut ledger = closed();
    for name in ["signing.key", "ledger.head"] {
        fs::remove_file(ledger.path(name)).unwrap();
    }
    let told = ledger.start();
    assert_eq!(codes(&told), ["signing_key_missing", event::SIGNED]);
    assert_eq!(ledger.size(), 8);
}

#[test]
fn damage_that_was_named_fails_the_check_until_it_is_known() {
    let mut ledger = closed();
    fs::remove_file(ledger.path("checkpoints")).unwrap();
    for entry in ledger.try_start().unwrap() {
        ledger.add(entry);
    }
    ledger.sign(Cause::Start);
    let flaw = match directory(ledger.dir.path(), &Ask::default()) {
        Err(VerifyError::Flaw(flaw)) => flaw,
        other => panic!("{other:?}"),
    };
    assert_eq!((flaw.seq, flaw.line), (Some(9), Some(9)));
    let code = "checkpoints_missing";
    assert!(matches!(&flaw.wrong, Wrong::Damaged { what, .. } if what.starts_with(code)));
    let ask = Ask {
        known_damage: vec![9],
        ..Ask::default()
    };
    let report = directory(ledger.dir.path(), &ask).unwrap().report;
    assert_eq!((report.last, report.damaged), (9, 1));
}

/// Lines were copied before the head and the checkpoints were.
#[test]
fn a_copy_with_fewer_lines_than_were_signed_goes_on_after_them() {
    for kept in 0..8_usize {
        let mut ledger = Ledger::new();
        ledger.add_some(8);
        let checkpoint = ledger.checkpoint(Cause::Time);
        ledger.seal_head(checkpoint, State::Open);
        ledger.opened = None;
        let lines = ledger.lines();
        fs::write(ledger.path(CURRENT), lines[..kept].concat()).unwrap();
        let missing = format!("lines_missing {}-8", kept + 1);
        for _ in 0..2 {
            // Said again by a second start, if the first could not write it.
            assert_eq!(ledger.start(), std::slice::from_ref(&missing), "{kept}");
            assert_eq!(ledger.size(), 8);
        }
        ledger.add(Entry::new("after"));
        // Where no line is left before, it looks as after retention.
        let said = Vec::from_iter((kept > 0).then(|| missing.clone()));
        assert_eq!(ledger.start(), said, "{kept}");
        assert_eq!(ledger.size(), 9);
        ledger.sign(Cause::Recovery);
        assert_eq!(ledger.start(), Vec::<String>::new(), "{kept}");
        // No line took the number of one that was signed.
        let last = Record::parse(ledger.lines()[0].strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(last.seq, 9);
        let left = fs::read(ledger.path("00000000000000000001.jsonl")).unwrap_or_default();
        assert_eq!(left, lines[..kept].concat());
    }
}

/// `current.jsonl` was copied, then rotated, then the rotated file was copied.
#[test]
fn a_copy_with_the_same_lines_in_two_files_starts() {
    for kept in 1..=4_usize {
        let mut ledger = Ledger::new();
        ledger.add_some(4);
        let copied = ledger.lines()[..kept].concat();
        ledger.rotate();
        ledger.opened = None;
        fs::write(ledger.path(CURRENT), &copied).unwrap();
        assert_eq!(ledger.start(), Vec::<String>::new());
        assert_eq!(ledger.size(), 4);
        assert_eq!(torn(ledger.dir.path()), [copied], "and none is lost");
    }
}

/// The lines between two copied files are not there.
#[test]
fn lines_after_a_gap_are_set_aside() {
    let mut ledger = Ledger::new();
    ledger.add_some(3);
    ledger.sign(Cause::Time);
    ledger.add_some(2);
    ledger.rotate();
    ledger.add_some(2);
    ledger.sign(Cause::Time);
    let checkpoints = fs::read_to_string(ledger.path("checkpoints")).unwrap();
    let first = crate::ledger::format::checkpoint::Notes::new(&checkpoints)
        .next()
        .unwrap();
    fs::write(ledger.path("checkpoints"), format!("{first}\n")).unwrap();
    ledger.opened = None;
    fs::remove_file(ledger.path("00000000000000000001.jsonl")).unwrap();
    let told = ledger.start();
    assert_eq!(codes(&told), ["lines_set_aside"], "{told:?}");
    assert_eq!(ledger.size(), 3);
    assert_eq!(torn(ledger.dir.path()).len(), 1);
}
