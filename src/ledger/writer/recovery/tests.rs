use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::ledger::CURRENT;
use crate::ledger::format::checkpoint::{Cause, Checkpoint};
use crate::ledger::format::entry::Entry;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::Frontier;
use crate::ledger::format::{event, outcome};
use crate::ledger::writer::sealed_head::{SealedHead, State};
use crate::ledger::writer::signing::tests::signing;
use crate::ledger::writer::storage::Storage;

fn now() -> Timestamp {
    Timestamp::from_unix_micros(1_795_339_800_000_000)
}

fn open_plain(dir: &Path) -> Result<Opened, LedgerError> {
    open(dir, now(), None, Before::Ended)
}

fn three_lines() -> Vec<u8> {
    let mut chain = Chain::start();
    let mut lines = Vec::new();
    for _ in 0..3 {
        chain.append(now(), &Entry::new("x").encode(), &mut lines);
    }
    lines
}

#[test]
fn a_new_ledger_is_private() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("ledger");
    let opened = open_plain(&dir).unwrap();
    assert_eq!((opened.length, opened.chain), (0, Chain::start()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(CURRENT)), 0o600);
    assert_eq!(mode(&dir.join("lock")), 0o600);
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let first = open_plain(dir.path()).unwrap();
    let second = open_plain(dir.path()).err().unwrap();
    assert!(matches!(second, LedgerError::Locked(_)));
    assert!(second.to_string().contains("--data-dir"));
    drop(first);
    assert!(open_plain(dir.path()).is_ok());
}

fn torn(dir: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_torn = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("torn-")
    };
    files
        .filter(is_torn)
        .map(|path| fs::read(path).unwrap())
        .collect()
}

/// A crash may leave any prefix of what was being written.
#[test]
fn wherever_a_crash_tears_the_end_the_chain_goes_on_and_no_byte_is_lost() {
    let lines = three_lines();
    let first = memchr::memchr(b'\n', &lines).unwrap() + 1;
    for cut in first..=lines.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        let left = &lines[..cut];
        fs::write(&path, left).unwrap();
        let opened = open_plain(dir.path()).unwrap();
        let whole = memchr::memrchr(b'\n', left).unwrap() + 1;
        assert_eq!(fs::read(&path).unwrap(), &lines[..whole], "cut at {cut}");
        assert_eq!(opened.length, whole as u64);
        assert_eq!(
            torn(dir.path()).concat(),
            &lines[whole..cut],
            "cut at {cut}"
        );
        // What comes next is what would have come without the crash.
        let mut chain = opened.chain;
        let mut next = lines[..whole].to_vec();
        while next.len() < lines.len() {
            chain.append(now(), &Entry::new("x").encode(), &mut next);
        }
        assert_eq!(next, lines);
    }
}

#[test]
fn a_file_of_one_torn_line_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CURRENT);
    fs::write(&path, b"{\"seq\":1,").unwrap();
    let opened = open_plain(dir.path()).unwrap();
    assert_eq!(opened.chain, Chain::start());
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(torn(dir.path()), [b"{\"seq\":1,"]);
}

#[test]
fn a_last_line_that_is_no_record_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CURRENT);
    for last in [
        &b"hello\n"[..],
        b"\n",
        b"{}\n",
        &[0, 0, 0, b'\n'],
        b"{}\ntorn",
    ] {
        for signing in [None, Some(signing(dir.path(), 1))] {
            let damaged = [&three_lines(), last].concat();
            fs::write(&path, &damaged).unwrap();
            let error = open(dir.path(), now(), signing.as_ref(), Before::Ended)
                .err()
                .unwrap();
            assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
            let whole = damaged.len() - if last.ends_with(b"torn") { 4 } else { 0 };
            assert_eq!(
                fs::read(&path).unwrap(),
                &damaged[..whole],
                "no line is touched"
            );
        }
    }
}

