//! Someone writes to the database who has no master key: nothing that the owner did not allow becomes
//! usable, and it is said.

use crate::vault::client_proof::ClientProof;
use std::fs;

use super::database::Database;
use crate::files;
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::{EgressRule, OperatorEgress, Stance};
use crate::vault::cache::{Alarm, UnverifiedRule, Usable};
use crate::vault::egress::Subject;
use crate::vault::fixture::*;
use crate::vault::name::{CallerName, ClientName};
use crate::vault::token_id::{Revoked, TokenId};
use crate::vault::{Found, Store, StoreError, Vault};

async fn open(fixture: &Fixture) -> Result<Vault, String> {
    let opened = Vault::open(&fixture.data_dir(), &fixture.store_url(), &keyring()).await;
    opened.map_err(|error| error.to_string())
}

/// A store in which alice shares `key` with bob, `other` is alice's alone, carol is disabled, and
/// each has a client.
async fn populated(fixture: &Fixture) -> crate::vault::Registrar {
    let command = fixture.registrar().await;
    command.add_users(&["alice", "bob", "carol"]).await;
    command.add_secret("alice", "key", "the shared one").await;
    command.add_secret("alice", "other", "hers alone").await;
    command
        .share(&actor(), &principal("alice"), &slug("key"), &with("bob"))
        .await
        .unwrap();
    command
        .set_disabled(&actor(), &principal("carol"), true)
        .await
        .unwrap();
    for (number, owner) in [(1, "alice"), (3, "carol")] {
        let name = ClientName::parse(&format!("{owner}s")).unwrap();
        command
            .add_client(
                &actor(),
                &name,
                &principal(owner),
                ClientProof::Token([number; 32]),
                None,
            )
            .await
            .unwrap();
    }
    command
}

fn database(command: &crate::vault::Registrar) -> &Database {
    command.store().sqlite()
}

#[tokio::test]
async fn an_edited_credential_is_not_used_and_the_others_are() {
    for edit in [
        r#"UPDATE objects SET document = replace(document, 'api.example.com', 'evil.example.com') WHERE id = 'alice/key'"#,
        r#"UPDATE objects SET document = replace(document, '"active"', '"revoked"') WHERE id = 'alice/key'"#,
        r#"UPDATE objects SET document = replace(document, '"with":"bob"', '"with":"everyone"') WHERE id = 'alice/key'"#,
        r#"UPDATE objects SET document = ' ' || document WHERE id = 'alice/key'"#,
        r#"UPDATE objects SET document = (SELECT document FROM objects WHERE id = 'alice/other') WHERE id = 'alice/key'"#,
        r#"UPDATE objects SET revision = revision + 1 WHERE id = 'alice/key'"#,
    ] {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        database(&command).execute(edit).await;
        let vault = open(&fixture).await.unwrap();
        let find = |who: &str, name: &str| vault.find(&principal(who), &slug(name), NOW);
        assert!(matches!(find("alice", "key"), Found::Unverified), "{edit}");
        assert!(matches!(find("bob", "key"), Found::None), "{edit}");
        assert!(matches!(find("alice", "other"), Found::One(_)), "{edit}");
        let alarm = Alarm::Credential(principal("alice"), slug("key"));
        assert_eq!(vault.take_alarms(), [alarm], "{edit}");
        assert_eq!((vault.take_alarms().len(), vault.unverified()), (0, 1));
        // A command does not build on it either, so that what was edited is never signed.
        let (alice, key) = (principal("alice"), slug("key"));
        let changed = command.restore(&actor(), &alice, &key).await;
        assert!(changed.unwrap_err().to_string().contains("not Egret"));
        let listing = command.store().list(None).await.unwrap();
        assert_eq!(listing.unverified, [(alice, key)]);
    }
}

