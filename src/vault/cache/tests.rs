//! The vault of a running server against changes made by others.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::vault::fixture::*;
use crate::vault::rotation::Retention;
use crate::vault::{Kind, NewCredential};

impl Vault {
    /// Whether nothing was committed, and a refresh then finishes without waiting for anything.
    pub(in crate::vault) fn is_fresh(&self) -> bool {
        let mut refresh = pin!(self.refresh());
        let mut context = Context::from_waker(Waker::noop());
        self.watch.check() == Freshness::Fresh
            && refresh.as_mut().poll(&mut context) == Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn rotating_and_revoking_hold_at_the_next_refresh() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    let rotate = async |value: &str| {
        command
            .rotate(&actor(), &alice, &key, secret(value), Retention::default())
            .await
            .unwrap()
    };
    assert_eq!(vault.value("alice", "key").await, None);
    assert_eq!(command.add_secret("alice", "key", "one").await, 1);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "one");
    assert_eq!(rotate("two").await, 2);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "two");
    assert!(command.revoke(&actor(), &alice, &key).await.unwrap());
    assert_eq!(vault.value("alice", "key").await, None);
    assert_eq!(rotate("three").await, 3);
    assert_eq!(
        vault.value("alice", "key").await,
        None,
        "rotation does not end a revocation"
    );
    assert!(command.restore(&actor(), &alice, &key).await.unwrap());
    assert_eq!(vault.value("alice", "key").await.unwrap(), "three");
}

#[tokio::test]
async fn sharing_and_deleting_hold_at_the_next_refresh() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_users(&["bob"]).await;
    command.add_secret("alice", "key", "one").await;
    assert_eq!(vault.value("bob", "key").await, None);
    assert!(
        command
            .share(&actor(), &alice, &key, &with("bob"))
            .await
            .unwrap()
    );
    assert_eq!(vault.value("bob", "key").await.unwrap(), "one");
    assert!(
        command
            .unshare(&actor(), &alice, &key, &with("bob").with)
            .await
            .unwrap()
    );
    assert_eq!(vault.value("bob", "key").await, None);
    assert!(
        command
            .share(&actor(), &alice, &key, &with("bob"))
            .await
            .unwrap()
    );
    assert_eq!(vault.value("bob", "key").await.unwrap(), "one");
    command.delete(&actor(), &alice, &key).await.unwrap();
    assert_eq!(vault.value("alice", "key").await, None);
    assert_eq!(vault.value("bob", "key").await, None);
    assert_eq!(
        command.add_secret("alice", "key", "two").await,
        2,
        "versions are never reused"
    );
    assert_eq!(vault.value("alice", "key").await.unwrap(), "two");
    assert_eq!(
        vault.value("bob", "key").await,
        None,
        "shares do not outlive a delete"
    );
}

#[tokio::test]
async fn an_unchanged_store_costs_no_wait_and_no_new_generation() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    fixture
        .registrar()
        .await
        .add_secret("alice", "key", "one")
        .await;
    vault.refresh().await.unwrap();
    let generation = vault.generation();
    assert!((0..100).all(|_| vault.is_fresh()));
    // Taking events out of the outbox is a commit, but nothing a principal can see.
    let taken = vault.store().outbox_take(1).await.unwrap();
    vault.store().outbox_done(&taken).await.unwrap();
    assert!(!vault.is_fresh());
    vault.refresh().await.unwrap();
    assert_eq!(vault.generation(), generation);
    assert!(vault.is_fresh());
}

#[tokio::test]
async fn an_own_credential_hides_a_shared_one_and_two_shared_ones_are_ambiguous() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let (bob, key) = (principal("bob"), slug("key"));
    for owner in ["alice", "carol", "bob"] {
        command.add_secret(owner, "key", owner).await;
    }
    for owner in ["alice", "carol"] {
        command
            .share(&actor(), &principal(owner), &key, &with("bob"))
            .await
            .unwrap();
    }
    assert_eq!(vault.value("bob", "key").await.unwrap(), "bob");
    command.revoke(&actor(), &bob, &key).await.unwrap();
    assert_eq!(
        vault.value("bob", "key").await,
        None,
        "nothing steps into a revoked one's place"
    );
    command.delete(&actor(), &bob, &key).await.unwrap();
    vault.refresh().await.unwrap();
    assert!(matches!(vault.find(&bob, &key, NOW), Found::Ambiguous));
    command
        .revoke(&actor(), &principal("carol"), &key)
        .await
        .unwrap();
    assert_eq!(vault.value("bob", "key").await.unwrap(), "alice");
    assert_eq!(
        vault.live(&bob).len(),
        2,
        "the revoked one is still searched for"
    );
    assert_eq!(vault.live(&principal("dave")).len(), 0);
}

