use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;

use super::*;
use crate::ledger::fixture::{LINES, ledger};

fn copy(snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let take = |name: &str, content: &mut dyn Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        files.insert(name.to_owned(), bytes);
        Ok(())
    };
    snapshot.each_file(take).unwrap();
    files
}

fn add(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn what_comes_later_is_not_copied_and_what_moves_is() {
    let (dir, _) = ledger(&[10, 30], 20);
    let head = dir.path().join("head");
    fs::write(&head, "sealed").unwrap();
    fs::write(dir.path().join("torn-1.jsonl"), "torn").unwrap();
    fs::write(dir.path().join("usage.db"), "derived").unwrap();
    fs::write(dir.path().join(layout::COSIGNED), "by a witness").unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let (current, notes) = (read(layout::CURRENT), read(layout::CHECKPOINTS));
    let first = read("00000000000000000001.jsonl");
    // A line and a checkpoint that are being written are not whole.
    add(&dir.path().join(layout::CURRENT), b"{\"seq\":39,");
    add(&dir.path().join(layout::CHECKPOINTS), b"egret/x\n39\nroot");

    let snapshot = Snapshot::take(dir.path(), &head).unwrap();
    assert_eq!(snapshot.position(), end_of(dir.path()).unwrap());
    assert_eq!(snapshot.position().seq, LINES + 1);
    assert_eq!(snapshot.head(), Some(&b"sealed"[..]));
    // Of a checkpoint that the copy does not have.
    fs::write(dir.path().join(layout::COSIGNED), "of a later one").unwrap();
    add(&dir.path().join(layout::CURRENT), b"\"more\"}\n");
    let rotated = dir.path().join("00000000000000000021.jsonl");
    fs::rename(dir.path().join(layout::CURRENT), rotated).unwrap();
    fs::write(dir.path().join(layout::CURRENT), "new\n").unwrap();
    let packed = zstd::encode_all(first.as_slice(), 1).unwrap();
    fs::remove_file(dir.path().join("00000000000000000001.jsonl")).unwrap();
    fs::write(dir.path().join("00000000000000000001.jsonl.zst"), &packed).unwrap();

    let files = copy(&snapshot);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "00000000000000000001.jsonl.zst",
        layout::CHECKPOINTS,
        layout::COSIGNED,
        layout::CURRENT,
        layout::PUBLIC_KEY,
        "torn-1.jsonl",
    ];
    assert_eq!(names, expected);
    assert_eq!(files[layout::COSIGNED], b"by a witness");
    assert_eq!(files["00000000000000000001.jsonl.zst"], packed);
    assert_eq!(files[layout::CURRENT], current);
    assert_eq!(files[layout::CHECKPOINTS], notes);
}

#[test]
fn the_last_line_may_be_in_the_file_before() {
    let (dir, _) = ledger(&[10], 38);
    assert!(
        fs::read(dir.path().join(layout::CURRENT))
            .unwrap()
            .is_empty()
    );
    assert_eq!(end_of(dir.path()).unwrap().seq, LINES + 1);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(end_of(empty.path()).unwrap(), Position::default());
    let nowhere = Snapshot::take(&empty.path().join("none"), &empty.path().join("head")).unwrap();
    assert!(copy(&nowhere).is_empty() && nowhere.head().is_none());
}

#[test]
fn a_file_that_retention_dropped_is_said_to_be_gone() {
    let (dir, _) = ledger(&[10], 20);
    let snapshot = Snapshot::take(dir.path(), &dir.path().join("head")).unwrap();
    fs::remove_file(dir.path().join("00000000000000000001.jsonl")).unwrap();
    let error = snapshot.each_file(|_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A file of many checkpoints is not read from its beginning.
#[test]
fn the_end_of_long_checkpoints_is_found() {
    let (dir, _) = ledger(&[10, 30], 20);
    let path = dir.path().join(layout::CHECKPOINTS);
    let notes = fs::read(&path).unwrap();
    let times = 2 * usize::try_from(NOTES_WINDOW).unwrap() / notes.len() + 1;
    let long = notes.repeat(times);
    for torn in [&b""[..], b"egret/x\n39\nroot", b"egret/x\n39\nroot\n\n"] {
        fs::write(&path, [&long, torn].concat()).unwrap();
        assert_eq!(whole_notes(&path).unwrap(), long.len() as u64, "{torn:?}");
    }
}
