//! What concerns the database file, by itself and under the vault of a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::database::Database;
use crate::files;
use crate::vault::fixture::*;
use crate::vault::model::{OVERLAP, Phase, Version};
use crate::vault::record::{CredentialRecord, Policy};
use crate::vault::rotation::Retention;
use crate::vault::store::Content;
use crate::vault::{Found, Kind, OpenError, State, Store, Vault};

impl Database {
    /// Runs SQL that no command would.
    pub(in crate::vault) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Saves many credentials of alice at once, each with a value that does not open.
    pub(super) async fn fill(&self, count: usize) {
        let actor = actor();
        let mut change = self.begin(&actor).await.unwrap();
        let now = change.now();
        for number in 0..count {
            let version = Version {
                number: 1,
                phase: Phase::Current,
                created: now,
                kept_until: None,
                rollback: false,
            };
            let policy = Policy {
                kind: Kind::Secret,
                description: String::new(),
                grant: grant(),
                state: State::Active,
                searched_until: None,
                created: now,
                rotated: now,
                rotate_every: None,
                last_version: 1,
                versions: vec![version],
                shares: Vec::new(),
                attachments: Vec::new(),
                stand_ins: Vec::new(),
            };
            let record = CredentialRecord::Live(Box::new(policy));
            let id = format!("alice/s{number}");
            change.put(&id, &record, None).await.unwrap();
        }
        let values = "INSERT INTO sealed_values
             SELECT 'alice', substr(id, 7), 1, '', x'00' FROM objects WHERE kind = 'credential'";
        sqlx::query(values)
            .execute(&mut *change.transaction)
            .await
            .unwrap();
        change.commit().await.unwrap();
    }

    /// How SQLite would run a query, without running it.
    async fn plan(&self, sql: &'static str) -> String {
        let rows = sqlx::raw_sql(sql).fetch_all(&self.pool).await.unwrap();
        rows.iter()
            .map(|row| sqlx::Row::get::<String, _>(row, "detail") + "\n")
            .collect()
    }
}

/// As where the disk is full: SQLite has ended the transaction before whoever began it rolls it back.
#[tokio::test]
async fn a_connection_whose_transaction_sqlite_has_ended_is_not_used_again() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let pool = &command.store().sqlite().pool;
    for _ in 0..8 {
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut *transaction).await;
        ended.unwrap();
    }
    command.add_secret("alice", "key", "value").await;
    let vault = fixture.vault().await;
    assert_eq!(vault.value("alice", "key").await.unwrap(), "value");
}

#[tokio::test]
async fn a_commit_of_another_process_is_noticed() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    fixture
        .registrar()
        .await
        .add_secret("alice", "key", "one")
        .await;
    assert_eq!(vault.value("alice", "key").await.unwrap(), "one");
    assert!(vault.is_fresh());
    let child = "vault::store::sqlite::tests::child_rotates_the_key";
    for round in ["two", "two+", "two++"] {
        let data = fixture.data_dir();
        tokio::task::spawn_blocking(move || run_in_another_process(child, &data, "022"))
            .await
            .unwrap();
        assert!(!vault.is_fresh(), "{round}");
        assert_eq!(vault.value("alice", "key").await.unwrap(), round);
    }
}

/// Each run closes its connections and with them checkpoints the log, like any command does.
#[tokio::test]
#[ignore = "run by another test in a process of its own"]
async fn child_rotates_the_key() {
    let Some(data) = told_data_dir() else { return };
    let command = registrar(&store_url(&data)).await;
    let (alice, key) = (principal("alice"), slug("key"));
    let version = command
        .store()
        .get(&alice, &key)
        .await
        .unwrap()
        .unwrap()
        .version;
    let value = format!("two{}", "+".repeat(version as usize - 1));
    command
        .rotate(&actor(), &alice, &key, secret(&value), Retention::default())
        .await
        .unwrap();
    command.store().close().await;
}