/// Nothing is committed by Egret afterwards, and nothing that was edited is asked for.
#[tokio::test]
async fn what_is_edited_under_a_running_server_is_found_without_being_used() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let vault = open(&fixture).await.unwrap();
    vault.audit().await.unwrap();
    assert!(vault.take_alarms().is_empty());
    let (alice, key) = (principal("alice"), slug("key"));
    let edits = [
        (
            "UPDATE objects SET document = replace(document, 'api.example.com', 'evil.example.com') WHERE id = 'alice/key'",
            "UPDATE objects SET document = replace(document, 'evil.example.com', 'api.example.com') WHERE id = 'alice/key'",
            Alarm::Credential(alice.clone(), key.clone()),
        ),
        (
            "UPDATE objects SET document = replace(document, 'carol', 'alice') WHERE id = 'carols'",
            "UPDATE objects SET document = replace(document, 'alice', 'carol') WHERE id = 'carols'",
            Alarm::Entry("client carols".to_owned()),
        ),
    ];
    for (edit, back, alarm) in edits {
        database(&command).execute(edit).await;
        vault.refresh().await.unwrap();
        assert_eq!(
            vault.unverified(),
            0,
            "no commit of Egret's made it read this"
        );
        vault.audit().await.unwrap();
        assert_eq!(vault.take_alarms(), std::slice::from_ref(&alarm), "{edit}");
        let is_used = matches!(vault.find(&alice, &key, NOW), Found::One(_));
        assert_eq!(is_used, matches!(alarm, Alarm::Entry(_)), "{edit}");
        // Once is enough, and what is well again is used again.
        vault.audit().await.unwrap();
        assert_eq!((vault.take_alarms().len(), vault.unverified()), (0, 1));
        database(&command).execute(back).await;
        vault.audit().await.unwrap();
        assert_eq!((vault.take_alarms().len(), vault.unverified()), (0, 0));
        assert!(matches!(vault.find(&alice, &key, NOW), Found::One(_)));
    }
    for rows in [
        "kind = 'credential' AND id = 'alice/other'",
        "id = 'carols'",
    ] {
        let keep = format!(
            "CREATE TABLE kept AS SELECT * FROM objects WHERE {rows}; DELETE FROM objects WHERE {rows};"
        );
        database(&command).execute(keep.leak()).await;
        vault.refresh().await.unwrap();
        assert!(vault.audit().await.unwrap_err().is_alarming(), "{rows}");
        assert_eq!(vault.take_alarms(), [Alarm::Store], "{rows}");
        // A change by Egret builds on what is there, and does not make it well.
        command.restore(&actor(), &alice, &key).await.unwrap();
        assert!(vault.refresh().await.is_err(), "{rows}");
        assert!(vault.audit().await.is_err() && vault.take_alarms().is_empty());
        database(&command)
            .execute("INSERT INTO objects SELECT * FROM kept; DROP TABLE kept;")
            .await;
        vault.audit().await.unwrap();
        vault.refresh().await.unwrap();
        assert_eq!((vault.take_alarms().len(), vault.unverified()), (0, 0));
    }
}

#[tokio::test]
async fn a_store_is_looked_through_in_parts() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    command.add_users(&["alice"]).await;
    database(&command).fill(1000).await;
    let audit = command.store().audit().await.unwrap();
    assert!(audit.credentials.is_empty() && audit.entries.is_empty());
    for (number, found) in [(0, 1), (600, 2), (999, 3)] {
        let edit =
            format!("UPDATE objects SET document = ' ' || document WHERE id = 'alice/s{number}'");
        database(&command).execute(edit.leak()).await;
        let audit = command.store().audit().await.unwrap();
        assert_eq!(audit.credentials.len(), found, "{number}");
    }
}

