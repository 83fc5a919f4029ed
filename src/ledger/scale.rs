//! A ledger of millions of lines: how long its check takes, and the answer to who used what.
//!
//! ```sh
//! EGRET_TEST_LONG=1 cargo test --release --lib ledger::scale -- --nocapture
//! ```
//!
//! prints the numbers; `EGRET_TEST_LINES` sets how many lines, ten million unless said otherwise.
//! Nothing is asserted about speed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use super::format::chain::Chain;
use super::format::checkpoint::{Cause, Checkpoint};
use super::format::entry::Entry;
use super::format::event;
use super::format::merkle::{Frontier, TreeHash};
use super::format::note::Signer;
use super::format::outcome;
use super::format::timestamp::Timestamp;
use super::layout::{self, CHECKPOINTS, CURRENT, PUBLIC_KEY};
use super::proof::prove;
use super::usage::{USAGE, UsageFilter, UsageIndex};
use super::verify::{Ask, directory};
use crate::secret::SecretBytes;

/// Lines without being asked for many.
const FEW: u64 = 20_000;
/// Lines between two checkpoints.
const EVERY: u64 = 1000;

fn lines() -> u64 {
    if std::env::var_os("EGRET_TEST_LONG").is_none() {
        return FEW;
    }
    let lines = std::env::var("EGRET_TEST_LINES").ok();
    lines
        .and_then(|lines| lines.parse().ok())
        .unwrap_or(10_000_000)
}

/// Uses of 20 credentials by 50 actions, each followed by its result.
fn entry(number: u64) -> Entry<'static> {
    let use_number = number / 2;
    let name = |prefix: &str, number: u64| Some(format!("{prefix}-{number}").into());
    let used = Entry {
        request: Some(format!("req-2b6a051f-{use_number:x}").into()),
        slug: name("credential", use_number % 20),
        version: Some(u32::try_from(1 + use_number % 3).unwrap_or(1)),
        owner: name("owner", 0),
        principal: name("owner", 0),
        client: name("laptop", use_number % 7),
        action: name("action", use_number % 50),
        action_source: Some("asserted".into()),
        run: name("run", use_number / 1000),
        method: Some("GET".into()),
        destination: Some("https://api.example.com:443".into()),
        path: Some(format!("/v1/things/{use_number}").into()),
        locations: vec!["header:authorization".into()],
        outcome: Some(outcome::USED.into()),
        ..Entry::new(event::USE)
    };
    if number.is_multiple_of(2) {
        return used;
    }
    Entry {
        event: event::RESULT.into(),
        locations: Vec::new(),
        outcome: Some(outcome::FORWARDED.into()),
        status: Some(200),
        duration_ms: Some(number % 1000),
        bytes: Some(number % 100_000),
        ..used
    }
}

/// Writes the ledger: a compressed file, a rotated one, and the current one.
fn write(dir: &Path, lines: u64) {
    let signer = Signer::of_ledger(&SecretBytes::new(vec![9; 32])).unwrap();
    let (mut chain, mut tree) = (Chain::start(), Frontier::default());
    let mut notes = BufWriter::new(File::create(dir.join(CHECKPOINTS)).unwrap());
    let third = lines / 3;
    let mut out = BufWriter::new(File::create(layout::rotated(dir, 1)).unwrap());
    let mut line = Vec::new();
    for number in 0..lines {
        if number > 0 && number % third == 0 && number + third <= lines {
            let path = match number / third {
                1 => layout::rotated(dir, number + 1),
                _ => dir.join(CURRENT),
            };
            out = BufWriter::new(File::create(path).unwrap());
        }
        line.clear();
        let time = Timestamp::from_unix_micros(
            1_795_339_800_000_000 + i64::try_from(number * 100_000).unwrap(),
        );
        chain.append(time, &entry(number).encode(), &mut line);
        out.write_all(&line).unwrap();
        tree.push(TreeHash::of_leaf(line.strip_suffix(b"\n").unwrap()));
        let size = number + 1;
        if size % EVERY == 0 || size % third == 0 || size == lines {
            let checkpoint = Checkpoint {
                origin: signer.verifier().name().clone(),
                tree: tree.clone(),
                head: chain.head(),
                time,
                cause: Cause::Count,
            };
            writeln!(notes, "{}", checkpoint.sign(&signer).unwrap()).unwrap();
        }
    }
    out.flush().unwrap();
    notes.flush().unwrap();
    fs::write(dir.join(PUBLIC_KEY), format!("{}\n", signer.verifier())).unwrap();
    let first = layout::rotated(dir, 1);
    let packed = File::create(layout::compressed(dir, 1)).unwrap();
    zstd::stream::copy_encode(File::open(&first).unwrap(), packed, 1).unwrap();
    fs::remove_file(first).unwrap();
}

#[tokio::test]
async fn a_ledger_of_any_length_is_checked_proven_and_asked() {
    let lines = lines();
    let dir = tempfile::tempdir().unwrap();
    let timed = |what: &str, start: Instant| println!("{what}: {:?}", start.elapsed());
    let start = Instant::now();
    write(dir.path(), lines);
    timed("written", start);

    let start = Instant::now();
    let report = directory(dir.path(), &Ask::default()).unwrap().report;
    let took = start.elapsed().as_secs_f64();
    assert_eq!(
        (report.lines, report.last, report.unsigned),
        (lines, lines, 0)
    );
    #[allow(clippy::cast_precision_loss)] // A rate for people.
    let rate = lines as f64 / took;
    println!(
        "verified {lines} lines, {} checkpoints in {took:.2} s: {rate:.0} lines/s",
        report.checkpoints
    );

    let start = Instant::now();
    prove(dir.path(), lines - 1, None).unwrap();
    timed("proven", start);

    let start = Instant::now();
    let index = UsageIndex::open(dir.path()).await.unwrap();
    index.close().await;
    timed("index made from nothing", start);

    for _ in 0..3 {
        let start = Instant::now();
        let mut index = UsageIndex::open(dir.path()).await.unwrap();
        let usage = index.usage("owner-0", "credential-7").await.unwrap();
        timed("usage, opened, caught up and asked", start);
        index.close().await;
        assert_eq!(
            usage.uses,
            (0..lines / 2).filter(|number| number % 20 == 7).count() as u64
        );
        assert_eq!((usage.from_seq, usage.to_seq), (1, lines));
        let ended: u64 = usage
            .actions
            .iter()
            .flat_map(|used| used.outcomes.values())
            .sum();
        assert_eq!(ended, usage.uses, "each request of these has one use");
    }
    let size = fs::metadata(dir.path().join(USAGE)).unwrap().len();
    println!("index: {} KiB for {lines} lines", size / 1024);
    let mut index = UsageIndex::open(dir.path()).await.unwrap();
    let id = ("owner-0", "credential-7");
    let text = |text: &str| Some(text.to_owned());
    let any = UsageFilter::default();
    for (what, filter) in [
        ("no filter", any.clone()),
        (
            "action",
            UsageFilter {
                action: text("action-7"),
                ..any.clone()
            },
        ),
        (
            "nothing fits",
            UsageFilter {
                client: text("none"),
                ..any.clone()
            },
        ),
        (
            "refusals",
            UsageFilter {
                refused: Some(true),
                ..any.clone()
            },
        ),
    ] {
        let start = Instant::now();
        index.lines(id, &filter, None, 50).await.unwrap();
        index.hours(id, &filter).await.unwrap();
        index.choices(id, &any).await.unwrap();
        timed(&format!("recent usage, {what}"), start);
    }
    index.close().await;
}
