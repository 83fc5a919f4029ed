//! Checkpoints and rotation over a disk that fails on demand.

use super::*;
use crate::ledger::format::merkle::TreeHash;
use crate::ledger::format::timestamp::Timestamp;

fn small() -> Options {
    Options {
        max_size: 5_000,
        ..options()
    }
}

/// The bytes of all files in order.
fn all_bytes(disk: &Disk) -> Vec<u8> {
    disk.get(|disk| {
        let mut bytes = Vec::new();
        for (first, rotated) in &disk.rotated {
            let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
            assert_eq!(*first, 1 + lines, "named by its first line");
            bytes.extend_from_slice(rotated);
        }
        bytes.extend_from_slice(&disk.bytes[..disk.durable]);
        bytes
    })
}

/// Every checkpoint against the lines: size, root and head.
fn check_checkpoints(disk: &Disk) {
    let bytes = all_bytes(disk);
    let lines: Vec<&[u8]> = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| &line[..line.len() - 1])
        .collect();
    for note in disk.get(|disk| disk.checkpoints.clone()) {
        let checkpoint = checkpoint(&note);
        let size = usize::try_from(checkpoint.size()).unwrap();
        let mut tree = Frontier::default();
        for line in &lines[..size] {
            tree.push(TreeHash::of_leaf(line));
        }
        assert_eq!(checkpoint.tree, tree);
        let head = size
            .checked_sub(1)
            .map_or(LineHash::GENESIS, |last| LineHash::of(lines[last]));
        assert_eq!(checkpoint.head, head);
    }
}

#[tokio::test]
async fn start_and_end_are_signed() {
    let disk = Disk::default();
    let ledger = disk.signed(options());
    until(|| disk.causes() == ["start"]).await;
    ledger.commit(entry("one")).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(disk.causes(), ["start", "shutdown"]);
    check_checkpoints(&disk);
    let stats = ledger.stats();
    assert_eq!((stats.lines, stats.batches, stats.size), (1, 1, 1));
    assert_eq!((stats.checkpoints, stats.checkpoint_size), (2, 1));
    assert_eq!(stats.commit_latency.count(), 1);
    assert!(stats.signed);
}

#[tokio::test]
async fn a_thousand_lines_are_signed() {
    let disk = Disk::default();
    let ledger = disk.signed(options());
    until(|| disk.causes() == ["start"]).await;
    for _ in 0..3 {
        ledger.commit(vec![Entry::new("x"); 500]).await.unwrap();
    }
    until(|| disk.causes() == ["start", "count"]).await;
    assert_eq!(
        disk.get(|disk| checkpoint(&disk.checkpoints[1]).size()),
        1000
    );
    check_checkpoints(&disk);
    until(|| ledger.stats().size == 1500).await;
    assert_eq!(ledger.stats().checkpoint_size, 1000);
}

#[tokio::test]
async fn silence_is_signed() {
    let disk = Disk::default();
    let heartbeat = Duration::from_millis(20);
    let _ledger = disk.signed(Options {
        heartbeat,
        ..options()
    });
    until(|| {
        disk.causes()
            .starts_with(&["start", "heartbeat", "heartbeat"])
    })
    .await;
}

#[tokio::test]
async fn an_end_with_a_request_under_way_is_not_signed_as_a_clean_one() {
    let disk = Disk::default();
    let ledger = disk.signed(options());
    until(|| disk.causes() == ["start"]).await;
    let used = Entry {
        request: Some("r".into()),
        ..Entry::new(event::USE)
    };
    ledger.commit(vec![used]).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(disk.causes(), ["start", "time"]);
}

/// Whoever waits for a batch must not wait for its checkpoint, let alone for one that hangs.
#[tokio::test]
async fn a_batch_is_answered_before_it_is_signed() {
    let disk = Disk::default();
    let ledger = disk.signed(options());
    until(|| disk.causes() == ["start"]).await;
    disk.set(|disk| disk.checkpoint_hangs = true);
    ledger.commit(vec![Entry::new("x"); 1000]).await.unwrap();
    assert_eq!(ledger.stats().checkpoint_size, 0);
    disk.set(|disk| disk.checkpoint_hangs = false);
    until(|| disk.causes() == ["start", "count"]).await;
}

#[tokio::test]
async fn lines_go_on_without_checkpoints_which_are_made_up_for() {
    let disk = Disk::default();
    disk.set(|disk| disk.fail_checkpoint = true);
    let ledger = disk.signed(small());
    for _ in 0..50 {
        ledger.commit(vec![Entry::new("x"); 40]).await.unwrap();
    }
    assert!(ledger.healthy());
    until(|| ledger.stats().size == 2000).await;
    let stats = ledger.stats();
    assert_eq!(stats.checkpoint_size, 0);
    assert!(stats.checkpoint_failures > 0);
    assert_eq!(
        stats.rotations, 0,
        "no file is rotated without its checkpoint"
    );
    disk.set(|disk| disk.fail_checkpoint = false);
    until(|| !disk.causes().is_empty()).await;
    ledger.close().await.unwrap();
    assert_eq!(disk.causes().last(), Some(&"shutdown"));
    check_checkpoints(&disk);
}