#[tokio::test]
async fn an_edited_credential_can_be_deleted_and_saved_again() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let (alice, key) = (principal("alice"), slug("key"));
    for edit in [
        "UPDATE objects SET document = replace(document, 'api.example.com', 'evil.example.com') WHERE id = 'alice/key'",
        "UPDATE objects SET document = 'not JSON' WHERE id = 'alice/key'",
    ] {
        let last = command
            .store()
            .get(&alice, &key)
            .await
            .unwrap()
            .unwrap()
            .version;
        database(&command).execute(edit).await;
        let vault = open(&fixture).await.unwrap();
        assert!(matches!(vault.find(&alice, &key, NOW), Found::Unverified));
        assert!(
            command
                .delete(&actor(), &alice, &key)
                .await
                .unwrap()
                .is_empty()
        );
        let again = command.add_secret("alice", "key", "saved again").await;
        assert_eq!(again, last + 1, "versions are never reused");
        assert_eq!(vault.value("alice", "key").await.unwrap(), "saved again");
        assert_eq!(vault.unverified(), 0);
        assert_eq!(vault.value("bob", "key").await, None);
        assert!(command.store().check().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_edited_list_of_revoked_jwts_revokes_all_of_that_client() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let (ci, one): (CallerName, TokenId) = ("jwt:ci".parse().unwrap(), "one".parse().unwrap());
    let revoke = Revoked::One(one.clone());
    command.revoke_issued(&actor(), &ci, &revoke).await.unwrap();
    let works = |vault: &Vault, client: &str, id: &str| {
        !vault.is_issued_revoked(client, Some(&id.parse().unwrap()), Some(0))
    };
    let vault = open(&fixture).await.unwrap();
    assert!(!works(&vault, "jwt:ci", "one") && works(&vault, "jwt:ci", "two"));
    let edit =
        r#"UPDATE objects SET document = replace(document, 'one', 'none') WHERE id = 'jwt:ci'"#;
    database(&command).execute(edit).await;
    let vault = open(&fixture).await.unwrap();
    assert!(!works(&vault, "jwt:ci", "one") && !works(&vault, "jwt:ci", "two"));
    assert!(works(&vault, "jwt:other", "one"));
    assert_eq!(
        vault.take_alarms(),
        [Alarm::Entry("issued jwt:ci".to_owned())]
    );
    // It is not built on, and only what covers all of it takes its place.
    assert!(command.revoke_issued(&actor(), &ci, &revoke).await.is_err());
    let all = command.revoke_issued(&actor(), &ci, &Revoked::All).await;
    all.unwrap();
    vault.refresh().await.unwrap();
    assert_eq!(vault.unverified(), 0);
    assert!(!works(&vault, "jwt:ci", "two"));
    assert!(!vault.is_issued_revoked("jwt:ci", None, Some(i64::MAX)));
}

#[tokio::test]
async fn an_edited_user_or_client_may_do_nothing() {
    let enable_carol = r#"UPDATE objects SET document = replace(document, '"disabled":true', '"disabled":false') WHERE id = 'carol'"#;
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    database(&command).execute(enable_carol).await;
    let vault = open(&fixture).await.unwrap();
    assert!(vault.is_disabled(&principal("carol")));
    assert!(vault.client_by_token(&[3; 32], NOW).is_none());
    assert!(vault.client_by_token(&[1; 32], NOW).is_some());
    assert_eq!(vault.take_alarms(), [Alarm::Entry("user carol".to_owned())]);

    let steal = r#"UPDATE objects SET document = replace(document, '"principal":"carol"', '"principal":"alice"') WHERE id = 'carols'"#;
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    database(&command).execute(steal).await;
    let vault = open(&fixture).await.unwrap();
    assert!(vault.client_by_token(&[3; 32], NOW).is_none());
    assert_eq!(
        vault.take_alarms(),
        [Alarm::Entry("client carols".to_owned())]
    );
}

#[tokio::test]
async fn rows_that_are_missing_added_swapped_or_of_an_earlier_time_stop_everything() {
    let old = "CREATE TABLE copy AS SELECT * FROM objects";
    for (before, edit) in [
        ("SELECT 1", "DELETE FROM objects WHERE id = 'alice/other'"),
        ("SELECT 1", "DELETE FROM objects WHERE id = 'carol'"),
        (
            "SELECT 1",
            "INSERT INTO objects SELECT 'user', 'mallory', revision, due, document, tag FROM objects WHERE id = 'alice'",
        ),
        (
            "SELECT 1",
            "UPDATE objects SET tag = (SELECT tag FROM objects WHERE id = 'alice/other') WHERE id = 'alice/key'",
        ),
        (
            "SELECT 1",
            "UPDATE objects SET tag = zeroblob(32) WHERE id = 'alice/key'",
        ),
        (
            "SELECT 1",
            "UPDATE objects SET id = CASE id WHEN 'alice/key' THEN 'alice/x' ELSE id END",
        ),
        // Taken back since, and put back by hand.
        (
            old,
            "REPLACE INTO objects SELECT * FROM copy WHERE id = 'alice/key'",
        ),
        (
            old,
            "REPLACE INTO objects SELECT * FROM copy WHERE kind = 'user'",
        ),
        (old, "REPLACE INTO objects SELECT * FROM copy"),
    ] {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        database(&command).execute(before).await;
        let (alice, key) = (principal("alice"), slug("key"));
        command.revoke(&actor(), &alice, &key).await.unwrap();
        command
            .set_disabled(&actor(), &principal("bob"), true)
            .await
            .unwrap();
        database(&command).execute(edit).await;
        let error = open(&fixture).await.unwrap_err();
        assert!(
            error.contains("not those that Egret wrote"),
            "{edit}: {error}"
        );
    }
}

#[tokio::test]
async fn an_edited_state_row_stops_everything() {
    for edit in [
        "UPDATE state SET revision = revision - 1",
        "UPDATE state SET revision = revision + 1",
        "UPDATE state SET client_revision = client_revision + 1",
        "UPDATE state SET head = NULL",
        "UPDATE state SET head = zeroblob(length(head))",
    ] {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let vault = open(&fixture).await.unwrap();
        database(&command).execute(edit).await;
        let error = open(&fixture).await.unwrap_err();
        assert!(error.contains("does not verify"), "{edit}: {error}");
        // Under a running server too.
        assert!(vault.refresh().await.unwrap_err().is_alarming());
        assert_eq!(vault.take_alarms(), [Alarm::Store]);
    }
}

#[tokio::test]
async fn an_older_state_put_back_under_a_running_server_stops_everything() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let database = database(&command);
    database
        .execute(
            "CREATE TABLE copy AS SELECT * FROM objects; CREATE TABLE past AS SELECT * FROM state",
        )
        .await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.revoke(&actor(), &alice, &key).await.unwrap();
    let vault = open(&fixture).await.unwrap();
    assert!(matches!(vault.find(&alice, &key, NOW), Found::None));
    // What an online restore (`.restore`, sqlite3_backup) does: one commit with older content.
    database
        .execute(
            "BEGIN; DELETE FROM objects; INSERT INTO objects SELECT * FROM copy;
             DELETE FROM state; INSERT INTO state SELECT * FROM past; COMMIT",
        )
        .await;
    let error = vault.refresh().await.unwrap_err();
    assert!(error.reason.contains("older state"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_older_than_the_ledger_is_refused() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    command.store().close().await;
    let path = fixture.data_dir().join(files::DATABASE);
    let older = fs::read(&path).unwrap();

    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.revoke(&actor(), &alice, &key).await.unwrap();
    let events = command.store().outbox_take(100).await.unwrap();
    command.store().outbox_done(&events).await.unwrap();
    command.store().close().await;

    let newer = fs::read(&path).unwrap();
    fs::write(&path, older).unwrap();
    let reopened = Store::open(&fixture.store_url(), keyring().policy_keys()).await;
    assert!(matches!(reopened.unwrap_err(), StoreError::Older { .. }));
    // An empty file, as a new installation would begin.
    fs::write(&path, "").unwrap();
    let reopened = Store::open(&fixture.store_url(), keyring().policy_keys()).await;
    assert!(matches!(reopened.unwrap_err(), StoreError::Replaced));
    fs::write(&path, newer).unwrap();
    let vault = open(&fixture).await.unwrap();
    assert!(matches!(vault.find(&alice, &key, NOW), Found::None));
}

/// The tables as the version before had them, with a share, a replaced value, a tombstone and a client.
const VERSION_1: &str = include_str!("version-1.sql");

#[tokio::test]
async fn a_store_of_the_version_before_is_taken_over_once() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    command.add_secret("alice", "key", "the value").await;
    let sealed = "CREATE TABLE kept AS SELECT * FROM sealed_values";
    database(&command).execute(sealed).await;
    database(&command).execute(VERSION_1).await;
    drop(command);

    let vault = open(&fixture).await.unwrap();
    for who in ["alice", "bob"] {
        assert_eq!(vault.value(who, "key").await.unwrap(), "the value", "{who}");
    }
    let Found::One(Usable { credential, .. }) = vault.find(&principal("alice"), &slug("key"), NOW)
    else {
        panic!("not found");
    };
    assert_eq!(credential.grant.methods, ["GET"]);
    let ci = ClientName::parse("ci").unwrap();
    assert_eq!(
        vault.client(&ci, NOW).unwrap().principal,
        principal("build")
    );
    let users = vault.store().list_users().await.unwrap();
    let names: Vec<_> = users.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "build"]);
    let command = fixture.registrar().await;
    assert_eq!(command.add_secret("alice", "gone", "again").await, 8);

    // Once it is authenticated and on record, nobody can go back to rows that are not.
    let events = command.store().outbox_take(100).await.unwrap();
    command.store().outbox_done(&events).await.unwrap();
    database(&command)
        .execute("DROP TABLE kept; CREATE TABLE kept AS SELECT * FROM sealed_values")
        .await;
    database(&command).execute(VERSION_1).await;
    assert!(open(&fixture).await.unwrap_err().contains("was replaced"));
}

