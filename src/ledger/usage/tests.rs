use std::fs;
use std::io::Write as _;

use super::*;
use crate::ledger::format::chain::Chain;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::outcome;
use crate::ledger::format::text::Text;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout::{self, CURRENT};

/// A ledger that grows, and the entries in it.
pub(super) struct Growing {
    pub(super) dir: tempfile::TempDir,
    chain: Chain,
    entries: Vec<Entry<'static>>,
}

fn text(value: &str) -> Option<Text<'static>> {
    Some(value.to_owned().into())
}

pub(super) fn used(request: &str, action: &str, version: u32) -> Entry<'static> {
    Entry {
        request: text(request),
        slug: text("pat"),
        owner: text("alice"),
        action: text(action),
        version: Some(version),
        ..Entry::new(event::USE)
    }
}

fn result(request: &str, status: u16) -> Entry<'static> {
    Entry {
        request: text(request),
        status: Some(status),
        ..Entry::new(event::RESULT)
    }
}

fn micros(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

impl Growing {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            chain: Chain::start(),
            entries: Vec::new(),
        }
    }

    pub(super) fn with(entries: impl IntoIterator<Item = Entry<'static>>) -> Self {
        let mut ledger = Self::new();
        ledger.grow(entries);
        ledger
    }

    pub(super) fn grow(&mut self, entries: impl IntoIterator<Item = Entry<'static>>) {
        let mut lines = Vec::new();
        for entry in entries {
            let time = micros(i64::try_from(self.chain.next_seq()).unwrap());
            self.chain.append(time, &entry.encode(), &mut lines);
            self.entries.push(entry);
        }
        let path = self.dir.path().join(CURRENT);
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(&lines).unwrap();
    }

    fn rotate(&self, first: u64, compress: bool) {
        let current = self.dir.path().join(CURRENT);
        if compress {
            let packed = zstd::encode_all(fs::File::open(&current).unwrap(), 1).unwrap();
            fs::write(layout::compressed(self.dir.path(), first), packed).unwrap();
            fs::remove_file(current).unwrap();
        } else {
            fs::rename(current, layout::rotated(self.dir.path(), first)).unwrap();
        }
    }

    async fn open(&self) -> UsageIndex {
        UsageIndex::open(self.dir.path()).await.unwrap()
    }

    async fn usage(&self) -> Usage {
        let mut index = self.open().await;
        let usage = index.usage("alice", "pat").await.unwrap();
        index.close().await;
        usage
    }

    /// What an index made in one go says.
    async fn rebuilt(&self) -> Usage {
        schema::remove(self.dir.path());
        self.usage().await
    }
}

fn outcomes(usage: &ActionUsage) -> Vec<(&str, u64)> {
    let outcomes = usage.outcomes.iter();
    outcomes
        .map(|(name, count)| (name.as_str(), *count))
        .collect()
}