#[test]
fn a_last_line_longer_than_the_window_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = three_lines();
    let mut chain = Chain::after(lines[..].split(|&b| b == b'\n').nth(2).unwrap()).unwrap();
    let long = Entry {
        path: Some("/x".repeat(200_000).into()),
        ..Entry::new("x")
    };
    chain.append(now(), &long.encode(), &mut lines);
    fs::write(dir.path().join(CURRENT), [&lines[..], b"torn"].concat()).unwrap();
    let opened = open_plain(dir.path()).unwrap();
    assert_eq!(opened.chain, chain);
    assert_eq!(opened.length, lines.len() as u64);
    assert_eq!(torn(dir.path()), [b"torn"]);
}

/// A ledger whose writer is played by the test: lines in files, checkpoints where it says so.
struct Ledger {
    dir: tempfile::TempDir,
    opened: Option<Opened>,
}

impl Ledger {
    fn new() -> Self {
        let mut ledger = Self {
            dir: tempfile::tempdir().unwrap(),
            opened: None,
        };
        assert_eq!(ledger.start(), Vec::<String>::new());
        ledger
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(self.path(CURRENT)).unwrap();
        bytes
            .split_inclusive(|&b| b == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Starts, and tells what there is to be said.
    fn try_start(&mut self) -> Result<Vec<Entry<'static>>, LedgerError> {
        self.opened = None;
        let signing = signing(self.dir.path(), 1);
        let opened = open(self.dir.path(), now(), Some(&signing), Before::Ended)?;
        let entries = opened.signed.as_ref().unwrap().entries.clone();
        self.opened = Some(opened);
        Ok(entries)
    }

    /// As [`Ledger::try_start`], with code and places of what is said; a `recovered` line is told
    /// by its request.
    fn start(&mut self) -> Vec<String> {
        let tell = |entry: Entry| match (entry.code, entry.request) {
            (Some(code), _) => format!("{code} {}", entry.locations.join(" ")),
            (None, Some(request)) => format!("{} {request}", entry.event),
            (None, None) => entry.event.into_string(),
        };
        self.try_start().unwrap().into_iter().map(tell).collect()
    }

    fn add(&mut self, entry: Entry) {
        let opened = self.opened.as_mut().unwrap();
        let mut line = Vec::new();
        opened.chain.append(now(), &entry.encode(), &mut line);
        opened.file.append(&line).unwrap();
        let signed = opened.signed.as_mut().unwrap();
        let line = line.strip_suffix(b"\n").unwrap();
        signed
            .tree
            .push(crate::ledger::format::merkle::TreeHash::of_leaf(line));
        signed.head = LineHash::of(line);
    }

    fn add_some(&mut self, count: usize) {
        (0..count).for_each(|_| self.add(Entry::new("x")));
    }

    fn sign(&mut self, cause: Cause) {
        self.checkpoint(cause);
    }

    /// A clean end, as the writer does it.
    fn close(&mut self) {
        let checkpoint = self.checkpoint(Cause::Shutdown);
        self.seal_head(checkpoint, State::Closed);
        self.opened = None;
    }

    fn seal_head(&mut self, checkpoint: Checkpoint, state: State) {
        let opened = self.opened.as_mut().unwrap();
        let key = opened.signed.as_ref().unwrap().signer.verifier().clone();
        let head = SealedHead {
            state,
            key,
            checkpoint: Some(checkpoint),
        };
        opened.file.seal_head(&head).unwrap();
    }

    fn checkpoint(&mut self, cause: Cause) -> Checkpoint {
        let opened = self.opened.as_mut().unwrap();
        let signed = opened.signed.as_ref().unwrap();
        let checkpoint = Checkpoint {
            origin: signed.signer.verifier().name().clone(),
            tree: signed.tree.clone(),
            head: signed.head,
            time: now(),
            cause,
        };
        let note = checkpoint.sign(&signed.signer).unwrap();
        opened.file.checkpoint(&note).unwrap();
        checkpoint
    }

    fn rotate(&mut self) {
        self.sign(Cause::Rotation);
        let opened = self.opened.as_mut().unwrap();
        opened.file.rotate(opened.first).unwrap();
        opened.first = opened.chain.next_seq();
    }

    fn size(&self) -> u64 {
        self.opened
            .as_ref()
            .unwrap()
            .signed
            .as_ref()
            .unwrap()
            .tree
            .size()
    }
}

fn used(request: &str) -> Entry<'_> {
    Entry {
        request: Some(request.into()),
        ..Entry::new(event::USE)
    }
}