/// Turns a database into one of schema 2, which had no sessions, and events without tags.
const VERSION_2: &str =
    "DROP TABLE sessions; DROP TABLE token_uses; ALTER TABLE outbox DROP COLUMN tag;
     DELETE FROM migrations WHERE version > 2";

#[tokio::test]
async fn an_authenticated_store_of_an_earlier_version_stays_as_it_is() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let events = command.store().outbox_take(100).await.unwrap();
    command.store().outbox_done(&events).await.unwrap();
    database(&command).put_former_head().await;
    database(&command).execute(VERSION_2).await;
    command.store().close().await;
    let vault = open(&fixture).await.unwrap();
    assert_eq!(vault.value("bob", "key").await.unwrap(), "the shared one");
    assert!(vault.is_disabled(&principal("carol")));
    let command = fixture.registrar().await;
    assert!(command.store().check().await.unwrap().is_empty());
    assert!(command.session(&[1; 32]).await.unwrap().is_none());

    // What was edited before is not usable after.
    let edit = r#"UPDATE objects SET document = replace(document, '"active"', '"revoked"') WHERE id = 'alice/key'"#;
    database(&command).put_former_head().await;
    database(&command).execute(VERSION_2).await;
    database(&command).execute(edit).await;
    let vault = open(&fixture).await.unwrap();
    let found = vault.find(&principal("alice"), &slug("key"), NOW);
    assert!(matches!(found, Found::Unverified));
}