#[tokio::test]
async fn changes_are_noticed_across_checkpoints_and_restarts_of_the_log() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let (alice, key) = (principal("alice"), slug("key"));
    fixture
        .registrar()
        .await
        .add_secret("alice", "key", "0")
        .await;
    for round in 1..6 {
        let command = fixture.registrar().await;
        // Rotation empties the log, so each of these commits restarts it from its first frame.
        for step in 0..3 {
            let value = format!("{round}.{step}");
            command
                .rotate(&actor(), &alice, &key, secret(&value), Retention::default())
                .await
                .unwrap();
            assert_eq!(vault.value("alice", "key").await.unwrap(), value);
        }
        for mode in [
            "PRAGMA wal_checkpoint(PASSIVE)",
            "PRAGMA wal_checkpoint(RESTART)",
        ] {
            command.revoke(&actor(), &alice, &key).await.unwrap();
            command.store().sqlite().execute(mode).await;
            assert_eq!(vault.value("alice", "key").await, None);
            command.store().sqlite().execute(mode).await;
            command.restore(&actor(), &alice, &key).await.unwrap();
            assert!(vault.value("alice", "key").await.is_some());
        }
        command.store().close().await;
        assert!(vault.value("alice", "key").await.is_some());
    }
}

#[tokio::test]
async fn ciphertext_moved_to_another_row_does_not_open() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    command.add_secret("alice", "prod", "the real one").await;
    command.add_secret("mallory", "mine", "worthless").await;
    command
        .store()
        .sqlite()
        .execute(
            "UPDATE sealed_values SET sealed = (SELECT sealed FROM sealed_values WHERE slug = 'prod')
             WHERE slug = 'mine'",
        )
        .await;
    drop(vault);
    let vault = fixture.vault().await;
    let Found::One(moved) = vault.find(&principal("mallory"), &slug("mine"), NOW) else {
        panic!("not found");
    };
    assert_eq!(
        vault.open_value(&moved.credential, None).unwrap_err(),
        OpenError::Damaged
    );
}

#[tokio::test]
async fn a_store_that_vanishes_stops_requests_until_it_is_back() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    vault.refresh().await.unwrap();
    let path = fixture.data_dir().join(files::DATABASE);
    let aside = fixture.data_dir().join("aside");
    fs::rename(&path, &aside).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        assert!(vault.refresh().await.is_err());
    }
    fs::write(&path, "someone else's").unwrap();
    assert!(
        vault
            .refresh()
            .await
            .unwrap_err()
            .reason
            .contains("restart Egret")
    );
    fs::rename(&aside, &path).unwrap();
    vault.refresh().await.unwrap();
}

#[test]
fn files_are_private_whatever_the_umask() {
    let fixture = Fixture::new();
    for umask in ["000", "077", "777"] {
        let data = fixture.data_dir().join(umask);
        run_in_another_process(
            "vault::store::sqlite::tests::child_opens_a_vault",
            &data,
            umask,
        );
        let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(""), 0o700, "umask {umask}");
        for name in ["egret.db", "egret.db-wal", "egret.db-shm"] {
            assert_eq!(mode(name), 0o600, "{name} under umask {umask}");
        }
    }
}

/// Ends without closing, like a process that is killed, so that all files stay.
#[tokio::test]
#[ignore = "run by another test in a process of its own"]
async fn child_opens_a_vault() {
    let Some(data) = told_data_dir() else { return };
    let url = store_url(&data);
    let vault = Vault::open(&data, &url, &keyring()).await.unwrap();
    registrar(&url).await.add_secret("alice", "key", "v").await;
    vault.refresh().await.unwrap();
    std::process::exit(0);
}