#[test]
fn tree_and_chain_are_taken_up_across_files_and_checkpoints() {
    let mut ledger = Ledger::new();
    let mut tree = Frontier::default();
    for round in 0..6 {
        ledger.add_some(5);
        if round % 2 == 0 {
            ledger.sign(Cause::Count);
        }
        ledger.add_some(round);
        if round % 3 == 1 {
            ledger.rotate();
        }
        tree = ledger
            .opened
            .as_ref()
            .unwrap()
            .signed
            .as_ref()
            .unwrap()
            .tree
            .clone();
        let chain = ledger.opened.as_ref().unwrap().chain.clone();
        assert_eq!(ledger.start(), Vec::<String>::new(), "{round}");
        let opened = ledger.opened.as_ref().unwrap();
        assert_eq!(opened.signed.as_ref().unwrap().tree, tree);
        assert_eq!(opened.chain, chain);
    }
    // The same tree comes of the lines alone.
    fs::remove_file(ledger.path("checkpoints")).unwrap();
    assert_eq!(ledger.start(), ["checkpoints_missing checkpoints"]);
    assert_eq!(
        ledger
            .opened
            .as_ref()
            .unwrap()
            .signed
            .as_ref()
            .unwrap()
            .tree,
        tree
    );
}

#[test]
fn a_ledger_that_never_had_checkpoints_gets_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CURRENT), three_lines()).unwrap();
    let mut ledger = Ledger { dir, opened: None };
    assert_eq!(ledger.start(), [event::SIGNED]);
    assert_eq!(ledger.size(), 3);
    ledger.sign(Cause::Start);
    assert_eq!(ledger.start(), Vec::<String>::new());
}

#[test]
fn a_clean_end_is_told_from_a_crash() {
    let mut ledger = Ledger::new();
    let start = |ledger: &Ledger| {
        ledger
            .opened
            .as_ref()
            .unwrap()
            .signed
            .as_ref()
            .unwrap()
            .start
    };
    assert_eq!(start(&ledger), Cause::Start);
    ledger.add_some(2);
    ledger.sign(Cause::Shutdown);
    ledger.start();
    assert_eq!(start(&ledger), Cause::Start);
    ledger.sign(Cause::Start);
    ledger.start();
    assert_eq!(start(&ledger), Cause::Recovery);
}

#[test]
fn uses_that_a_crash_left_are_named_however_many_checkpoints_were_written_meanwhile() {
    let mut ledger = Ledger::new();
    ledger.add(used("before"));
    ledger.sign(Cause::Start);
    ledger.add(used("lost"));
    ledger.add(used("done"));
    ledger.sign(Cause::Count);
    ledger.add_some(3);
    ledger.rotate();
    ledger.add(Entry {
        outcome: Some(outcome::FORWARDED.into()),
        ..Entry {
            event: event::RESULT.into(),
            ..used("done")
        }
    });
    ledger.sign(Cause::Time);
    ledger.add(used("late"));
    assert_eq!(ledger.start(), ["recovered lost", "recovered late"]);
    // A second crash before these lines are written changes nothing.
    assert_eq!(ledger.start(), ["recovered lost", "recovered late"]);
    for entry in ledger.try_start().unwrap() {
        ledger.add(entry);
    }
    ledger.sign(Cause::Recovery);
    assert_eq!(ledger.start(), Vec::<String>::new());
}

