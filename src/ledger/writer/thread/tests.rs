//! The writer over a disk that fails on demand.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::error::{Code, Refusal};
use crate::ledger::format::checkpoint::Cause;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::Frontier;
use crate::ledger::format::note::Signer;
use crate::ledger::format::record::Record;
use crate::ledger::writer::sealed_head::SealedHead;
use crate::secret::SecretBytes;

/// A disk in memory that fails on demand, shared between a test and the writer.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Default)]
struct DiskState {
    bytes: Vec<u8>,
    durable: usize,
    appends: usize,
    syncs: usize,
    /// `append` takes this many bytes, then fails.
    full_after: Option<usize>,
    fail_sync: bool,
    fail_cut: bool,
    /// `sync` does not return while set.
    hangs: bool,
    /// What is in rotated files.
    rotated: Vec<(u64, Vec<u8>)>,
    fail_rotate: bool,
    checkpoints: Vec<String>,
    heads: Vec<SealedHead>,
    fail_checkpoint: bool,
    /// `checkpoint` does not return while set.
    checkpoint_hangs: bool,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn get<T>(&self, read: impl FnOnce(&DiskState) -> T) -> T {
        read(&self.0.0.lock().unwrap())
    }

    fn ledger(&self, durability: Durability, options: Options) -> Ledger {
        start(self.clone(), durability, options)
    }

    /// As [`Disk::ledger`], with a key.
    fn signed(&self, options: Options) -> Ledger {
        let writer = self.signed_writer(options);
        let elsewhere = OpenUses::default();
        writer
            .spawn(Durability::Commit, options.deadline, elsewhere, never())
            .unwrap()
    }

    fn signed_writer(&self, options: Options) -> Writer<Self> {
        let mut writer = writer(self.clone(), options);
        let signed = Signed {
            signer: signer(),
            tree: Frontier::default(),
            head: LineHash::GENESIS,
            last: None,
            start: Cause::Start,
            entries: Vec::new(),
            elsewhere: OpenUses::default(),
        };
        writer.sign_with(Some(signed), options);
        writer
    }

    fn causes(&self) -> Vec<&'static str> {
        self.get(|disk| {
            disk.checkpoints
                .iter()
                .map(|note| checkpoint(note).cause.as_str())
                .collect()
        })
    }

    /// What would be found after a loss of power; panics when a link is broken.
    fn records(&self) -> Vec<Record> {
        self.get(|disk| records(&disk.bytes[..disk.durable]))
    }

    fn events(&self) -> Vec<String> {
        self.records()
            .into_iter()
            .map(|record| record.entry.event.into_string())
            .collect()
    }
}

fn signer() -> Signer {
    Signer::of_ledger(&SecretBytes::new(vec![1; 32])).unwrap()
}

fn checkpoint(note: &str) -> Checkpoint {
    Checkpoint::open(note, signer().verifier()).unwrap()
}

fn writer<S: Storage>(storage: S, options: Options) -> Writer<S> {
    let end = End {
        chain: Chain::start(),
        length: 0,
        first: 1,
        since: None,
        max_size: options.max_size,
    };
    let queue = Arc::new(Queue::new(options.queue));
    Writer::new(queue, Arc::default(), storage, end)
}

/// For a ledger that nobody hands over.
fn never<S: Storage>() -> Again<S> {
    Box::new(|_| panic!("it is not opened again"))
}

fn start(storage: impl Storage, durability: Durability, options: Options) -> Ledger {
    writer(storage, options)
        .spawn(durability, options.deadline, OpenUses::default(), never())
        .unwrap()
}

fn records(bytes: &[u8]) -> Vec<Record> {
    let mut prev = LineHash::GENESIS;
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate();
    lines
        .map(|(index, line)| {
            let line = line.strip_suffix(b"\n").expect("every line is whole");
            let record = Record::parse(line).unwrap();
            assert_eq!(record.seq, index as u64 + 1);
            assert_eq!(record.prev, prev);
            prev = LineHash::of(line);
            record
        })
        .collect()
}

