//! A ledger of millions of lines: how long its check takes, and the answer to who used what.
//!
//! ```sh
//! EGRET_TEST_LONG=1 cargo test --release --lib ledger::scale -- --nocapture
//! ```
//!
//! prints the numbers; `EGRET_TEST_LINES` sets how many lines, ten million unless said otherwise.
//! Only a start has a limit.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::writer::signing::{Seal, Signing};
use super::{Durability, Ledger, Options};
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

/// Uses of 20 credentials by 50 actions, each followed by its result. Every fiftieth use of each credential is
/// refused by its service, and two lines of about every thousand are refusals of Egret.
fn entry(number: u64) -> Entry<'static> {
    let use_number = number / 2;
    let turn = use_number / 20;
    let name = |prefix: &str, number: u64| Some(format!("{prefix}-{number}").into());
    let used = Entry {
        request: Some(format!("req-2b6a051f-{use_number:x}").into()),
        slug: name("credential", use_number % 20),
        version: Some(u32::try_from(1 + turn / 10_000).unwrap_or(1)),
        owner: name("owner", 0),
        principal: name("owner", 0),
        client: name("laptop", turn % 50 % 7),
        action: name("action", turn % 50),
        action_source: Some("asserted".into()),
        run: name("run", use_number / 1000),
        method: Some("GET".into()),
        destination: Some(format!("https://api-{}.example.com:443", turn % 50 % 5).into()),
        path: Some(format!("/v1/things/{use_number}").into()),
        locations: vec!["header:authorization".into()],
        outcome: Some(outcome::USED.into()),
        ..Entry::new(event::USE)
    };
    if is_refused(number) {
        return Entry {
            event: event::DENIED.into(),
            version: None,
            code: Some("credential_not_allowed".into()),
            outcome: Some(outcome::DENIED.into()),
            ..used
        };
    }
    if number.is_multiple_of(2) {
        return used;
    }
    Entry {
        event: event::RESULT.into(),
        locations: Vec::new(),
        outcome: Some(outcome::FORWARDED.into()),
        status: Some(if turn % 50 == 49 { 401 } else { 200 }),
        duration_ms: Some(number % 1000),
        bytes: Some(number % 100_000),
        ..used
    }
}

/// Ten lines a second.
fn time(number: u64) -> Timestamp {
    Timestamp::from_unix_micros(1_795_339_800_000_000 + i64::try_from(number * 100_000).unwrap())
}

fn is_refused(number: u64) -> bool {
    // Not a multiple of 20 uses, so that each credential has some.
    number % 1014 >= 1012
}