#[tokio::test]
async fn erased_ciphertext_is_in_no_file() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_secret("alice", "key", "the canary value").await;
    let sealed = async || {
        let credential = command.store().get(&alice, &key).await.unwrap().unwrap();
        credential.fields[0].1.sealed().as_bytes().to_vec()
    };
    let rotate = async |value: &str| {
        command
            .rotate(&actor(), &alice, &key, secret(value), Retention::default())
            .await
            .unwrap();
    };
    let store = command.store();
    let holds = |ciphertext: &[u8]| {
        fs::read_dir(fixture.data_dir()).unwrap().any(|entry| {
            let content = fs::read(entry.unwrap().path()).unwrap();
            // The value is nowhere in the clear.
            assert!(memchr::memmem::find(&content, b"canary").is_none());
            memchr::memmem::find(&content, &ciphertext[21..40]).is_some()
        })
    };
    let first = sealed().await;
    rotate("another canary").await;
    let second = sealed().await;
    assert!(holds(&first), "what was replaced is still looked for");
    command
        .rotate(
            &actor(),
            &alice,
            &key,
            secret("no canary"),
            Retention::leaked(),
        )
        .await
        .unwrap();
    let third = sealed().await;
    assert_eq!(
        [&first, &second, &third].map(|c| holds(c)),
        [false, false, true]
    );

    rotate("the last canary").await;
    let until = store.get(&alice, &key).await.unwrap().unwrap().rotated + OVERLAP;
    assert_eq!(store.erase_due(until - 1).await.unwrap(), 0);
    assert!(holds(&third));
    assert_eq!(store.erase_due(until).await.unwrap(), 1);
    assert!(!holds(&third));
    assert_eq!(store.erase_due(until).await.unwrap(), 0);

    let fourth = sealed().await;
    // Also by one of several changes that are made together, once they are made.
    let together = command.together(&actor(), None).await.unwrap();
    let (leaked, value) = (Retention::leaked(), secret("a new canary"));
    let rotated = together.rotate(&actor(), &alice, &key, value, leaked).await;
    rotated.unwrap();
    together.finish(&actor()).await.unwrap();
    assert!(!holds(&fourth));

    let fifth = sealed().await;
    command.delete(&actor(), &alice, &key).await.unwrap();
    assert!(!holds(&fifth));
}

#[tokio::test]
async fn one_change_among_many_loads_one_and_scans_no_table() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    store.sqlite().fill(5000).await;
    let all = store.changes_since(0).await.unwrap();
    assert_eq!(all.credentials.len(), 5000);
    let (alice, key) = (principal("alice"), slug("s17"));
    command
        .share(&actor(), &alice, &key, &with("everyone"))
        .await
        .unwrap();
    let changes = store.changes_since(all.head.revision).await.unwrap();
    assert_eq!(changes.credentials.len(), 1);
    let Content::Live(changed) = &changes.credentials[0].content else {
        panic!("not there");
    };
    assert_eq!((changed.fields.len(), changed.shares.len()), (1, 1));
    assert!(changes.directory.is_none());
    for plan in [
        store
            .sqlite()
            .plan(
                "EXPLAIN QUERY PLAN SELECT * FROM objects WHERE kind = 'credential' AND revision > 7",
            )
            .await,
        store
            .sqlite()
            .plan(
                "EXPLAIN QUERY PLAN SELECT v.* FROM objects o
                 CROSS JOIN sealed_values v
                   ON v.owner = substr(o.id, 1, instr(o.id, '/') - 1)
                  AND v.slug = substr(o.id, instr(o.id, '/') + 1)
                 WHERE o.kind = 'credential' AND o.revision > 7",
            )
            .await,
        store
            .sqlite()
            .plan(
                "EXPLAIN QUERY PLAN SELECT id FROM objects WHERE kind = 'credential' AND due <= 7",
            )
            .await,
    ] {
        assert!(!plan.contains("SCAN") && plan.contains("SEARCH"), "{plan}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_and_is_left_alone() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.data_dir()).unwrap();
    let content = "not a database, but something its owner may miss ".repeat(100);
    let path = fixture.data_dir().join(files::DATABASE);
    fs::write(&path, &content).unwrap();
    assert!(
        Store::open(&fixture.store_url(), keyring().policy_keys())
            .await
            .is_err()
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
}