/// Whatever was signed for must be there as it was.
#[test]
fn lines_that_a_checkpoint_covers_cannot_go_or_change() {
    let prepared = || {
        let mut ledger = Ledger::new();
        ledger.add_some(4);
        ledger.rotate();
        ledger.add_some(4);
        ledger.sign(Cause::Shutdown);
        ledger.opened = None;
        ledger
    };
    let rotated = "00000000000000000001.jsonl";
    let with_current = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let ledger = prepared();
        let mut lines = ledger.lines();
        change(&mut lines);
        fs::write(ledger.path(CURRENT), lines.concat()).unwrap();
        ledger
    };
    let cases: Vec<(&str, Ledger, &str)> = vec![
        (
            "truncated",
            with_current(&|lines| lines.truncate(3)),
            "ends with line 7",
        ),
        (
            "emptied",
            with_current(&|lines| lines.clear()),
            "ends with line 4",
        ),
        (
            "last line altered",
            with_current(&|lines| lines[3][30] ^= 1),
            "line 8 ",
        ),
        (
            "replaced",
            with_current(&|lines| *lines = vec![three_lines()]),
            "line",
        ),
        (
            "deleted",
            {
                let ledger = prepared();
                fs::remove_file(ledger.path(CURRENT)).unwrap();
                ledger
            },
            "ends with line 4",
        ),
        (
            "all deleted",
            {
                let ledger = prepared();
                fs::remove_file(ledger.path(CURRENT)).unwrap();
                fs::remove_file(ledger.path(rotated)).unwrap();
                ledger
            },
            "ends with line 0",
        ),
    ];
    for (name, mut ledger, message) in cases {
        let error = ledger
            .try_start()
            .err()
            .unwrap_or_else(|| panic!("{name}: it started"));
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert!(
            error.to_string().contains("move the directory away"),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_rotated_file_that_is_missing_in_between_is_named() {
    let mut ledger = Ledger::new();
    for _ in 0..3 {
        ledger.add_some(4);
        ledger.rotate();
    }
    fs::remove_file(ledger.path("00000000000000000005.jsonl")).unwrap();
    // The last checkpoint stands after the gap: to go on hides nothing.
    assert_eq!(ledger.start(), ["lines_missing 5-8"]);
    let compressed = ledger.path("00000000000000000001.jsonl.zst");
    fs::rename(ledger.path("00000000000000000001.jsonl"), &compressed).unwrap();
    let told = ledger.start();
    let file = "lines_unreadable 00000000000000000001.jsonl.zst";
    assert_eq!(told, [file], "it is no zstd");
    fs::rename(&compressed, ledger.path("00000000000000000001.jsonl")).unwrap();
    fs::remove_file(ledger.path("checkpoints")).unwrap();
    let told = ledger.start();
    assert_eq!(
        told,
        ["checkpoints_missing checkpoints", "lines_missing 5-8"]
    );
    // Nothing is left that vouches for the lines after the gap.
    fs::remove_file(ledger.path("ledger.head")).unwrap();
    let error = ledger.try_start().err().unwrap();
    assert!(error.to_string().contains("lines 5 to 8"), "{error}");
}

#[test]
fn older_files_may_be_gone_as_long_as_a_checkpoint_stands_for_them() {
    let mut ledger = Ledger::new();
    ledger.add_some(4);
    ledger.rotate();
    ledger.add_some(2);
    fs::remove_file(ledger.path("00000000000000000001.jsonl")).unwrap();
    assert_eq!(ledger.start(), Vec::<String>::new());
    assert_eq!(ledger.size(), 6);
    fs::write(ledger.path("checkpoints"), b"").unwrap();
    assert_eq!(ledger.start(), ["checkpoints_missing checkpoints"]);
    assert_eq!(ledger.size(), 6);
    fs::remove_file(ledger.path("ledger.head")).unwrap();
    let error = ledger.try_start().err().unwrap();
    assert!(error.to_string().contains("lines 1 to 4"), "{error}");
}

#[test]
fn lines_behind_the_last_checkpoint_that_do_not_follow_are_set_aside_and_named() {
    for change in [
        |lines: &mut Vec<Vec<u8>>| lines[5][30] ^= 1,
        |lines: &mut Vec<Vec<u8>>| drop(lines.remove(6)),
        |lines: &mut Vec<Vec<u8>>| lines.swap(6, 7),
        |lines: &mut Vec<Vec<u8>>| lines.insert(6, lines[5].clone()),
        |lines: &mut Vec<Vec<u8>>| lines[6].fill(0),
        |lines: &mut Vec<Vec<u8>>| lines[6] = b"\n".to_vec(),
    ] {
        let mut ledger = Ledger::new();
        ledger.add_some(5);
        ledger.sign(Cause::Time);
        ledger.add_some(4);
        let mut lines = ledger.lines();
        change(&mut lines);
        fs::write(ledger.path(CURRENT), lines.concat()).unwrap();
        let told = ledger.start();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("lines_set_aside "), "{told:?}");
        // Nothing is lost, and what is there is whole.
        let kept = ledger.lines();
        assert_eq!(kept.len() as u64, ledger.size());
        assert!((6..=7).contains(&kept.len()), "{}", kept.len());
        assert_eq!(
            [kept.concat(), torn(ledger.dir.path()).concat()].concat(),
            lines.concat()
        );
        assert_eq!(ledger.start(), Vec::<String>::new());
    }
}

#[test]
fn a_break_in_lines_that_never_had_a_checkpoint_is_said_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = three_lines();
    let at = memchr::memchr(b'x', &lines).unwrap();
    lines[at] = b'y';
    fs::write(dir.path().join(CURRENT), &lines).unwrap();
    let mut ledger = Ledger { dir, opened: None };
    assert_eq!(ledger.start(), ["chain_broken 2", event::SIGNED]);
    assert_eq!(fs::read(ledger.path(CURRENT)).unwrap(), lines);
}