/// Writes the ledger, so many lines into a file: a compressed file, rotated ones, and the current one. Its last
/// checkpoint is for `end`.
fn write(dir: &Path, lines: u64, file: u64, end: Cause) {
    let signer = Signer::of_ledger(&SecretBytes::new(vec![9; 32])).unwrap();
    let (mut chain, mut tree) = (Chain::start(), Frontier::default());
    let mut notes = BufWriter::new(File::create(dir.join(CHECKPOINTS)).unwrap());
    let files = lines / file;
    let mut out = BufWriter::new(File::create(layout::rotated(dir, 1)).unwrap());
    let mut line = Vec::new();
    for number in 0..lines {
        if number > 0 && number % file == 0 && number / file < files {
            let path = if number / file == files - 1 {
                dir.join(CURRENT)
            } else {
                layout::rotated(dir, number + 1)
            };
            out = BufWriter::new(File::create(path).unwrap());
        }
        line.clear();
        let time = time(number);
        chain.append(time, &entry(number).encode(), &mut line);
        out.write_all(&line).unwrap();
        tree.push(TreeHash::of_leaf(line.strip_suffix(b"\n").unwrap()));
        let size = number + 1;
        if size % EVERY == 0 || size % file == 0 || size == lines {
            let checkpoint = Checkpoint {
                origin: signer.verifier().name().clone(),
                tree: tree.clone(),
                head: chain.head(),
                time,
                cause: if size == lines { end } else { Cause::Count },
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
    write(dir.path(), lines, lines / 3, Cause::Shutdown);
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
        assert_eq!(usage.uses, uses_of_seven(lines));
        assert_eq!((usage.from_seq, usage.to_seq), (1, lines));
        assert!(usage.denied > 0);
        let ended: u64 = usage
            .actions
            .iter()
            .flat_map(|used| used.outcomes.values())
            .sum();
        assert_eq!(ended, usage.uses, "each request of these has one use");
    }
    let size = fs::metadata(dir.path().join(USAGE)).unwrap().len();
    println!(
        "index: {} KiB for {lines} lines, {} KiB for each million",
        size / 1024,
        size / 1024 * 1_000_000 / lines.max(1)
    );
    let mut index = UsageIndex::open(dir.path()).await.unwrap();
    ask(&mut index, lines).await;
    index.close().await;
    rebuild(dir.path(), lines).await;
}

/// Seals nothing: the key of this ledger is known.
struct Open;

impl Seal for Open {
    fn seal(&self, seed: &SecretBytes) -> Result<Vec<u8>, String> {
        Ok(seed.expose().to_vec())
    }

    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
        Ok(SecretBytes::new(sealed.to_vec()))
    }
}

/// As many lines as `ledger.max_size` has room for, unless there are few.
const FILE: u64 = 120_000;
/// How long a start may take.
const LONGEST: Duration = Duration::from_secs(2);

/// A restart, and a hand-over while the last few hundred requests go on. Both read the last file, whatever
/// lies in the others.
#[tokio::test]
async fn a_writer_starts_at_once_on_a_ledger_of_any_length() {
    let lines = lines();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), lines, FILE.min(lines / 10), Cause::Shutdown);
    let signing = signing(dir.path());
    for follows in [None, Some(lines - 500)] {
        let options = Options {
            follows,
            is_brief: true,
            ..Options::default()
        };
        let start = Instant::now();
        let ledger = Ledger::open_signed(dir.path(), Durability::Commit, options, &signing);
        let took = start.elapsed();
        println!("a start after {lines} lines, follows {follows:?}: {took:?}");
        assert!(took < LONGEST, "{took:?}");
        ledger.unwrap().close().await.unwrap();
    }
}

fn signing(dir: &Path) -> Signing {
    fs::write(dir.join(layout::SIGNING_KEY), [9; 32]).unwrap();
    Signing {
        seal: Arc::new(Open),
        head: dir.join("head"),
    }
}

/// A start after a crash in the middle of requests: what has no result is looked for in the last million lines.
#[tokio::test]
async fn a_writer_starts_soon_after_a_crash() {
    let lines = lines();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), lines, FILE.min(lines / 10), Cause::Count);
    let signing = signing(dir.path());
    let options = Options {
        is_brief: true,
        ..Options::default()
    };
    let start = Instant::now();
    let ledger = Ledger::open_signed(dir.path(), Durability::Commit, options, &signing);
    let took = start.elapsed();
    println!("a start after a crash, {lines} lines: {took:?}");
    // Each line is looked at, which takes a build without optimizations many times as long.
    let slower = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(took < slower * LONGEST, "{took:?}");
    ledger.unwrap().close().await.unwrap();
}

fn uses_of_seven(lines: u64) -> u64 {
    let uses = (0..lines / 2).filter(|number| number % 20 == 7 && !is_refused(number * 2));
    uses.count() as u64
}