impl Storage for Disk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.0.lock().unwrap();
        disk.appends += 1;
        let taken = disk.full_after.unwrap_or(bytes.len()).min(bytes.len());
        disk.bytes.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.0.lock().unwrap();
        while disk.hangs {
            disk = self.0.1.wait(disk).unwrap();
        }
        disk.syncs += 1;
        if disk.fail_sync {
            // As kernels do: the pages are forgotten, and the next sync finds nothing wrong.
            let durable = disk.durable;
            disk.bytes[durable..].fill(0);
            return Err(io::Error::other("EIO"));
        }
        disk.durable = disk.bytes.len();
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<Option<String>> {
        let mut disk = self.0.0.lock().unwrap();
        if disk.fail_cut {
            return Err(io::Error::other("EIO"));
        }
        let length = usize::try_from(length).unwrap();
        assert!(length <= disk.bytes.len(), "nothing durable is ever cut");
        disk.bytes.truncate(length);
        Ok(None)
    }

    fn rotate(&mut self, first: u64) -> io::Result<()> {
        let mut disk = self.0.0.lock().unwrap();
        assert_eq!(disk.durable, disk.bytes.len(), "what is rotated is durable");
        if disk.fail_rotate {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = mem::take(&mut disk.bytes);
        disk.durable = 0;
        disk.rotated.push((first, bytes));
        Ok(())
    }

    fn checkpoint(&mut self, note: &str) -> io::Result<()> {
        let mut disk = self.0.0.lock().unwrap();
        while disk.checkpoint_hangs {
            disk = self.0.1.wait(disk).unwrap();
        }
        if disk.fail_checkpoint {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.checkpoints.push(note.to_owned());
        Ok(())
    }

    fn seal_head(&mut self, head: &SealedHead) -> io::Result<()> {
        let mut disk = self.0.0.lock().unwrap();
        if disk.fail_checkpoint {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.heads.push(head.clone());
        Ok(())
    }
}

fn options() -> Options {
    Options {
        queue: 1000,
        deadline: Duration::from_secs(5),
        ..Options::default()
    }
}

fn entry(name: impl Into<String>) -> Vec<Entry<'static>> {
    vec![Entry::new(name.into())]
}

/// Waits for something that another thread is about to do.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen");
}

fn waiting(ledger: &Ledger) -> usize {
    ledger.0.queue.waiting()
}

#[tokio::test]
async fn a_commit_returns_when_its_lines_are_durable_and_not_before() {
    let disk = Disk::default();
    disk.set(|disk| disk.hangs = true);
    let ledger = disk.ledger(Durability::Commit, options());
    let commit = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.commit(entry("one")).await }
    });
    until(|| disk.get(|disk| disk.appends == 1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!commit.is_finished());
    disk.set(|disk| disk.hangs = false);
    assert_eq!(commit.await.unwrap(), Ok(()));
    assert_eq!(disk.events(), ["one"]);
}

#[tokio::test]
async fn a_ledger_whose_disk_hangs_is_not_ready() {
    let disk = Disk::default();
    let short = Options {
        deadline: Duration::from_millis(1),
        ..options()
    };
    let patience = Durability::Interval(Duration::from_millis(1));
    let ledger = disk.ledger(patience, short);
    assert!(ledger.is_ready());
    disk.set(|disk| disk.hangs = true);
    ledger.append(entry("one")).unwrap();
    until(|| !ledger.is_ready()).await;
    assert!(ledger.healthy(), "no write has failed");
    disk.set(|disk| disk.hangs = false);
    until(|| ledger.is_ready()).await;
}

#[tokio::test]
async fn all_that_wait_share_one_write_and_one_sync() {
    let disk = Disk::default();
    disk.set(|disk| disk.hangs = true);
    let ledger = disk.ledger(Durability::Commit, options());
    let commit = |number: u32| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.commit(entry(format!("{number}"))).await })
    };
    let mut commits = vec![commit(0)];
    until(|| disk.get(|disk| disk.appends == 1)).await;
    // While the first is at the disk, the rest gathers after it.
    commits.extend((1..200).map(commit));
    until(|| waiting(&ledger) == 199).await;
    disk.set(|disk| disk.hangs = false);
    for commit in commits {
        assert_eq!(commit.await.unwrap(), Ok(()));
    }
    assert_eq!(disk.records().len(), 200);
    assert_eq!(disk.get(|disk| (disk.appends, disk.syncs)), (2, 2));
}