#[test]
fn checkpoints_that_were_tampered_with_are_told_and_the_last_good_one_counts() {
    let mut ledger = Ledger::new();
    ledger.add_some(3);
    ledger.sign(Cause::Count);
    ledger.add_some(3);
    ledger.sign(Cause::Shutdown);
    let path = ledger.path("checkpoints");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        good.replace("\n6\n", "\n7\n"),
        good.replace("cause shutdown", "cause count"),
        format!("{good}a\n\n\u{2014} b AAAAAAAA\n\n"),
    ] {
        fs::write(&path, &bad).unwrap();
        assert_eq!(ledger.start(), ["checkpoints_foreign checkpoints"]);
        assert_eq!(ledger.size(), 6);
    }
    // One that the sealed head vouches for is not torn by a crash.
    fs::write(&path, &good[..good.len() - 20]).unwrap();
    assert_eq!(ledger.start(), ["checkpoints_missing checkpoints"]);
    assert_eq!(ledger.size(), 6);
    ledger.sign(Cause::Time);
    assert_eq!(ledger.start(), Vec::<String>::new());
    // Not even text.
    fs::write(&path, [0xff; 100]).unwrap();
    assert_eq!(ledger.start(), ["checkpoints_missing checkpoints"]);
}

#[test]
fn a_checkpoint_that_a_crash_tore_is_set_aside() {
    let mut ledger = Ledger::new();
    ledger.add_some(3);
    ledger.sign(Cause::Count);
    ledger.add_some(3);
    ledger.sign(Cause::Time);
    let path = ledger.path("checkpoints");
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 20]).unwrap();
    assert_eq!(ledger.start(), Vec::<String>::new());
    assert_eq!(ledger.size(), 6);
}

#[test]
fn the_last_checkpoints_are_found_in_a_long_file() {
    let mut ledger = Ledger::new();
    ledger.add_some(3);
    ledger.sign(Cause::Start);
    ledger.add(used("lost"));
    ledger.sign(Cause::Heartbeat);
    let path = ledger.path("checkpoints");
    let text = fs::read_to_string(&path).unwrap();
    let last = crate::ledger::format::checkpoint::Notes::new(&text)
        .last()
        .unwrap();
    let heartbeat = text.len() - last.len() - 1;
    let (before, heartbeat) = text.split_at(heartbeat);
    // More than two windows of it.
    let many = heartbeat.repeat(2_300_000 / heartbeat.len());
    fs::write(&path, format!("{before}{many}")).unwrap();
    assert_eq!(ledger.start(), ["recovered lost"]);
}

mod tampered;