/// Recent usage as the page reads it, for each filter and for all of them together, as a ratio to the same of
/// a credential that has no line.
async fn ask(index: &mut UsageIndex, lines: u64) {
    let text = |text: &str| Some(text.to_owned());
    let any = UsageFilter::default;
    let at = |line: u64| Some(time(line));
    let all = UsageFilter {
        action: text("action-7"),
        client: text("laptop-0"),
        principal: text("owner-0"),
        destination: text("https://api-2.example.com:443"),
        outcome: text("200"),
        refused: Some(false),
        since: at(lines / 2),
        until: at(lines),
        ..any()
    };
    let last = entry(lines - 26);
    let filters = [
        ("no filter", any()),
        (
            "action",
            UsageFilter {
                action: all.action.clone(),
                ..any()
            },
        ),
        (
            "client",
            UsageFilter {
                client: all.client.clone(),
                ..any()
            },
        ),
        (
            "user",
            UsageFilter {
                principal: all.principal.clone(),
                ..any()
            },
        ),
        (
            "destination",
            UsageFilter {
                destination: all.destination.clone(),
                ..any()
            },
        ),
        (
            "outcome",
            UsageFilter {
                outcome: text("401"),
                ..any()
            },
        ),
        (
            "version",
            UsageFilter {
                version: last.version,
                ..any()
            },
        ),
        (
            "refusals",
            UsageFilter {
                refused: Some(true),
                ..any()
            },
        ),
        (
            "time",
            UsageFilter {
                since: all.since,
                until: all.until,
                ..any()
            },
        ),
        ("all of them", all),
        (
            "nothing fits",
            UsageFilter {
                client: text("none"),
                ..any()
            },
        ),
    ];
    let (plain, _) = page(index, "no-such-credential", &any()).await;
    println!("recent usage of a credential without lines: {plain:?}");
    for (what, filter) in &filters {
        let (took, found) = page(index, "credential-7", filter).await;
        let ratio = took.as_secs_f64() / plain.as_secs_f64();
        println!("recent usage, {what}: {took:?}, {found} lines, {ratio:.1} times the plain one");
        assert_eq!(found == 0, *what == "nothing fits", "{what}");
    }
    let mut slowest = (Duration::ZERO, String::new());
    for (place, (one, first)) in filters.iter().enumerate() {
        for (other, second) in &filters[place + 1..] {
            for since in [None, at(lines / 2)] {
                let filter = UsageFilter {
                    since,
                    ..both(first, second)
                };
                let (took, _) = page(index, "credential-7", &filter).await;
                let within = since.map_or("", |_| ", of the later half");
                slowest = slowest.max((took, format!("{one} and {other}{within}")));
            }
        }
    }
    println!(
        "recent usage, two filters: {:?} at most, for {}",
        slowest.0, slowest.1
    );
}

/// What either of two filters asks for.
fn both(one: &UsageFilter, other: &UsageFilter) -> UsageFilter {
    let (one, other) = (one.clone(), other.clone());
    UsageFilter {
        action: one.action.or(other.action),
        client: one.client.or(other.client),
        principal: one.principal.or(other.principal),
        destination: one.destination.or(other.destination),
        outcome: one.outcome.or(other.outcome),
        version: one.version.or(other.version),
        refused: one.refused.or(other.refused),
        since: one.since.or(other.since),
        until: one.until.or(other.until),
    }
}

/// What the page reads, the shortest of three times, and how many lines it has.
async fn page(index: &mut UsageIndex, slug: &str, filter: &UsageFilter) -> (Duration, usize) {
    let id = ("owner-0", slug);
    let (mut shortest, mut found) = (Duration::MAX, 0);
    for _ in 0..3 {
        let start = Instant::now();
        let span = UsageFilter {
            since: filter.since,
            until: filter.until,
            ..UsageFilter::default()
        };
        index.choices(id, &span).await.unwrap();
        index.hours(id, filter).await.unwrap();
        found = index.lines(id, filter, None, 51).await.unwrap().len();
        index.known().await.unwrap();
        shortest = shortest.min(start.elapsed());
    }
    (shortest, found)
}

/// Makes the index again as a server does while pages ask: each of them gets what is known, which grows.
async fn rebuild(dir: &Path, lines: u64) {
    for name in [
        USAGE.to_owned(),
        format!("{USAGE}-wal"),
        format!("{USAGE}-shm"),
    ] {
        let _ = fs::remove_file(dir.join(name));
    }
    let start = Instant::now();
    let (mut known, mut pages) = (0, 0_u32);
    while known < lines {
        let wait = Duration::from_millis(150);
        let mut index = UsageIndex::open_within(dir, wait).await.unwrap();
        let now = index.known().await.unwrap();
        index.close().await;
        assert!(now > known, "line {now} after line {known}");
        (known, pages) = (now, pages + 1);
    }
    println!(
        "made again in {pages} steps, each of which says how far it is: {:?}",
        start.elapsed()
    );
}