#[tokio::test]
async fn an_expired_credential_is_not_found_but_still_searched_for() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_secret("alice", "key", "one").await;
    let mut limited = grant();
    limited.expires = Some(NOW);
    assert!(
        command
            .allow(&actor(), &alice, &key, limited.clone())
            .await
            .unwrap()
    );
    assert!(
        !command
            .allow(&actor(), &alice, &key, limited)
            .await
            .unwrap()
    );
    vault.refresh().await.unwrap();
    assert!(matches!(vault.find(&alice, &key, NOW - 1), Found::One(_)));
    assert!(matches!(vault.find(&alice, &key, NOW), Found::None));
    assert_eq!(vault.live(&alice).len(), 1);
}

#[tokio::test]
async fn fields_open_by_name_and_a_bare_login_does_not() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let login = NewCredential {
        kind: Kind::Login,
        ..new_credential("alice", "crm")
    };
    let input = secret(r#"{"username":"ann","password":"pw"}"#);
    command.add(&actor(), login, input).await.unwrap();
    vault.refresh().await.unwrap();
    let Found::One(Usable {
        credential: login, ..
    }) = vault.find(&principal("alice"), &slug("crm"), NOW)
    else {
        panic!("not found");
    };
    let (user, password) = (field("username"), field("password"));
    assert_eq!(
        vault.open_value(&login, Some(&user)).unwrap().expose(),
        b"ann"
    );
    assert_eq!(
        vault.open_value(&login, Some(&password)).unwrap().expose(),
        b"pw"
    );
    assert_eq!(
        vault.open_value(&login, None).unwrap_err(),
        OpenError::FieldUnknown
    );
    assert!(login.has_field(Some(&user)) && !login.has_field(None));
    assert_eq!(login.field_names().count(), 2);
}

#[tokio::test]
async fn many_requests_wait_for_one_load() {
    let fixture = Fixture::new();
    let vault = Arc::new(fixture.vault().await);
    let command = fixture.registrar().await;
    for round in 0..5 {
        command
            .add_secret("alice", &format!("key{round}"), "v")
            .await;
        let generation = vault.generation();
        let requests = (0..50).map(|_| {
            let vault = Arc::clone(&vault);
            tokio::spawn(async move { vault.value("alice", &format!("key{round}")).await })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap().unwrap(), "v");
        }
        assert_eq!(vault.generation(), generation + 1);
    }
}

#[tokio::test]
async fn a_commit_during_a_load_is_not_lost() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_secret("alice", "key", "one").await;
    let mut loaded = vault.loaded.lock().await;
    let load_and_revoke = async {
        vault.load(&mut loaded).await?;
        command.revoke(&actor(), &alice, &key).await
    };
    assert!(vault.watch.catch_up(load_and_revoke).await.unwrap());
    drop(loaded);
    assert_eq!(vault.value("alice", "key").await, None);
}

#[tokio::test]
async fn another_master_key_is_refused_at_the_door() {
    let fixture = Fixture::new();
    drop(fixture.vault().await);
    let other = Keyring::ephemeral().unwrap();
    let found = other.id().to_string();
    let error = Vault::open(&fixture.data_dir(), &fixture.store_url(), &other)
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&found) && message.contains(&keyring().id().to_string()),
        "{message}"
    );
}

#[tokio::test]
async fn a_value_that_is_searched_for_is_not_opened_a_second_time_until_it_is_replaced() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_secret("alice", "key", "one").await;
    let vault = fixture.vault().await;
    let current = async || {
        vault.refresh().await.unwrap();
        let Found::One(Usable { credential, .. }) = vault.find(&alice, &key, NOW) else {
            panic!("not found");
        };
        credential
    };
    let first = current().await;
    let searched: Vec<_> = vault.open_all(&first).map(|(_, value)| value).collect();
    let sent = vault.open_value(&first, None).unwrap();
    assert!(Arc::ptr_eq(&searched[0], &sent));
    command
        .rotate(&actor(), &alice, &key, secret("two"), Retention::default())
        .await
        .unwrap();
    let second = current().await;
    assert_eq!(vault.open_value(&second, None).unwrap().expose(), b"two");
    assert_eq!(sent.expose(), b"one", "a holder keeps it");
}

