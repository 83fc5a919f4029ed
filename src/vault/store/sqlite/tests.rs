//! What concerns the database file, by itself and under the vault of a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::database::Database;
use crate::files;
use crate::vault::fixture::*;
use crate::vault::{Found, OpenError, Store, Vault};

impl Database {
    /// Runs SQL that no command would.
    pub(in crate::vault) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Marks every credential as changed.
    pub(in crate::vault) async fn touch_all(&self) {
        self.execute(
            "BEGIN; UPDATE state SET revision = revision + 1;
             UPDATE credentials SET revision = (SELECT revision FROM state); COMMIT",
        )
        .await;
    }

    /// How SQLite would run a query, without running it.
    async fn plan(&self, sql: &'static str) -> String {
        let rows = sqlx::raw_sql(sql).fetch_all(&self.pool).await.unwrap();
        rows.iter()
            .map(|row| sqlx::Row::get::<String, _>(row, "detail") + "\n")
            .collect()
    }
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
        .rotate(&actor(), &alice, &key, secret(&value))
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
                .rotate(&actor(), &alice, &key, secret(&value))
                .await
                .unwrap();
            assert_eq!(vault.value("alice", "key").await.unwrap(), value);
        }
        for mode in [
            "PRAGMA wal_checkpoint(PASSIVE)",
            "PRAGMA wal_checkpoint(RESTART)",
        ] {
            command
                .store()
                .revoke(&actor(), &alice, &key)
                .await
                .unwrap();
            command.store().sqlite().execute(mode).await;
            assert_eq!(vault.value("alice", "key").await, None);
            command.store().sqlite().execute(mode).await;
            command
                .store()
                .restore(&actor(), &alice, &key)
                .await
                .unwrap();
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
    command.store().sqlite().touch_all().await;
    vault.refresh().await.unwrap();
    let Found::One(moved) = vault.find(&principal("mallory"), &slug("mine"), NOW) else {
        panic!("not found");
    };
    assert_eq!(
        vault.open_value(&moved, None).unwrap_err(),
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

#[tokio::test]
async fn a_change_that_cannot_be_read_is_not_answered_with_what_was_known() {
    for damage in [
        "UPDATE credentials SET allowed = '{\"hosts\": 1}'",
        "UPDATE credentials SET kind = 'unheard-of'",
        "PRAGMA foreign_keys = OFF; UPDATE credentials SET slug = 'No Slug'",
        "INSERT INTO migrations VALUES (99, 0)",
        "ALTER TABLE shares RENAME TO elsewhere",
    ] {
        let fixture = Fixture::new();
        let vault = fixture.vault().await;
        let command = fixture.registrar().await;
        command.add_secret("alice", "key", "one").await;
        assert!(vault.value("alice", "key").await.is_some());
        command.store().sqlite().execute(damage).await;
        command.store().sqlite().touch_all().await;
        for _ in 0..2 {
            assert!(vault.refresh().await.is_err(), "{damage}");
        }
    }
}

#[tokio::test]
async fn an_older_state_restored_in_place_replaces_everything() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    command.add_secret("alice", "early", "one").await;
    command.add_secret("alice", "late", "two").await;
    assert!(vault.value("alice", "late").await.is_some());
    // What an online restore (`.restore`, sqlite3_backup) does: one commit with older content.
    command
        .store()
        .sqlite()
        .execute(
            "DELETE FROM sealed_values WHERE slug = 'late'; DELETE FROM credentials WHERE slug = 'late';
             UPDATE state SET revision = 1",
        )
        .await;
    assert_eq!(vault.value("alice", "late").await, None);
    assert_eq!(vault.value("alice", "early").await.unwrap(), "one");
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
            .rotate(&actor(), &alice, &key, secret(value))
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
    assert!(holds(&first), "what was replaced last is still looked for");
    rotate("the last canary").await;
    let third = sealed().await;
    assert_eq!(
        [&first, &second, &third].map(|c| holds(c)),
        [false, true, true]
    );

    let rotated = store.get(&alice, &key).await.unwrap().unwrap().rotated;
    assert_eq!(store.erase_replaced(rotated - 1).await.unwrap(), 0);
    assert!(holds(&second));
    assert_eq!(store.erase_replaced(rotated).await.unwrap(), 1);
    assert_eq!([&second, &third].map(|c| holds(c)), [false, true]);
    assert_eq!(store.erase_replaced(rotated).await.unwrap(), 0);

    rotate("one more canary").await;
    let fourth = sealed().await;
    store.delete(&actor(), &alice, &key).await.unwrap();
    assert_eq!([&third, &fourth].map(|c| holds(c)), [false, false]);
}

#[tokio::test]
async fn one_change_among_many_loads_one_and_scans_no_table() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    store
        .sqlite()
        .execute(
            "BEGIN; UPDATE state SET revision = 7;
             INSERT INTO credentials
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             SELECT 'alice', 's' || i, 'secret', '',
                    '{\"hosts\":[\"a.example\"],\"locations\":[\"header\"]}', 0, 1, 0, 0, 0, 7 FROM n;
             INSERT INTO sealed_values SELECT owner, slug, 1, '', x'00' FROM credentials; COMMIT",
        )
        .await;
    assert_eq!(
        store.changes_since(0).await.unwrap().credentials.len(),
        5000
    );
    store
        .share(
            &actor(),
            &principal("alice"),
            &slug("s17"),
            &principal("bob"),
        )
        .await
        .unwrap();
    let changes = store.changes_since(7).await.unwrap();
    assert_eq!(changes.credentials.len(), 1);
    assert_eq!(changes.credentials[0].fields.len(), 1);
    assert_eq!(changes.credentials[0].shared_with.len(), 1);
    assert!(changes.clients.is_none());
    for plan in [
        store
            .sqlite()
            .plan("EXPLAIN QUERY PLAN SELECT * FROM credentials WHERE revision > 7")
            .await,
        store
            .sqlite()
            .plan(
                "EXPLAIN QUERY PLAN SELECT v.* FROM credentials c
                 CROSS JOIN sealed_values v ON v.owner = c.owner AND v.slug = c.slug
                 WHERE c.revision > 7",
            )
            .await,
        store
            .sqlite()
            .plan(
                "EXPLAIN QUERY PLAN SELECT * FROM credentials
                 WHERE (owner, slug) BETWEEN ('a', 'b') AND ('c', 'd')",
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
    assert!(Store::open(&fixture.store_url()).await.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
}
