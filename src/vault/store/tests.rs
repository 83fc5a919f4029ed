//! What every backend of the store does.

use super::*;
use crate::clock;
use crate::policy::use_limits::Copies;
use crate::substitution::slug::Slug;
use crate::vault::client_proof::ClientProof;
use crate::vault::fixture::*;
use crate::vault::model::State;
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::record::CredentialRecord;
use crate::vault::registrar::RegistrarError;
use crate::vault::rotation::Retention;

fn client(name: &str) -> ClientName {
    ClientName::parse(name).unwrap()
}

fn store_error(error: RegistrarError) -> Option<StoreError> {
    match error {
        RegistrarError::Store(error) => Some(error),
        _ => None,
    }
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
    command.add_users(&["bob"]).await;
    command
        .add(&actor(), new.clone(), secret("v"))
        .await
        .unwrap();
    command
        .share(&actor(), &alice, &key, &with("bob"))
        .await
        .unwrap();
    let read = command.store().get(&alice, &key).await.unwrap().unwrap();
    assert_eq!(
        (&read.owner, &read.slug, read.kind),
        (&alice, &key, new.kind)
    );
    // Unless its owner says something else.
    new.grant.uses.copies = Some(Copies::ONCE);
    assert_eq!((read.description, read.grant), (new.description, new.grant));
    assert_eq!((read.state, read.version), (State::Active, 1));
    assert_eq!(read.created, read.rotated);
    assert_eq!(
        read.shares
            .iter()
            .map(|s| s.with.to_string())
            .collect::<Vec<_>>(),
        ["bob"]
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
        list.credentials
            .iter()
            .map(|c| format!("{}/{}", c.owner, c.slug))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(None).await, "alice/a alice/b alice2/a bob/a");
    assert_eq!(names(Some("alice")).await, "alice/a alice/b");
    assert_eq!(names(Some("carol")).await, "");
}

#[tokio::test]
async fn credentials_that_are_saved_together_are_one_change() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    command.add_secret("alice", "key", "v").await;
    let store = command.store();
    let before = store.changes_since(0).await.unwrap().head.revision;
    let together = command.together(&actor(), None).await.unwrap();
    for name in ["a", "key", "b"] {
        let new = new_credential("alice", name);
        let added = together.add(&actor(), new, secret("v")).await;
        // One that cannot be saved by itself does not hold up the others.
        assert_eq!(added.is_ok(), name != "key", "{name}");
    }
    let changes = store.changes_since(before).await.unwrap();
    assert!(changes.credentials.is_empty(), "nothing before all is");
    together.finish(&actor()).await.unwrap();
    let changes = store.changes_since(before).await.unwrap();
    let found = (changes.head.revision, changes.credentials.len());
    assert_eq!(found, (before + 1, 2), "one commit, however many there are");
    let waiting = store.outbox_take(10).await.unwrap().events;
    let created = waiting
        .iter()
        .filter(|one| one.event == Event::CredentialCreated);
    assert_eq!(created.count(), 3, "each is on record by itself");

    let together = command.together(&actor(), None).await.unwrap();
    let new = new_credential("alice", "c");
    together.add(&actor(), new, secret("v")).await.unwrap();
    drop(together);
    let left = store.get(&principal("alice"), &slug("c")).await.unwrap();
    assert!(left.is_none(), "what is not finished was never there");
}

#[tokio::test]
async fn users_that_are_added_together_are_known_to_each_other() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let together = command.together(&actor(), None).await.unwrap();
    together.add_users(&["bob"]).await;
    let ops = GroupName::parse("ops").unwrap();
    together.add_group(&actor(), &ops, "").await.unwrap();
    let bob = principal("bob");
    assert!(together.join_group(&actor(), &ops, &bob).await.unwrap());
    assert!(!together.join_group(&actor(), &ops, &bob).await.unwrap());
    // Whoever owns something is a user, too.
    together.add_secret("carol", "key", "v").await;
    let carol = principal("carol");
    assert!(together.join_group(&actor(), &ops, &carol).await.unwrap());
    together.remove_group(&actor(), &ops).await.unwrap();
    together.add_group(&actor(), &ops, "").await.unwrap();
    together.finish(&actor()).await.unwrap();
    let users = command.store().list_users().await.unwrap();
    assert_eq!(users.len(), 2);
    let groups = command.store().list_groups().await.unwrap();
    assert_eq!(groups[&ops].present().count(), 0, "it is another group");
}

