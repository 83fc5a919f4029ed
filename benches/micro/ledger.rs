//! Putting uses on record: the line, and waiting for it.

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use egret::ledger::format::chain::Chain;
use egret::ledger::{Durability, Entry, Ledger, Options, Timestamp, event, outcome};
use tokio::task::JoinSet;

/// Requests that wait at the same time.
const WAITERS: [usize; 3] = [1, 32, 256];

fn used() -> Entry<'static> {
    let text = |text: &'static str| Some(text.into());
    Entry {
        request: text("req-8d0f3a21-1c4f"),
        slug: text("github-pat"),
        version: Some(1),
        owner: text("default"),
        principal: text("default"),
        client: text("laptop"),
        action: text("weekly-report"),
        action_source: Some("asserted".into()),
        method: text("GET"),
        destination: text("https://api.github.com:443"),
        path: text("/user/repos"),
        locations: vec!["header:authorization".into()],
        outcome: Some(outcome::USED.into()),
        ..Entry::new(event::USE)
    }
}

#[divan::bench]
fn line(bencher: Bencher) {
    let (entry, mut chain) = (used(), Chain::start());
    let mut lines = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        lines.clear();
        let time = Timestamp::from_unix_micros(1_795_339_800_000_001);
        chain.append(time, &black_box(&entry).encode(), &mut lines);
        lines.len()
    });
}

/// From handing over to durable.
#[divan::bench(args = WAITERS, sample_count = 50)]
fn commit(bencher: Bencher, waiters: usize) {
    wait(bencher, Durability::Commit, waiters);
}

/// From handing over to accepted; the disk follows.
#[divan::bench(args = WAITERS, sample_count = 50)]
fn interval(bencher: Bencher, waiters: usize) {
    wait(
        bencher,
        Durability::Interval(Duration::from_millis(100)),
        waiters,
    );
}

fn wait(bencher: Bencher, durability: Durability, waiters: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(directory.path(), durability, Options::default());
    let ledger = ledger.expect("a ledger");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    bencher.counter(ItemsCount::new(waiters)).bench_local(|| {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..waiters {
                let ledger = ledger.clone();
                tasks.spawn(async move { ledger.commit(vec![used()]).await });
            }
            // A full queue under `interval` is an answer too: the disk is the limit then.
            while tasks.join_next().await.is_some() {}
        });
    });
    runtime
        .block_on(ledger.close())
        .expect("the ledger is closed");
}
