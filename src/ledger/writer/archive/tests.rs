use super::*;
use crate::ledger::format::checkpoint::Notes;
use crate::ledger::format::record::Record;
use crate::ledger::writer::signing::tests::signing;
use crate::ledger::{Durability, Ledger, Options};

fn options() -> Options {
    Options {
        max_size: 20_000,
        ..Options::default()
    }
}

fn open(dir: &Path, options: Options) -> Ledger {
    Ledger::open_signed(dir, Durability::Commit, options, &signing(dir, 1)).unwrap()
}

/// Writes enough for so many rotations, and some.
async fn fill(ledger: &Ledger, rotations: u64) {
    let before = ledger.stats().rotations;
    let deadline = Instant::now() + Duration::from_secs(60);
    while ledger.stats().rotations < before + rotations {
        assert!(Instant::now() < deadline, "{:?}", ledger.stats());
        ledger.commit(vec![Entry::new("x"); 10]).await.unwrap();
    }
    ledger.commit(vec![Entry::new("x")]).await.unwrap();
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn forms(dir: &Path) -> Vec<Form> {
    let segments = layout::rotated_segments(dir).unwrap();
    segments.into_iter().map(|segment| segment.form).collect()
}

/// Every line that is there, checked for being linked to the one before.
fn records(dir: &Path) -> Vec<Record> {
    let mut before: Option<Vec<u8>> = None;
    let mut records = Vec::new();
    for segment in layout::segments(dir).unwrap() {
        let first = records.len();
        for line in segment.open().unwrap().split(b'\n') {
            let line = line.unwrap();
            let record = Record::parse(&line).unwrap();
            if let Some(before) = &before {
                assert_eq!(
                    record.prev,
                    crate::ledger::format::line_hash::LineHash::of(before)
                );
            }
            before = Some(line);
            records.push(record);
        }
        if let (Some(named), Some(record)) = (segment.first, records.get(first)) {
            assert_eq!(record.seq, named);
        }
    }
    records
}

#[tokio::test]
async fn rotated_files_are_compressed_and_the_chain_runs_through_them() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), options());
    fill(&ledger, 3).await;
    until(|| forms(dir.path()) == [Form::Zstd; 3]).await;
    ledger.close().await.unwrap();
    let records = records(dir.path());
    assert_eq!(records.first().unwrap().seq, 1);
    let stats = ledger.stats();
    assert_eq!(records.last().unwrap().seq, stats.size);
    assert_eq!(stats.checkpoint_size, stats.size);

    // Each file's end is a checkpoint.
    let notes = fs::read_to_string(dir.path().join(layout::CHECKPOINTS)).unwrap();
    let rotations = Notes::new(&notes).filter(|note| note.contains("\ncause rotation\n"));
    let ends: Vec<u64> = rotations
        .map(|note| note.lines().nth(1).unwrap().parse().unwrap())
        .collect();
    let firsts = layout::rotated_segments(dir.path()).unwrap();
    let firsts: Vec<u64> = firsts.iter().filter_map(|segment| segment.first).collect();
    assert_eq!(firsts[0], 1);
    assert_eq!(ends[..2], [firsts[1] - 1, firsts[2] - 1]);

    let ledger = open(dir.path(), options());
    ledger.commit(vec![Entry::new("after")]).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(
        self::records(dir.path()).last().unwrap().entry.event,
        "after"
    );
}

#[tokio::test]
async fn what_is_dropped_is_said_first_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep {
        // More than a file that is full, and not compressed yet.
        size: Some(60_000),
        time: None,
    };
    let ledger = open(dir.path(), Options { keep, ..options() });
    for round in 1..4 {
        fill(&ledger, 1).await;
        // Compressed, hundreds of equal lines take next to nothing.
        until(|| {
            ledger.stats().rotations == round
                && forms(dir.path()).iter().all(|form| *form == Form::Zstd)
        })
        .await;
    }
    ledger.close().await.unwrap();
    assert_eq!(ledger.stats().dropped_files, 0);

    let keep = Keep {
        size: Some(1),
        time: None,
    };
    let ledger = open(dir.path(), Options { keep, ..options() });
    until(|| ledger.stats().dropped_files == 3).await;
    assert_eq!(forms(dir.path()), []);
    ledger.commit(vec![Entry::new("after")]).await.unwrap();
    ledger.close().await.unwrap();
    let records = records(dir.path());
    let first = records[0].seq;
    let dropped: Vec<&Record> = records
        .iter()
        .filter(|record| record.entry.event == event::DROPPED)
        .collect();
    assert_eq!(dropped.len(), 1);
    let ranges = &dropped[0].entry.locations;
    assert_eq!(ranges.len(), 3);
    assert!(ranges[0].starts_with("1-"), "{ranges:?}");
    assert!(
        ranges[2].ends_with(&format!("-{}", first - 1)),
        "{ranges:?}"
    );
    let notes = fs::read_to_string(dir.path().join(layout::CHECKPOINTS)).unwrap();
    assert!(
        notes.contains(&format!("\n{}\n", first - 1)),
        "the checkpoint stays"
    );
    assert!(notes.contains("\ncause retention\n"));
    open(dir.path(), options()).close().await.unwrap();
}