/// Nothing can use a replaced value, but an upstream may still echo it.
#[tokio::test]
async fn a_replaced_value_is_looked_for_until_its_time_is_over() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    let (alice, key) = (principal("alice"), slug("key"));
    command.add_secret("alice", "key", "one").await;
    let vault = fixture.vault().await;
    let known = async || {
        vault.refresh().await.unwrap();
        let credentials = vault.live(&alice);
        let values = credentials.iter().flat_map(|c| vault.open_all(c));
        let text = |value: Arc<SecretBytes>| String::from_utf8(value.expose().to_vec()).unwrap();
        values.map(|(_, value)| text(value)).collect::<Vec<_>>()
    };
    assert_eq!(known().await, ["one"]);
    let retired = vault.retired();
    for (value, retention) in [
        ("two", Retention::leaked()),
        ("three", Retention::default()),
    ] {
        command
            .rotate(&actor(), &alice, &key, secret(value), retention)
            .await
            .unwrap();
    }
    assert_eq!(known().await, ["three", "two"]);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "three");
    assert!(vault.retired() > retired);

    let retired = vault.retired();
    assert_eq!(vault.store().erase_due(i64::MAX).await.unwrap(), 1);
    assert_eq!(known().await, ["three"]);
    assert!(vault.retired() > retired);

    assert_eq!(vault.only_owner(), Some(alice.clone()));
    command.add_users(&["bob"]).await;
    let retired = vault.retired();
    command
        .share(&actor(), &alice, &key, &with("bob"))
        .await
        .unwrap();
    assert_eq!(known().await, ["three"]);
    assert_eq!(vault.retired(), retired, "nothing went out of use");
    assert_eq!(
        vault.only_owner(),
        Some(alice),
        "bob uses, and owns nothing"
    );
    command.add_secret("bob", "key", "of bob").await;
    vault.refresh().await.unwrap();
    assert_eq!((vault.only_owner(), vault.all_live().len()), (None, 2));
}

/// What is told of late changes is what is live of them, for owners and for those with whom it is shared.
#[tokio::test]
async fn late_changes_are_told_until_they_are_too_many() {
    let fixture = Fixture::new();
    let command = fixture.registrar().await;
    command.add_users(&["alice", "bob", "carol"]).await;
    for name in ["a", "b", "c"] {
        command.add_secret("alice", name, "v").await;
    }
    let vault = fixture.vault().await;
    let (alice, bob) = (principal("alice"), principal("bob"));
    let start = vault.generation();
    let since = async |who: &Principal| {
        vault.refresh().await.unwrap();
        let live = vault.live_since(who, start)?;
        let mut slugs: Vec<_> = live.iter().map(|one| one.slug.to_string()).collect();
        slugs.sort();
        Some(slugs.join(" "))
    };
    assert_eq!(since(&alice).await.unwrap(), "");
    command.revoke(&actor(), &alice, &slug("a")).await.unwrap();
    command.delete(&actor(), &alice, &slug("b")).await.unwrap();
    command.add_secret("alice", "d", "v").await;
    command
        .share(&actor(), &alice, &slug("c"), &with("bob"))
        .await
        .unwrap();
    // The value of what was revoked is still searched for.
    assert_eq!(since(&alice).await.unwrap(), "a c d");
    assert_eq!(since(&bob).await.unwrap(), "c");
    assert_eq!(since(&principal("carol")).await.unwrap(), "");
    command
        .unshare(&actor(), &alice, &slug("c"), &with("bob").with)
        .await
        .unwrap();
    assert_eq!(since(&bob).await.unwrap(), "c", "for a short time");
    command.add_users(&["dave"]).await;
    assert_eq!(since(&alice).await.unwrap(), "a c d");
    // A bundle may offer anything to anyone.
    let id = "alice/work".parse().unwrap();
    command.add_bundle(&actor(), &id).await.unwrap();
    let put = command
        .put_into_bundle(&actor(), &id, &slug("d"), &slug("d"))
        .await;
    put.unwrap();
    command
        .share_bundle(&actor(), &id, &with("bob"))
        .await
        .unwrap();
    assert_eq!(since(&bob).await, None);
    let later = vault.generation();
    let together = command.together(&actor(), None).await.unwrap();
    for number in 0..2001 {
        together
            .add_secret("carol", &format!("many-{number}"), "v")
            .await;
    }
    together.finish(&actor()).await.unwrap();
    vault.refresh().await.unwrap();
    assert!(vault.live_since(&bob, later).is_none(), "too many");
    let later = vault.generation();
    command.add_secret("alice", "e", "v").await;
    vault.refresh().await.unwrap();
    let found = vault.live_since(&alice, later).unwrap();
    assert_eq!(found.len(), 1);
}