#[tokio::test]
async fn a_slug_is_taken_while_there_is_one_of_that_name() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let alice = principal("alice");
    for (owner, name) in [
        ("alice", "kept"),
        ("alice", "gone"),
        ("alice", "odd"),
        ("bob", "bobs"),
    ] {
        command.add_secret(owner, name, "v").await;
    }
    command
        .delete(&actor(), &alice, &slug("gone"))
        .await
        .unwrap();
    let sql = "UPDATE objects SET tag = x'00' WHERE id = 'alice/odd'";
    command.store().sqlite().execute(sql).await;
    let asked = ["kept", "gone", "odd", "bobs", "none"].map(slug);
    let taken = command.store().taken(&alice, &asked).await.unwrap();
    assert_eq!(taken, ["kept", "odd"].map(slug).into());
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_changed_and_what_exists_not_be_created() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = alice_and_key();
    command.add_users(&["bob"]).await;
    let missing = [
        command.revoke(&actor(), &alice, &key).await.err(),
        command.restore(&actor(), &alice, &key).await.err(),
        command.delete(&actor(), &alice, &key).await.err(),
        command
            .allow(&actor(), &alice, &key, grant())
            .await
            .err()
            .and_then(store_error),
        command
            .share(&actor(), &alice, &key, &with("bob"))
            .await
            .err(),
        command
            .unshare(&actor(), &alice, &key, &with("bob").with)
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
    command.revoke(&actor(), &alice, &key).await.unwrap();
    let again = command
        .add(&actor(), new_credential("alice", "key"), secret("w"))
        .await;
    assert!(again.unwrap_err().to_string().contains("rotate it"));
    let to_owner = command.share(&actor(), &alice, &key, &with("alice")).await;
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
    command.add_users(&["bob"]).await;
    command.add_secret("alice", "key", "v").await;
    command
        .rotate(&actor(), &alice, &key, secret("w"), Retention::default())
        .await
        .unwrap();
    for _ in 0..2 {
        command.revoke(&actor(), &alice, &key).await.unwrap();
    }
    for _ in 0..2 {
        command.restore(&actor(), &alice, &key).await.unwrap();
    }
    for _ in 0..2 {
        command
            .allow(&actor(), &alice, &key, wider.clone())
            .await
            .unwrap();
    }
    for _ in 0..2 {
        command
            .share(&actor(), &alice, &key, &with("bob"))
            .await
            .unwrap();
    }
    for _ in 0..2 {
        command
            .unshare(&actor(), &alice, &key, &with("bob").with)
            .await
            .unwrap();
    }
    command.delete(&actor(), &alice, &key).await.unwrap();
    command
        .add_client(
            &actor(),
            &client("laptop"),
            &bob,
            ClientProof::Token([1; 32]),
            None,
        )
        .await
        .unwrap();
    command
        .remove_client(&actor(), &client("laptop"))
        .await
        .unwrap();

    let taken = store.outbox_take(100).await.unwrap().events;
    let events: Vec<Event> = taken.iter().map(|event| event.event).collect();
    let expected = [
        Event::UserAdded,
        Event::UserAdded,
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
    assert!(taken.is_sorted_by_key(|event| event.id));
    let AdminEvent {
        id, time, revision, ..
    } = taken[7].clone();
    assert_eq!(
        taken[7],
        AdminEvent {
            id,
            time,
            revision,
            event: Event::CredentialShared,
            slug: Some(key),
            field: None,
            version: Some(2),
            owner: Some(alice),
            principal: Some(bob.clone()),
            client: None,
            actor: "cli:tester".into(),
            detail: "with bob".to_owned(),
        }
    );
    assert!(revision > taken[6].revision);
    assert!((clock::unix_micros() - time) < 60_000_000);
    assert_eq!(taken[10].client, Some(client("laptop").into()));
    assert_eq!(taken[10].principal, Some(bob));
}

#[tokio::test]
async fn events_stay_until_they_are_done_and_their_numbers_are_not_reused() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    for name in ["a", "b", "c"] {
        command.add_secret("alice", name, "v").await;
    }
    let ids = |taken: &[AdminEvent]| taken.iter().map(|event| event.id).collect::<Vec<_>>();
    let take = async |limit| store.outbox_take(limit).await.unwrap();
    let all = take(10).await;
    assert_eq!(take(2).await.events, all.events[..2]);
    store.outbox_done(&take(1).await).await.unwrap();
    assert_eq!(take(10).await.events, all.events[1..]);
    store.outbox_done(&all).await.unwrap();
    assert!(take(10).await.is_empty());
    command.add_secret("alice", "d", "v").await;
    let later = take(10).await;
    assert!(ids(&later.events)[0] > *ids(&all.events).last().unwrap());
    assert!(later.unverified.is_empty() && !later.is_incomplete);
}