#[tokio::test]
async fn files_are_dropped_by_the_age_of_their_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), options());
    fill(&ledger, 2).await;
    until(|| forms(dir.path()) == [Form::Zstd; 2]).await;
    ledger.close().await.unwrap();
    let old = &layout::rotated_segments(dir.path()).unwrap()[0].path;
    let day = Duration::from_secs(86_400);
    let file = OpenOptions::new().append(true).open(old).unwrap();
    file.set_modified(SystemTime::now() - 3 * day).unwrap();
    let keep = Keep {
        time: Some(2 * day),
        size: None,
    };
    let ledger = open(dir.path(), Options { keep, ..options() });
    until(|| ledger.stats().dropped_files == 1).await;
    ledger.close().await.unwrap();
    assert!(!old.exists());
    assert_eq!(forms(dir.path()), [Form::Zstd]);
}

#[tokio::test]
async fn nothing_is_dropped_without_a_checkpoint_to_stand_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), options());
    fill(&ledger, 1).await;
    ledger.close().await.unwrap();
    let path = dir.path().join(layout::CHECKPOINTS);
    let notes = fs::read_to_string(&path).unwrap();
    let last = Notes::new(&notes).last().unwrap();
    fs::write(&path, format!("{last}\n")).unwrap();
    let keep = Keep {
        size: Some(1),
        time: None,
    };
    let ledger = open(dir.path(), Options { keep, ..options() });
    until(|| ledger.stats().archive_failures > 0).await;
    ledger.close().await.unwrap();
    assert_eq!(forms(dir.path()).len(), 1);
    assert!(
        records(dir.path())
            .iter()
            .all(|record| record.entry.event != event::DROPPED)
    );
}

#[test]
fn a_file_whose_copy_does_not_read_back_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed"));
    let worker = Worker {
        clock: SteadyClock::new(None, SystemTime::now(), Instant::now()),
        keeper: Keeper {
            dir: dir.path().to_owned(),
            keep: Keep::default(),
            queue: Arc::new(Queue::new(1)),
            stats: Arc::default(),
            last_signed: None,
            lock: Arc::new(DirectoryLock::acquire(dir.path()).unwrap()),
        },
        stop: Arc::default(),
        current_first: Arc::default(),
    };
    let content = b"0123456789\n".repeat(100_000);
    fs::write(&plain, &content).unwrap();
    worker
        .write_compressed(&File::open(&plain).unwrap(), &packed)
        .unwrap();
    worker.compare(&plain, &packed).unwrap();
    let mut altered = content.clone();
    altered[600_000] ^= 1;
    for other in [
        &altered[..],
        &content[..content.len() - 1],
        &[&content[..], b"x"].concat(),
        b"",
    ] {
        fs::write(&plain, other).unwrap();
        assert!(worker.compare(&plain, &packed).is_err());
    }
    fs::write(&plain, &content).unwrap();
    let mut bytes = fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&packed, bytes).unwrap();
    assert!(worker.compare(&plain, &packed).is_err());
    worker.stop.store(true, Ordering::Release);
    fs::remove_file(&packed).unwrap();
    assert!(
        worker
            .write_compressed(&File::open(&plain).unwrap(), &packed)
            .is_err(),
        "it stops when asked to"
    );
}

#[test]
fn a_checkpoint_is_found_by_its_size_and_by_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let golden = include_str!("../../../../tests/golden/ledger-checkpoints.txt");
    fs::write(dir.path().join(layout::CHECKPOINTS), golden).unwrap();
    for (size, found) in [(0, true), (3, true), (4, true), (1, false), (30, false)] {
        assert_eq!(
            has_checkpoint_at(dir.path(), size).unwrap(),
            found,
            "{size}"
        );
    }
}