#[tokio::test]
async fn uses_are_counted_by_action_with_their_results() {
    let ledger = Growing::with([
        used("r1", "report", 1),
        used("r2", "report", 2),
        used("r3", "sync", 2),
        result("r1", 200),
        result("r2", 404),
        result("r9", 200),
    ]);
    let usage = ledger.usage().await;
    assert_eq!((usage.uses, usage.last_used), (3, Some(micros(3))));
    assert_eq!((usage.from_seq, usage.to_seq), (1, 6));
    let [sync, report] = usage.actions.as_slice() else {
        panic!("two actions, not {:?}", usage.actions);
    };
    assert_eq!((report.action.as_str(), report.uses), ("report", 2));
    assert_eq!(report.versions.iter().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(outcomes(report), [("200", 1), ("404", 1)]);
    assert_eq!(outcomes(sync), [("open", 1)]);
    let recent: Vec<_> = usage
        .recent
        .iter()
        .map(|used| (used.seq, used.outcome.as_deref()))
        .collect();
    assert_eq!(recent, [(3, None), (2, Some("404")), (1, Some("200"))]);
}

#[tokio::test]
async fn two_fields_in_one_request_have_one_result() {
    let ledger = Growing::with([used("r1", "a", 1), used("r1", "a", 1), result("r1", 200)]);
    let usage = ledger.usage().await;
    assert_eq!(usage.uses, 2);
    assert_eq!(outcomes(&usage.actions[0]), [("200", 1)]);
}

#[tokio::test]
async fn a_request_that_the_index_meets_twice_has_one_result() {
    let mut ledger = Growing::with([used("r1", "a", 1), used("r1", "b", 1)]);
    assert_eq!(outcomes(&ledger.usage().await.actions[0]), [("open", 1)]);
    // It goes on using one of them, and ends.
    ledger.grow([used("r1", "a", 1), result("r1", 200)]);
    let usage = ledger.usage().await;
    assert_eq!((usage.actions.len(), usage.uses), (2, 3));
    for used in &usage.actions {
        assert_eq!(outcomes(used), [("200", 1)], "{}", used.action);
    }
    assert_eq!(usage, ledger.rebuilt().await);
}

#[tokio::test]
async fn another_owners_credential_of_that_name_does_not_count() {
    let mut other = used("r1", "a", 1);
    other.owner = text("bob");
    let usage = Growing::with([other]).usage().await;
    assert_eq!((usage.uses, usage.actions.len()), (0, 0));
}

#[tokio::test]
async fn refusals_are_counted_for_the_principal_who_asked() {
    let denied = Entry {
        slug: text("pat"),
        principal: text("alice"),
        action: text("a"),
        ..Entry::new(event::DENIED)
    };
    let usage = Growing::with([denied]).usage().await;
    assert_eq!((usage.denied, usage.last_used), (1, None));
}

#[tokio::test]
async fn what_a_crash_left_open_ends_unknown() {
    let recovered = Entry {
        outcome: Some(outcome::UNKNOWN.into()),
        ..Entry {
            event: event::RECOVERED.into(),
            ..used("r1", "a", 1)
        }
    };
    let usage = Growing::with([used("r1", "a", 1), recovered]).usage().await;
    assert_eq!(usage.uses, 1);
    assert_eq!(outcomes(&usage.actions[0]), [("unknown", 1)]);
}

#[tokio::test]
async fn an_index_that_grew_with_the_ledger_says_what_one_made_anew_says() {
    let mut ledger = Growing::new();
    for step in 0..12_u32 {
        let name = |number: u32| format!("r{number}");
        ledger.grow([
            used(&name(step), &format!("action-{}", step % 3), step / 4),
            used(&name(step), "other", 1),
        ]);
        if step >= 2 {
            ledger.grow([result(
                &name(step - 2),
                200 + u16::try_from(step % 2).unwrap(),
            )]);
        }
        let usage = ledger.usage().await;
        assert_eq!(usage.to_seq, ledger.entries.len() as u64);
        if step == 4 || step == 8 {
            let first = ledger.entries.len() as u64 + 1;
            ledger.rotate(if step == 4 { 1 } else { 15 }, step == 4);
            assert_eq!(ledger.chain.next_seq(), first);
        }
        assert_eq!(usage.uses, 2 * (u64::from(step) + 1));
    }
    let grown = ledger.usage().await;
    assert_eq!(grown, ledger.rebuilt().await);
    let requests: u64 = grown
        .actions
        .iter()
        .flat_map(|used| used.outcomes.values())
        .sum();
    assert_eq!(requests, 24);
}

async fn kept(index: &mut UsageIndex) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM recent")
        .fetch_one(&mut index.connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_more_credentials_there_are_the_fewer_uses_are_kept_of_each() {
    let uses = || (0..250).map(|number| used(&format!("r{number}"), "a", 1));
    let mut ledger = Growing::with(uses());
    let mut index = ledger.open().await;
    assert_eq!(kept(&mut index).await, 250);
    let created = (0..6000).map(|number| Entry {
        slug: text(&format!("other-{number}")),
        owner: text("bob"),
        ..Entry::new("credential.created")
    });
    ledger.grow(created);
    index.catch_up(|| true).await.unwrap();
    // As many as all share, and no fewer than the least.
    ledger.grow(uses());
    index.catch_up(|| true).await.unwrap();
    assert_eq!(kept(&mut index).await, 100);
    let usage = index.usage("alice", "pat").await.unwrap();
    assert_eq!((usage.uses, usage.recent.len()), (500, 20));
    assert_eq!(usage.recent[0].seq, 6500);
    let hours = index.hours(PAT, &UsageFilter::default()).await.unwrap();
    assert_eq!(hours.iter().map(|hour| hour.uses).sum::<u64>(), 500);
    // What is not kept one by one is said, and its action is not forgotten.
    let since = index.kept_since(PAT).await.unwrap();
    let last = &index
        .lines(PAT, &UsageFilter::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(since.lines, Some(last[99].line.time));
    assert_eq!(since.hours, None);
    let start = Timestamp::from_unix_micros(0);
    let actions = index.actions_since(PAT, start, 10).await.unwrap();
    assert_eq!(actions, [("a".to_owned(), last[0].line.time)]);
    let later = Timestamp::from_unix_micros(last[0].line.time.unix_micros() + 1);
    assert_eq!(index.actions_since(PAT, later, 10).await.unwrap(), []);
}

#[tokio::test]
async fn whoever_waits_does_not_wait_for_another_ones_batch() {
    let mut ledger = Growing::with([used("r1", "a", 1)]);
    let mut writer = ledger.open().await;
    let connection: &mut sqlx::SqliteConnection = &mut writer.connection;
    ledger.grow([used("r2", "a", 1)]);
    let busy = sqlx::Connection::begin_with(connection, "BEGIN IMMEDIATE")
        .await
        .unwrap();
    let wait = std::time::Duration::from_millis(1);
    let mut behind = UsageIndex::open_within(ledger.dir.path(), wait)
        .await
        .unwrap();
    // Well before the time that a command waits for another one's batch.
    assert_eq!(behind.known().await.unwrap(), 1);
    assert_eq!(behind.usage("alice", "pat").await.unwrap().uses, 1);
    drop(busy);
}

const PAT: (&str, &str) = ("alice", "pat");

/// A use by `client` for `action`.
fn by(request: &str, client: &str, action: &str) -> Entry<'static> {
    Entry {
        client: text(client),
        principal: text("alice"),
        method: text("GET"),
        destination: text("https://api.example.com:443"),
        locations: vec!["header:authorization".into()],
        ..used(request, action, 1)
    }
}

fn refused(client: &str, action: &str) -> Entry<'static> {
    Entry {
        slug: text("pat"),
        principal: text("alice"),
        client: text(client),
        action: text(action),
        code: text("credential_not_allowed"),
        ..Entry::new(event::DENIED)
    }
}

async fn seqs(index: &mut UsageIndex, filter: &UsageFilter) -> Vec<u64> {
    let lines = index.lines(PAT, filter, None, 10).await.unwrap();
    lines.iter().map(|line| line.line.seq).collect()
}

#[tokio::test]
async fn uses_and_refusals_are_found_by_what_they_have() {
    let ledger = Growing::with([
        by("r1", "laptop", "report"),
        Entry {
            first: Some(vec!["client".into(), "destination".into()]),
            ..by("r2", "ci", "report")
        },
        refused("ci", "sync"),
        result("r1", 200),
        Entry {
            first: Some(vec!["action".into()]),
            ..by("r3", "ci", "sync")
        },
    ]);
    let mut index = ledger.open().await;
    let text = |text: &str| Some(text.to_owned());
    let any = UsageFilter::default();
    assert_eq!(seqs(&mut index, &any).await, [5, 3, 2, 1]);
    for (filter, expected) in [
        (
            UsageFilter {
                action: text("sync"),
                ..any.clone()
            },
            &[5, 3][..],
        ),
        (
            UsageFilter {
                client: text("ci"),
                ..any.clone()
            },
            &[5, 3, 2],
        ),
        (
            UsageFilter {
                outcome: text("200"),
                ..any.clone()
            },
            &[1],
        ),
        (
            UsageFilter {
                outcome: text("open"),
                ..any.clone()
            },
            &[5, 2],
        ),
        (
            UsageFilter {
                refused: Some(true),
                ..any.clone()
            },
            &[3],
        ),
        (
            UsageFilter {
                version: Some(2),
                ..any.clone()
            },
            &[],
        ),
        (
            UsageFilter {
                since: Some(micros(3)),
                ..any.clone()
            },
            &[5, 3],
        ),
        (
            UsageFilter {
                until: Some(micros(3)),
                ..any.clone()
            },
            &[2, 1],
        ),
    ] {
        assert_eq!(seqs(&mut index, &filter).await, expected, "{filter:?}");
    }
    let page = index.lines(PAT, &any, Some(3), 1).await.unwrap();
    assert_eq!(page[0].line.seq, 2);
    let lines = index.lines(PAT, &any, None, 10).await.unwrap();
    let first: Vec<_> = lines.iter().map(|line| line.first.join(" ")).collect();
    assert_eq!(first, ["action", "", "client destination", ""]);
    assert_eq!(lines[3].places, "header:authorization");
    assert!(lines[1].refused);

    let choices = index.choices(PAT, &any).await.unwrap();
    assert_eq!(choices.clients, ["ci", "laptop"]);
    assert_eq!(choices.actions, ["report", "sync"]);
    assert!(choices.outcomes.contains(&"open".to_owned()));
    let none = UsageFilter {
        principal: Some("nobody".to_owned()),
        ..any.clone()
    };
    assert_eq!(index.choices(PAT, &none).await.unwrap(), Choices::default());
    let actions = index.actions(PAT, &any, 9).await.unwrap();
    assert_eq!((actions[0].action.as_str(), actions[0].uses), ("report", 2));
    let ci = index.client("alice", "ci").await.unwrap().unwrap();
    assert_eq!((ci.uses, ci.refused, &*ci.last_action), (2, 1, "sync"));
    assert_eq!(index.client("alice", "none").await.unwrap(), None);
    let last = index
        .last_actions(&[("alice".into(), "pat".into())])
        .await
        .unwrap();
    assert_eq!(
        last[&("alice".into(), "pat".into())],
        (micros(5), "sync".into())
    );
}

#[tokio::test]
async fn hours_that_grew_with_the_ledger_are_those_made_anew() {
    let mut ledger = Growing::new();
    let steps: [Vec<Entry<'static>>; 4] = [
        vec![by("r1", "ci", "a"), by("r2", "ci", "a")],
        vec![by("r1", "ci", "a"), result("r2", 404), refused("ci", "a")],
        vec![result("r1", 200), by("r3", "ci", "b")],
        vec![result("r3", 500)],
    ];
    let outcome = |outcome: &str| UsageFilter {
        outcome: text(outcome).map(|text| text.to_string()),
        ..UsageFilter::default()
    };
    for step in steps {
        ledger.grow(step);
        ledger.usage().await;
    }
    for round in ["grown", "rebuilt"] {
        if round == "rebuilt" {
            ledger.rebuilt().await;
        }
        let mut index = ledger.open().await;
        for (filter, uses, refused) in [
            (UsageFilter::default(), 4, 1),
            (outcome("200"), 2, 0),
            (outcome("404"), 1, 0),
            (outcome("500"), 1, 0),
        ] {
            let hours = index.hours(PAT, &filter).await.unwrap();
            let [hour] = hours.as_slice() else {
                panic!("{round}, {filter:?}: {hours:?}");
            };
            assert_eq!(
                (hour.uses, hour.refused),
                (uses, refused),
                "{round}, {filter:?}"
            );
        }
        assert_eq!(index.hours(PAT, &outcome("open")).await.unwrap(), []);
        index.close().await;
    }
}

#[tokio::test]
async fn whoever_waits_gets_what_is_known() {
    let ledger = Growing::with([used("r1", "a", 1)]);
    let wait = std::time::Duration::ZERO;
    let mut behind = UsageIndex::open_within(ledger.dir.path(), wait)
        .await
        .unwrap();
    assert_eq!(behind.known().await.unwrap(), 0);
    behind.close().await;
    let wait = std::time::Duration::from_secs(60);
    let mut index = UsageIndex::open_within(ledger.dir.path(), wait)
        .await
        .unwrap();
    assert_eq!(index.known().await.unwrap(), 1);
}

#[tokio::test]
async fn an_index_that_is_damaged_or_gone_is_made_again() {
    let ledger = Growing::with([used("r1", "a", 1), result("r1", 200)]);
    let expected = ledger.usage().await;
    let path = ledger.dir.path().join(USAGE);
    let garbage: [&[u8]; 3] = [
        b"",
        b"not a database at all, but long enough to be taken for one",
        &[0; 9000],
    ];
    for content in garbage {
        fs::write(&path, content).unwrap();
        assert_eq!(ledger.usage().await, expected);
    }
    // Damage in the middle of what was a good one.
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    assert_eq!(ledger.usage().await, expected);
    fs::remove_file(&path).unwrap();
    assert_eq!(ledger.usage().await, expected);
}

#[tokio::test]
async fn an_index_of_another_ledger_is_made_again() {
    let one = Growing::with([used("r1", "a", 1), used("r2", "a", 1), result("r1", 200)]);
    let other = Growing::with([used("r1", "b", 1), used("r2", "b", 1), result("r1", 404)]);
    one.usage().await;
    fs::copy(one.dir.path().join(USAGE), other.dir.path().join(USAGE)).unwrap();
    let usage = other.usage().await;
    assert_eq!(usage.actions.len(), 1);
    assert_eq!(usage.actions[0].action, "b");
}

#[tokio::test]
async fn lines_that_were_taken_back_do_not_count() {
    let mut ledger = Growing::with([used("r1", "a", 1)]);
    let (chain, length) = (
        ledger.chain.clone(),
        fs::metadata(ledger.dir.path().join(CURRENT)).unwrap().len(),
    );
    ledger.grow([used("r2", "failed", 1)]);
    assert_eq!(ledger.usage().await.uses, 2);
    let current = fs::OpenOptions::new()
        .append(true)
        .open(ledger.dir.path().join(CURRENT));
    current.unwrap().set_len(length).unwrap();
    ledger.chain = chain;
    ledger.grow([used("r3", "a", 1)]);
    let usage = ledger.usage().await;
    assert_eq!((usage.uses, usage.actions.len()), (2, 1));
}

#[tokio::test]
async fn counts_outlive_the_files_that_were_dropped() {
    let mut ledger = Growing::with([used("r1", "a", 1)]);
    ledger.usage().await;
    ledger.rotate(1, false);
    ledger.grow([used("r2", "a", 1)]);
    ledger.usage().await;
    fs::remove_file(layout::rotated(ledger.dir.path(), 1)).unwrap();
    ledger.grow([result("r1", 200)]);
    let usage = ledger.usage().await;
    assert_eq!((usage.uses, usage.from_seq), (2, 1));
    let rebuilt = ledger.rebuilt().await;
    assert_eq!((rebuilt.uses, rebuilt.from_seq), (1, 2));
}

#[tokio::test]
async fn where_no_file_can_be_kept_the_answer_is_the_same() {
    let ledger = Growing::with([used("r1", "a", 1)]);
    // A directory in the file's place, which nothing can be written to and nothing removes.
    fs::create_dir(ledger.dir.path().join(USAGE)).unwrap();
    assert_eq!(ledger.usage().await.uses, 1);
    assert_eq!(ledger.open().await.last_uses().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_ledger_that_does_not_exist_has_no_uses() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = UsageIndex::open(&dir.path().join("none")).await.unwrap();
    assert_eq!(index.usage("alice", "pat").await.unwrap().uses, 0);
}

#[tokio::test]
async fn lines_that_come_back_are_counted() {
    let mut ledger = Growing::new();
    let names = ["r1", "r2", "r3"];
    let mut firsts = Vec::new();
    for name in names {
        firsts.push(ledger.chain.next_seq());
        ledger.grow([used(name, "a", 1), result(name, 200)]);
        ledger.rotate(*firsts.last().unwrap(), false);
    }
    ledger.grow([used("r4", "a", 1)]);
    let whole = ledger.usage().await;
    assert_eq!(whole.uses, 4);
    for first in &firsts {
        let path = layout::rotated(ledger.dir.path(), *first);
        let away = ledger.dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        assert_eq!(ledger.rebuilt().await.uses, 3, "{first}");
        assert_eq!(ledger.usage().await.uses, 3, "{first}");
        fs::rename(&away, &path).unwrap();
        assert_eq!(ledger.usage().await, whole, "{first}");
    }
    // What retention drops was counted, and stays so.
    fs::remove_file(layout::rotated(ledger.dir.path(), firsts[0])).unwrap();
    assert_eq!(ledger.usage().await.uses, 4);
}

#[tokio::test]
async fn a_credential_that_was_never_used_is_known_by_its_administrative_lines() {
    let created = Entry {
        slug: text("pat"),
        owner: text("alice"),
        action: text("cli:bob"),
        ..Entry::new("credential.created")
    };
    let usage = Growing::with([created]).usage().await;
    assert!(usage.is_known && usage.actions.is_empty() && usage.uses == 0);
    let usage = Growing::with([result("r1", 200)]).usage().await;
    assert!(!usage.is_known);
}

#[tokio::test]
async fn a_rejection_lasts_until_it_is_taken_back_or_a_success_shows_that_it_is_over() {
    let about = |name: &'static str| Entry {
        slug: text("pat"),
        owner: text("alice"),
        version: Some(1),
        ..Entry::new(name)
    };
    let mut ledger = Growing::with([used("r1", "report", 1), result("r1", 401)]);
    ledger.grow([about(event::REJECTED)]);
    let rejected = async |ledger: &Growing| {
        let rejections = ledger.open().await.rejections().await.unwrap();
        let of_pat = rejections
            .get(&("alice".to_owned(), "pat".to_owned()))
            .copied();
        assert_eq!(
            of_pat.map(|(_, since)| since),
            ledger.usage().await.rejected_since
        );
        of_pat
    };
    assert_eq!(rejected(&ledger).await, Some((1, micros(3))));
    ledger.grow([about(event::ACCEPTED)]);
    assert_eq!(rejected(&ledger).await, None);
    // A server that was started again has forgotten it, and says nothing at the next success.
    ledger.grow([
        about(event::REJECTED),
        used("r2", "report", 1),
        result("r2", 403),
    ]);
    assert_eq!(rejected(&ledger).await, Some((1, micros(5))));
    ledger.grow([used("r3", "report", 2), result("r3", 200)]);
    assert_eq!(
        rejected(&ledger).await,
        Some((1, micros(5))),
        "another version"
    );
    ledger.grow([used("r4", "report", 1), result("r4", 204)]);
    assert_eq!(rejected(&ledger).await, None);
}