#[tokio::test]
async fn a_failed_seal_changes_nothing() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let before = command.store().changes_since(0).await.unwrap().head;
    let (alice, key) = alice_and_key();
    let target = edit::CredentialTarget {
        owner: &alice,
        slug: &key,
        right: crate::vault::rights::Right::Own,
        with: None,
    };
    let fail = |edit: &mut edit::CredentialEdit| {
        edit.record = Some(CredentialRecord::Deleted(1));
        edit.record_event(Event::CredentialCreated, 1, "");
        Err(StoreError::Seal(crate::vault::seal::SealError))
    };
    let result = command
        .store()
        .change_credential(&actor(), &target, fail)
        .await;
    assert!(matches!(result, Err(StoreError::Seal(_))));
    let after = command.store().changes_since(0).await.unwrap();
    assert_eq!((after.head, after.credentials.len()), (before, 0));
    assert!(command.store().outbox_take(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn expired_clients_are_removed_and_names_are_taken_once() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let store = command.store();
    let bob = principal("bob");
    let first = command
        .add_client(
            &actor(),
            &client("run-1"),
            &bob,
            ClientProof::Token([1; 32]),
            Some(1),
        )
        .await
        .unwrap();
    let taken = command
        .add_client(
            &actor(),
            &client("x"),
            &bob,
            ClientProof::Token([2; 32]),
            None,
        )
        .await
        .unwrap();
    let error = command
        .add_client(
            &actor(),
            &client("x"),
            &bob,
            ClientProof::Token([3; 32]),
            None,
        )
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ClientExists(_)));
    assert_eq!(store.list_clients().await.unwrap(), [taken]);
    let again = command
        .add_client(
            &actor(),
            &client("run-1"),
            &bob,
            ClientProof::Token([1; 32]),
            None,
        )
        .await
        .unwrap();
    assert_ne!(first.enrolment, again.enrolment);
    assert_eq!(
        command
            .remove_client(&actor(), &client("run-1"))
            .await
            .unwrap(),
        again
    );
    let error = command
        .remove_client(&actor(), &client("run-1"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ClientNotFound(_)));
}

#[tokio::test]
async fn no_client_has_a_name_that_means_requests_without_one() {
    let fixture = Fixture::new();
    let registrar = fixture.registrar().await;
    for name in crate::vault::name::NAMELESS {
        let proof = ClientProof::Token([1; 32]);
        let added = registrar
            .add_client(&actor(), &client(name), &principal("alice"), proof, None)
            .await;
        assert!(matches!(added, Err(StoreError::Invalid(_))), "{name}");
    }
    let clients = registrar.store().list_clients().await.unwrap();
    assert!(clients.is_empty());
}

#[tokio::test]
async fn only_a_token_that_ends_can_be_extended() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let store = command.store();
    let (run, laptop, bob) = (client("run-1"), client("laptop"), principal("bob"));
    command
        .add_client(&actor(), &laptop, &bob, ClientProof::Token([2; 32]), None)
        .await
        .unwrap();
    command
        .add_client(&actor(), &run, &bob, ClientProof::Token([1; 32]), Some(NOW))
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
            let url = fixture.store_url();
            tokio::spawn(async move {
                let command = registrar(&url).await;
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
    assert_eq!(list.credentials.len(), 8);
}