#[tokio::test]
async fn files_are_rotated_when_they_are_full_and_the_chain_runs_on() {
    let disk = Disk::default();
    let ledger = disk.signed(small());
    for number in 0..50 {
        ledger.commit(entry(format!("{number}"))).await.unwrap();
    }
    ledger.close().await.unwrap();
    let rotated = disk.get(|disk| disk.rotated.len());
    assert!(rotated > 2, "{rotated}");
    assert_eq!(records(&all_bytes(&disk)).len(), 50);
    assert_eq!(ledger.stats().rotations, rotated as u64);
    let causes = disk.causes();
    let rotations = causes.iter().filter(|cause| **cause == "rotation");
    assert_eq!(rotations.count(), rotated);
    check_checkpoints(&disk);
}

#[tokio::test]
async fn lines_go_on_into_the_old_file_when_it_cannot_be_rotated() {
    let disk = Disk::default();
    disk.set(|disk| disk.fail_rotate = true);
    let ledger = disk.signed(small());
    for number in 0..50 {
        ledger.commit(entry(format!("{number}"))).await.unwrap();
    }
    assert!(ledger.healthy());
    assert!(ledger.stats().rotation_failures > 0);
    ledger.close().await.unwrap();
    assert_eq!(disk.records().len(), 50);
}

#[tokio::test]
async fn a_file_of_yesterday_is_rotated_and_one_of_tomorrow_is_not() {
    let day = 24 * 60 * 60 * 1_000_000;
    for (offset, rotations) in [(-day, 1), (day, 0)] {
        let disk = Disk::default();
        let mut writer = disk.signed_writer(options());
        let mut job = Job::new(None);
        job.time = Timestamp::from_unix_micros(job.time.unix_micros() + offset);
        let mut batch = Batch::default();
        batch.push(job, &entry("one").into());
        writer.write(&mut batch).unwrap();
        writer.tend();
        assert_eq!(disk.get(|disk| disk.rotated.len()), rotations);
        // And the next file is of today.
        batch.push(Job::new(None), &entry("two").into());
        writer.write(&mut batch).unwrap();
        writer.tend();
        assert_eq!(disk.get(|disk| disk.rotated.len()), rotations);
        let wait = writer.next_duty(Instant::now()).unwrap();
        assert!(wait <= Instant::now() + Duration::from_secs(600));
    }
}

async fn take_step(
    disk: &Disk,
    ledger: &Ledger,
    step: &Step,
    name: String,
    promised: &mut Vec<String>,
) {
    match step {
        Step::Commit => {
            if ledger.commit(entry(&*name)).await.is_ok() {
                promised.push(name);
            }
        }
        Step::Append => {
            ledger.append(entry(&*name)).unwrap();
            promised.push(name);
        }
        Step::Full(room) => disk.set(|disk| disk.full_after = Some(*room)),
        Step::FailSync => disk.set(|disk| disk.fail_sync = true),
        Step::FailCut => disk.set(|disk| disk.fail_cut = true),
        Step::Heal => disk.set(heal),
    }
}

/// Takes all steps with a key, heals the disk, closes, and returns what was promised to be there.
async fn play_signed(disk: &Disk, steps: &[(Step, bool, bool)]) -> Vec<String> {
    let options = Options {
        max_size: 1_000,
        ..options()
    };
    let ledger = disk.signed(options);
    let mut promised = Vec::new();
    for (number, (step, fail_checkpoint, fail_rotate)) in steps.iter().enumerate() {
        disk.set(|disk| {
            (disk.fail_checkpoint, disk.fail_rotate) = (*fail_checkpoint, *fail_rotate);
        });
        take_step(disk, &ledger, step, format!("{number}"), &mut promised).await;
    }
    disk.set(|disk| {
        heal(disk);
        (disk.fail_checkpoint, disk.fail_rotate) = (false, false);
    });
    ledger.close().await.unwrap();
    promised
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// As without a key, and every checkpoint that was written is true.
    #[test]
    fn whatever_fails_no_checkpoint_says_more_than_what_is_there(
        steps in prop::collection::vec((step(), any::<bool>(), any::<bool>()), 1..40),
    ) {
        let disk = Disk::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let promised = runtime.block_on(play_signed(&disk, &steps));
        let written = records(&all_bytes(&disk)).into_iter();
        let mut events: Vec<String> = written.map(|record| record.entry.event.into_string()).collect();
        events.retain(|name| name != event::INTERRUPTED);
        prop_assert_eq!(events, promised);
        check_checkpoints(&disk);
        prop_assert_eq!(disk.causes().pop(), Some("shutdown"));
    }
}