#[tokio::test]
async fn a_rule_that_was_edited_closes_every_way_until_it_is_removed() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let subject: Subject = "everyone".parse().unwrap();
    let hosts = vec!["a.example.com".parse().unwrap()];
    let rule = EgressRule::for_hosts(Stance::Deny, hosts);
    let number = command.add_egress(&actor(), &subject, &rule).await.unwrap();
    let to = Destination::from_authority(Scheme::Https, "b.example.com").unwrap();
    let alice = principal("alice");
    let operator = OperatorEgress::default();
    let asked = |vault: &Vault| vault.egress(&alice, "ci", &to, &operator);
    assert_eq!(asked(&open(&fixture).await.unwrap()), Ok(None));
    let edit =
        "UPDATE objects SET document = replace(document, 'deny', 'allow') WHERE kind = 'egress'";
    database(&command).execute(edit).await;
    let vault = open(&fixture).await.unwrap();
    assert_eq!(asked(&vault), Err(UnverifiedRule));
    command.remove_egress(&actor(), number).await.unwrap();
    vault.refresh().await.unwrap();
    assert_eq!(asked(&vault), Ok(None));
}

/// Each column of an event, and events as a whole: none of it becomes a line of the ledger, and it is
/// said that something was there or is missing.
#[tokio::test]
async fn events_that_egret_did_not_write_are_not_passed_on() {
    let forged = "INSERT INTO outbox (time, revision, event, owner, slug, actor, detail)
        VALUES (1, 1, 'credential.shared', 'alice', 'key', 'cli:alice', 'with everyone')";
    let copied = "INSERT INTO outbox (time, revision, event, actor, detail, tag)
        SELECT time, revision, event, actor, detail, tag FROM outbox WHERE id = 1";
    let edits = [
        ("UPDATE outbox SET time = time + 1 WHERE id = 1", 1),
        ("UPDATE outbox SET revision = revision + 1 WHERE id = 1", 1),
        ("UPDATE outbox SET event = 'user.disabled' WHERE id = 1", 1),
        ("UPDATE outbox SET slug = 'other' WHERE id = 1", 1),
        ("UPDATE outbox SET field = 'password' WHERE id = 1", 1),
        ("UPDATE outbox SET version = 9 WHERE id = 1", 1),
        ("UPDATE outbox SET owner = 'bob' WHERE id = 1", 1),
        ("UPDATE outbox SET principal = 'bob' WHERE id = 1", 1),
        ("UPDATE outbox SET client = 'bobs' WHERE id = 1", 1),
        ("UPDATE outbox SET actor = 'cli:bob' WHERE id = 1", 1),
        ("UPDATE outbox SET detail = 'x' WHERE id = 1", 1),
        ("UPDATE outbox SET tag = NULL WHERE id = 1", 1),
        ("UPDATE outbox SET id = 1000 WHERE id = 1", 1),
        (forged, 1),
        (copied, 1),
        ("DELETE FROM outbox WHERE id = 1", 0),
        ("DELETE FROM outbox", 0),
    ];
    for (edit, unverified) in edits {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let store = command.store();
        let before = store.outbox_take(100).await.unwrap();
        assert!(before.unverified.is_empty() && !before.is_incomplete);
        database(&command).execute(edit).await;
        let waiting = store.outbox_take(100).await.unwrap();
        assert_eq!(waiting.unverified.len(), unverified, "{edit}");
        let is_known = |event: &_| before.events.contains(event);
        assert!(waiting.events.iter().all(is_known), "{edit}");
        // What was only edited keeps its tag, and the set of tags is what it was.
        let is_said = waiting.is_incomplete || unverified > 0;
        assert!(is_said, "{edit}");
        store.outbox_done(&waiting).await.unwrap();
        assert!(store.outbox_take(100).await.unwrap().is_empty(), "{edit}");
        // From there on everything is as it should be.
        command.add_secret("bob", "next", "v").await;
        let next = store.outbox_take(100).await.unwrap();
        assert!(next.unverified.is_empty() && !next.is_incomplete, "{edit}");
        assert_eq!(next.events.len(), 1);
    }
}

#[tokio::test]
async fn events_of_before_they_were_authenticated_are_taken_over_once() {
    const WITHOUT_TAGS: &str =
        "ALTER TABLE outbox DROP COLUMN tag; DELETE FROM migrations WHERE version > 6";
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let events = command.store().outbox_take(100).await.unwrap();
    database(&command).put_former_head().await;
    database(&command).execute(WITHOUT_TAGS).await;
    command.store().close().await;
    let past = fs::read(fixture.data_dir().join(files::DATABASE)).unwrap();

    let command = fixture.registrar().await;
    assert_eq!(command.store().outbox_take(100).await.unwrap(), events);
    // Going back to rows without tags is refused, with the head of today and with that of then.
    database(&command).execute(WITHOUT_TAGS).await;
    command.store().close().await;
    let error = open(&fixture).await.unwrap_err();
    assert!(error.contains("does not verify"), "{error}");
    fs::write(fixture.data_dir().join(files::DATABASE), past).unwrap();
    let error = open(&fixture).await.unwrap_err();
    assert!(error.contains("older than the ledger"), "{error}");
}
