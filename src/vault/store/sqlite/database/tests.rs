//! The store by itself.

use std::fs;

use super::*;
use crate::substitution::slug::Slug;
use crate::vault::fixture::*;
use crate::vault::model::State;
use crate::vault::name::{ClientName, Principal};
use crate::vault::store::{AdminEvent, Event};

impl Store {
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
            .map(|row| row.get::<String, _>("detail") + "\n")
            .collect()
    }
}

fn client(name: &str) -> ClientName {
    ClientName::parse(name).unwrap()
}

fn alice_and_key() -> (Principal, Slug) {
    (principal("alice"), slug("key"))
}

#[tokio::test]
async fn what_was_stored_is_read_back() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = alice_and_key();
    let mut new = new_credential("alice", "key");
    new.description = "for the weekly report".into();
    new.grant.methods = vec!["GET".into()];
    new.grant.expires = Some(NOW);
    command
        .add(&actor(), new.clone(), secret("v"))
        .await
        .unwrap();
    command
        .store()
        .share(&actor(), &alice, &key, &principal("bob"))
        .await
        .unwrap();
    let read = command.store().get(&alice, &key).await.unwrap().unwrap();
    assert_eq!(
        (&read.owner, &read.slug, read.kind),
        (&alice, &key, new.kind)
    );
    assert_eq!((read.description, read.grant), (new.description, new.grant));
    assert_eq!((read.state, read.version), (State::Active, 1));
    assert_eq!(read.created, read.rotated);
    assert_eq!(
        read.shared_with.into_iter().collect::<Vec<_>>(),
        [principal("bob")]
    );
    assert_eq!(read.fields.len(), 1);
}

#[tokio::test]
async fn lists_are_ordered_and_hold_one_owner_or_all() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    for (owner, name) in [
        ("bob", "a"),
        ("alice", "b"),
        ("alice", "a"),
        ("alice2", "a"),
    ] {
        command.add_secret(owner, name, "v").await;
    }
    let names = async |owner: Option<&str>| {
        let owner = owner.map(principal);
        let list = command.store().list(owner.as_ref()).await.unwrap();
        list.iter()
            .map(|c| format!("{}/{}", c.owner, c.slug))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(None).await, "alice/a alice/b alice2/a bob/a");
    assert_eq!(names(Some("alice")).await, "alice/a alice/b");
    assert_eq!(names(Some("nobody")).await, "");
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_changed_and_what_exists_not_be_created() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    let (alice, key) = alice_and_key();
    let missing = [
        store.revoke(&actor(), &alice, &key).await.err(),
        store.restore(&actor(), &alice, &key).await.err(),
        store.delete(&actor(), &alice, &key).await.err(),
        store.allow(&actor(), &alice, &key, &grant()).await.err(),
        store
            .share(&actor(), &alice, &key, &principal("bob"))
            .await
            .err(),
        store
            .unshare(&actor(), &alice, &key, &principal("bob"))
            .await
            .err(),
    ];
    for error in missing {
        assert!(
            matches!(error, Some(StoreError::NotFound { .. })),
            "{error:?}"
        );
    }
    command.add_secret("alice", "key", "v").await;
    store.revoke(&actor(), &alice, &key).await.unwrap();
    let again = command
        .add(&actor(), new_credential("alice", "key"), secret("w"))
        .await;
    assert!(again.unwrap_err().to_string().contains("rotate it"));
    let to_owner = store.share(&actor(), &alice, &key, &alice).await;
    assert!(matches!(to_owner, Err(StoreError::OwnCredential(_))));
}

#[tokio::test]
async fn every_change_leaves_one_event_and_a_change_of_nothing_none() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    let (alice, key) = alice_and_key();
    let bob = principal("bob");
    let mut wider = grant();
    wider.methods = vec!["GET".into()];
    command.add_secret("alice", "key", "v").await;
    command
        .rotate(&actor(), &alice, &key, secret("w"))
        .await
        .unwrap();
    for _ in 0..2 {
        store.revoke(&actor(), &alice, &key).await.unwrap();
    }
    for _ in 0..2 {
        store.restore(&actor(), &alice, &key).await.unwrap();
    }
    for _ in 0..2 {
        store.allow(&actor(), &alice, &key, &wider).await.unwrap();
    }
    for _ in 0..2 {
        store.share(&actor(), &alice, &key, &bob).await.unwrap();
    }
    for _ in 0..2 {
        store.unshare(&actor(), &alice, &key, &bob).await.unwrap();
    }
    store.delete(&actor(), &alice, &key).await.unwrap();
    store
        .add_client(&actor(), &client("laptop"), &bob, &[1; 32], None)
        .await
        .unwrap();
    store
        .remove_client(&actor(), &client("laptop"))
        .await
        .unwrap();

    let taken = store.outbox_take(100).await.unwrap();
    let events: Vec<Event> = taken.iter().map(|(_, event)| event.event).collect();
    let expected = [
        Event::CredentialCreated,
        Event::CredentialRotated,
        Event::CredentialRevoked,
        Event::CredentialRestored,
        Event::CredentialAllowed,
        Event::CredentialShared,
        Event::CredentialUnshared,
        Event::CredentialDeleted,
        Event::ClientAdded,
        Event::ClientRemoved,
    ];
    assert_eq!(events, expected);
    assert!(taken.is_sorted_by_key(|(id, _)| *id));
    let (_, AdminEvent { id, time, .. }) = taken[5].clone();
    assert_eq!(
        taken[5].1,
        AdminEvent {
            id,
            time,
            event: Event::CredentialShared,
            slug: Some(key),
            field: None,
            version: Some(2),
            owner: Some(alice),
            principal: Some(bob.clone()),
            client: None,
            actor: "cli:tester".into(),
            detail: String::new(),
        }
    );
    assert!((clock::unix_micros() - time) < 60_000_000);
    assert_eq!(taken[8].1.client, Some(client("laptop")));
    assert_eq!(taken[8].1.principal, Some(bob));
}