#[tokio::test]
async fn entries_of_one_commit_stay_together_and_in_order() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    ledger.append(entry("result")).unwrap();
    ledger
        .commit([entry("a"), entry("b")].concat())
        .await
        .unwrap();
    ledger.commit(Vec::new()).await.unwrap();
    assert_eq!(disk.events(), ["result", "a", "b"]);
}

#[tokio::test]
async fn a_failed_write_is_reported_taken_back_and_forgotten_once_there_is_room() {
    for room in [0, 1, 10, 500] {
        let disk = Disk::default();
        let ledger = disk.ledger(Durability::Commit, options());
        ledger.commit(entry("before")).await.unwrap();
        disk.set(|disk| disk.full_after = Some(room));
        let lost = [entry("lost"), entry("lost")].concat();
        assert_eq!(
            ledger.commit(lost).await,
            Err(LedgerUnavailable::WriteFailed)
        );
        assert!(!ledger.healthy());
        assert_eq!(
            disk.get(|disk| records(&disk.bytes)).len(),
            1,
            "nothing half is left"
        );
        disk.set(|disk| disk.full_after = None);
        ledger.commit(entry("after")).await.unwrap();
        assert!(ledger.healthy());
        assert_eq!(disk.events(), ["before", event::INTERRUPTED, "after"]);
    }
}

#[tokio::test]
async fn lines_of_a_failed_sync_are_written_again_not_only_synced_again() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    ledger.append(entry("result")).unwrap();
    disk.set(|disk| (disk.fail_sync, disk.fail_cut) = (true, true));
    assert_eq!(
        ledger.commit(entry("lost")).await,
        Err(LedgerUnavailable::WriteFailed)
    );
    disk.set(|disk| disk.fail_sync = false);
    assert_eq!(
        ledger.commit(entry("lost")).await,
        Err(LedgerUnavailable::WriteFailed),
        "no line is written behind bytes that are not known to be lines"
    );
    disk.set(|disk| disk.fail_cut = false);
    ledger.commit(entry("after")).await.unwrap();
    assert_eq!(disk.events(), ["result", event::INTERRUPTED, "after"]);
}

#[tokio::test]
async fn the_ledger_recovers_without_a_request() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    disk.set(|disk| disk.full_after = Some(0));
    assert!(ledger.commit(entry("lost")).await.is_err());
    disk.set(|disk| disk.full_after = None);
    until(|| ledger.healthy()).await;
    assert_eq!(disk.events(), [event::INTERRUPTED]);
}

#[tokio::test]
async fn a_disk_that_hangs_costs_the_deadline_and_a_full_queue_nothing() {
    let disk = Disk::default();
    disk.set(|disk| disk.hangs = true);
    let deadline = Duration::from_millis(50);
    let ledger = disk.ledger(
        Durability::Commit,
        Options {
            queue: 4,
            deadline,
            ..options()
        },
    );
    let started = Instant::now();
    let in_flight = ledger.commit(entry("in flight"));
    assert_eq!(in_flight.await, Err(LedgerUnavailable::Deadline));
    assert!(started.elapsed() < Duration::from_secs(1));
    let abandoned = ledger
        .commit([entry("abandoned"), entry("abandoned")].concat())
        .await;
    assert_eq!(abandoned, Err(LedgerUnavailable::Deadline));

    assert_eq!(waiting(&ledger), 2);
    let too_many = [entry("x"), entry("x"), entry("x")].concat();
    let started = Instant::now();
    assert_eq!(
        ledger.commit(too_many).await,
        Err(LedgerUnavailable::QueueFull)
    );
    assert!(started.elapsed() < deadline);
    // Requests that went through before must be able to leave their results.
    for _ in 0..6 {
        ledger.append(entry("result")).unwrap();
    }
    assert_eq!(
        ledger.append(entry("result")),
        Err(LedgerUnavailable::QueueFull)
    );

    disk.set(|disk| disk.hangs = false);
    until(|| waiting(&ledger) == 0).await;
    ledger.commit(entry("after")).await.unwrap();
    let events = disk.events();
    assert_eq!(events.first().map(String::as_str), Some("in flight"));
    assert!(!events.iter().any(|event| event == "abandoned"));
    assert_eq!(events.iter().filter(|event| *event == "result").count(), 6);
}

#[tokio::test]
async fn what_waits_for_the_disk_is_counted_from_the_moment_it_is_handed_over() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    assert_eq!(
        (ledger.stats().queued, ledger.stats().lag),
        (0, Duration::ZERO)
    );
    disk.set(|disk| disk.hangs = true);
    let commit = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.commit(entry("at the disk")).await }
    });
    until(|| disk.get(|disk| disk.appends == 1)).await;
    ledger.append(entry("behind it")).unwrap();
    let stats = ledger.stats();
    assert_eq!(stats.queued, 2);
    assert!(stats.lag > Duration::ZERO);
    disk.set(|disk| disk.hangs = false);
    commit.await.unwrap().unwrap();
    until(|| ledger.stats().queued == 0).await;
    disk.set(|disk| disk.full_after = Some(0));
    ledger.append(entry("kept")).unwrap();
    // With the line that tells of it.
    until(|| ledger.stats().queued == 2).await;
    let stats = ledger.stats();
    assert!(stats.write_failures > 0);
}

#[tokio::test]
async fn results_become_durable_without_a_commit() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    ledger.append(entry("result")).unwrap();
    until(|| disk.get(|disk| disk.durable > 0)).await;
    assert_eq!(disk.events(), ["result"]);
}

#[tokio::test]
async fn with_an_interval_commits_do_not_wait_until_the_disk_fails() {
    let disk = Disk::default();
    let interval = Durability::Interval(Duration::from_millis(60));
    let ledger = disk.ledger(interval, options());
    for number in 0..5 {
        ledger.commit(entry(format!("{number}"))).await.unwrap();
    }
    assert_eq!(disk.get(|disk| disk.syncs), 0);
    until(|| disk.get(|disk| disk.durable > 0)).await;
    assert_eq!(disk.events(), ["0", "1", "2", "3", "4"]);
    assert_eq!(disk.get(|disk| disk.syncs), 1);

    disk.set(|disk| disk.fail_sync = true);
    ledger.commit(entry("kept")).await.unwrap();
    until(|| !ledger.healthy()).await;
    assert_eq!(
        ledger.commit(entry("lost")).await,
        Err(LedgerUnavailable::WriteFailed)
    );
    disk.set(|disk| disk.fail_sync = false);
    ledger.commit(entry("after")).await.unwrap();
    assert_eq!(disk.events()[5..], ["kept", event::INTERRUPTED, "after"]);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_more() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), Durability::Commit, options()).unwrap();
    ledger.append(entry("one")).unwrap();
    assert!(Ledger::open(dir.path(), Durability::Commit, options()).is_err());
    assert_eq!(ledger.close().await, Ok(()));
    assert_eq!(ledger.close().await, Ok(()), "closing twice is no error");
    assert_eq!(
        ledger.commit(entry("x")).await,
        Err(LedgerUnavailable::Closed)
    );
    assert_eq!(ledger.append(entry("x")), Err(LedgerUnavailable::Closed));
    assert!(!ledger.healthy());

    // The lock is free again and the chain goes on.
    let ledger = Ledger::open(dir.path(), Durability::Commit, options()).unwrap();
    ledger.commit(entry("two")).await.unwrap();
    let written = std::fs::read(dir.path().join(crate::ledger::CURRENT)).unwrap();
    assert_eq!(records(&written).len(), 2);
}

#[tokio::test]
async fn closing_over_a_broken_disk_says_so() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Commit, options());
    disk.set(|disk| disk.full_after = Some(0));
    ledger.append(entry("lost")).unwrap();
    assert_eq!(ledger.close().await, Err(LedgerUnavailable::WriteFailed));
}

#[tokio::test]
async fn dropping_the_last_handle_still_writes_what_is_queued() {
    let disk = Disk::default();
    let ledger = disk.ledger(Durability::Interval(Duration::from_secs(60)), options());
    ledger.commit(entry("one")).await.unwrap();
    drop(ledger);
    until(|| disk.get(|disk| disk.durable > 0)).await;
    assert_eq!(disk.events(), ["one"]);
}