#[tokio::test]
async fn events_stay_until_they_are_done_and_their_numbers_are_not_reused() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    for name in ["a", "b", "c"] {
        command.add_secret("alice", name, "v").await;
    }
    let ids = |taken: Vec<(i64, AdminEvent)>| taken.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let all = ids(store.outbox_take(10).await.unwrap());
    assert_eq!(ids(store.outbox_take(2).await.unwrap()), all[..2]);
    store.outbox_done(&all[..1]).await.unwrap();
    assert_eq!(ids(store.outbox_take(10).await.unwrap()), all[1..]);
    store.outbox_done(&all).await.unwrap();
    command.add_secret("alice", "d", "v").await;
    assert!(ids(store.outbox_take(10).await.unwrap())[0] > all[2]);
}

#[tokio::test]
async fn a_failed_seal_changes_nothing() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let before = command.store().changes_since(0).await.unwrap().revision;
    let new = new_credential("alice", "key");
    let result = command
        .store()
        .create_credential(&actor(), &new, |_| Err(crate::vault::seal::SealError))
        .await;
    assert!(matches!(result, Err(StoreError::Seal(_))));
    let after = command.store().changes_since(0).await.unwrap();
    assert_eq!((after.revision, after.credentials.len()), (before, 0));
    assert!(command.store().outbox_take(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn erased_ciphertext_is_in_no_file() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = alice_and_key();
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
            .plan("EXPLAIN QUERY PLAN SELECT * FROM credentials WHERE revision > 7")
            .await,
        store
            .plan(
                "EXPLAIN QUERY PLAN SELECT v.* FROM credentials c
                 CROSS JOIN sealed_values v ON v.owner = c.owner AND v.slug = c.slug
                 WHERE c.revision > 7",
            )
            .await,
        store
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
async fn expired_clients_are_swept_out_and_names_are_taken_once() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    let bob = principal("bob");
    let first = store
        .add_client(&actor(), &client("run-1"), &bob, &[1; 32], Some(1))
        .await
        .unwrap();
    let taken = store
        .add_client(&actor(), &client("x"), &bob, &[2; 32], None)
        .await
        .unwrap();
    let error = store
        .add_client(&actor(), &client("x"), &bob, &[3; 32], None)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ClientExists(_)));
    assert_eq!(store.list_clients().await.unwrap(), [taken]);
    let again = store
        .add_client(&actor(), &client("run-1"), &bob, &[1; 32], None)
        .await
        .unwrap();
    assert_ne!(first.enrolment, again.enrolment);
    assert_eq!(
        store
            .remove_client(&actor(), &client("run-1"))
            .await
            .unwrap(),
        again
    );
    let error = store
        .remove_client(&actor(), &client("run-1"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ClientNotFound(_)));
}

#[tokio::test]
async fn only_a_token_that_ends_can_be_extended() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let store = command.store();
    let (run, laptop, bob) = (client("run-1"), client("laptop"), principal("bob"));
    store
        .add_client(&actor(), &laptop, &bob, &[2; 32], None)
        .await
        .unwrap();
    store
        .add_client(&actor(), &run, &bob, &[1; 32], Some(NOW))
        .await
        .unwrap();
    vault.refresh().await.unwrap();
    assert!(vault.client(&run, NOW).is_none());
    store.extend_client(&run, NOW + 1).await.unwrap();
    vault.refresh().await.unwrap();
    assert!(vault.client(&run, NOW).is_some());
    assert!(vault.client_by_token(&[1; 32], NOW + 1).is_none());
    for name in [laptop, client("unknown")] {
        let error = store.extend_client(&name, NOW + 1).await.unwrap_err();
        assert!(matches!(error, StoreError::ClientNotFound(_)));
    }
}

#[tokio::test]
async fn many_may_start_on_a_new_directory_at_once() {
    let fixture = Fixture::new();
    let starts: Vec<_> = (0..8)
        .map(|number| {
            let path = fixture.store_path();
            tokio::spawn(async move {
                let command = registrar(&path).await;
                command
                    .add_secret("alice", &format!("s{number}"), "v")
                    .await
            })
        })
        .collect();
    for start in starts {
        assert_eq!(start.await.unwrap(), 1);
    }
    let list = fixture.registrar().await.store().list(None).await.unwrap();
    assert_eq!(list.len(), 8);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_and_is_left_alone() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.data_dir()).unwrap();
    let content = "not a database, but something its owner may miss ".repeat(100);
    fs::write(fixture.store_path(), &content).unwrap();
    assert!(Store::open(&fixture.store_path()).await.is_err());
    assert_eq!(fs::read_to_string(fixture.store_path()).unwrap(), content);
}