#[tokio::test]
async fn a_panic_of_the_writer_is_an_error_and_not_a_wait() {
    struct Bomb;
    impl Storage for Bomb {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            panic!("for the test");
        }
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn seal_head(&mut self, _: &SealedHead) -> io::Result<()> {
            unreachable!()
        }

        fn cut(&mut self, _: u64) -> io::Result<Option<String>> {
            Ok(None)
        }
        fn rotate(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn checkpoint(&mut self, _: &str) -> io::Result<()> {
            Ok(())
        }
    }
    let ledger = start(Bomb, Durability::Commit, options());
    let started = Instant::now();
    assert_eq!(
        ledger.commit(entry("x")).await,
        Err(LedgerUnavailable::Closed)
    );
    until(|| !ledger.healthy()).await;
    assert_eq!(
        ledger.commit(entry("x")).await,
        Err(LedgerUnavailable::Closed)
    );
    assert_eq!(ledger.close().await, Err(LedgerUnavailable::Closed));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_refusal_says_that_nothing_was_sent() {
    let refusal = Refusal::from(LedgerUnavailable::WriteFailed);
    assert_eq!(refusal.code, Code::LedgerUnavailable);
    assert!(refusal.detail.contains("Nothing was sent"));
    let refusal = Refusal::from(LedgerUnavailable::ShareFull);
    assert_eq!(refusal.code, Code::Overloaded);
    assert!(refusal.detail.contains("Nothing was sent"));
}

/// While the disk hangs, one principal sends more than the queue holds; another is still recorded.
#[tokio::test]
async fn one_principal_does_not_fill_the_queue_for_others() {
    let disk = Disk::default();
    let ledger = disk.ledger(
        Durability::Commit,
        Options {
            queue: 100,
            ..options()
        },
    );
    disk.set(|disk| disk.hangs = true);
    let commit = |principal: &'static str| {
        let ledger = ledger.clone();
        let used = Entry {
            request: Some("r".into()),
            principal: Some(principal.into()),
            ..Entry::new(event::USE)
        };
        tokio::spawn(async move { ledger.commit(vec![used]).await })
    };
    let mut flood = vec![commit("alice")];
    until(|| disk.get(|disk| disk.appends == 1)).await;
    flood.extend((0..200).map(|_| commit("alice")));
    until(|| waiting(&ledger) == 50).await;
    let other = commit("bob");
    until(|| waiting(&ledger) == 51).await;
    disk.set(|disk| disk.hangs = false);
    assert_eq!(other.await.unwrap(), Ok(()));
    let mut refused = 0;
    for commit in flood {
        match commit.await.unwrap() {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, LedgerUnavailable::ShareFull);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 150);
}

#[derive(Clone, Debug)]
enum Step {
    Commit,
    Append,
    Full(usize),
    FailSync,
    FailCut,
    Heal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Commit),
        4 => Just(Step::Append),
        1 => (0_usize..800).prop_map(Step::Full),
        1 => Just(Step::FailSync),
        1 => Just(Step::FailCut),
        2 => Just(Step::Heal),
    ]
}

/// Carries out the steps, heals the disk, closes, and returns the names of the entries that
/// were promised to be on record, in order, and of those that were refused.
async fn play(disk: &Disk, steps: &[Step]) -> (Vec<String>, Vec<String>) {
    let ledger = disk.ledger(Durability::Commit, options());
    let (mut promised, mut refused) = (Vec::new(), Vec::new());
    for (number, step) in steps.iter().enumerate() {
        let name = format!("{number}");
        match step {
            Step::Commit => match ledger.commit(entry(&*name)).await {
                Ok(()) => {
                    assert!(disk.events().contains(&name), "durable on return");
                    promised.push(name);
                }
                Err(_) => refused.push(name),
            },
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
    disk.set(heal);
    ledger.close().await.unwrap();
    (promised, refused)
}

fn heal(disk: &mut DiskState) {
    (disk.full_after, disk.fail_sync, disk.fail_cut) = (None, false, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_fails_what_was_promised_is_there_once_in_order_and_nothing_that_was_refused(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let disk = Disk::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (promised, refused) = runtime.block_on(play(&disk, &steps));
        let mut events = disk.events();
        events.retain(|name| name != event::INTERRUPTED);
        prop_assert_eq!(events, promised);
        prop_assert!(!disk.events().iter().any(|name| refused.contains(name)));
    }
}

mod signed;
