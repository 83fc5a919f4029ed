use std::sync::Mutex;

use super::*;
use crate::vault::client_proof::ClientProof;
use crate::vault::fixture::{Fixture, actor, keyring, principal};
use crate::vault::{ClientName, Registrar, Vault};

/// The keyring of the fixture with another key beside it, and that key alone.
fn keyrings() -> (Keyring, Keyring) {
    let (both, next) = (keyring(), [77; 32]);
    both.accept(&next).unwrap();
    (both, Keyring::from_master(&next).unwrap())
}

async fn filled() -> Fixture {
    let fixture = Fixture::new();
    let registrar = fixture.registrar().await;
    registrar.add_users(&["alice", "bob"]).await;
    for number in 0..3 {
        let (name, value) = (format!("key-{number}"), format!("value {number}"));
        registrar.add_secret("alice", &name, &value).await;
    }
    let (name, proof) = (
        ClientName::parse("laptop").unwrap(),
        ClientProof::Token([1; 32]),
    );
    let owner = principal("alice");
    registrar
        .add_client(&actor(), &name, &owner, proof, None)
        .await
        .unwrap();
    fixture
}

async fn open(fixture: &Fixture, keyring: &Keyring) -> Result<Vault, crate::vault::VaultError> {
    Vault::open(&fixture.data_dir(), &fixture.store_url(), keyring).await
}

#[tokio::test]
async fn everything_opens_under_the_next_key_and_nothing_under_the_former() {
    let fixture = filled().await;
    let (both, next) = keyrings();
    let store = Store::open(&fixture.store_url(), both.policy_keys())
        .await
        .unwrap();
    let seen = Mutex::new(Vec::new());
    let progress = |done, total| seen.lock().unwrap().push((done, total));
    let done = rekey(&store, &both, &actor(), &progress)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((done.unusable, both.id()), (0, next.id()));
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.last(), Some(&(done.entries, done.entries)));
    let again = rekey(&store, &both, &actor(), &|_, _| {}).await.unwrap();
    assert_eq!(again, None);
    store.close().await;

    let vault = open(&fixture, &next).await.unwrap();
    assert_eq!(vault.unverified(), 0);
    assert_eq!(
        vault.value("alice", "key-2").await.as_deref(),
        Some("value 2")
    );
    assert!(vault.store().check().await.unwrap().is_empty());
    let waiting = vault.store().outbox_take(100).await.unwrap();
    assert!(waiting.unverified.is_empty() && !waiting.is_incomplete);
    let last = waiting.events.last().unwrap();
    assert_eq!(last.event.as_str(), "store.rekeyed");
    vault.store().close().await;
    let refused = open(&fixture, &keyring()).await.unwrap_err();
    assert!(
        refused.to_string().contains(&next.id().to_string()),
        "{refused}"
    );
}

/// A running server has both keys, and another process changes the store's.
#[tokio::test]
async fn a_running_vault_follows_and_what_was_sealed_before_is_refused() {
    let fixture = filled().await;
    let (both, _) = keyrings();
    let vault = open(&fixture, &both).await.unwrap();
    assert!(vault.value("alice", "key-0").await.is_some());
    let late = Registrar::new(vault.store().clone(), &keyring());

    let (other, next) = keyrings();
    let store = Store::open(&fixture.store_url(), other.policy_keys())
        .await
        .unwrap();
    rekey(&store, &other, &actor(), &|_, _| {}).await.unwrap();
    assert_eq!(
        vault.value("alice", "key-0").await.as_deref(),
        Some("value 0")
    );
    assert_eq!((both.id(), vault.unverified()), (next.id(), 0));
    assert_eq!(vault.store().list_users().await.unwrap().len(), 2);

    // A value that was sealed a moment before is not written: nothing would open it.
    let new = crate::vault::fixture::new_credential("alice", "late");
    let refused = late
        .add(&actor(), new, crate::vault::fixture::secret("late"))
        .await;
    assert!(refused.is_err(), "{refused:?}");
    let registrar = Registrar::new(vault.store().clone(), &both);
    registrar.add_secret("alice", "new", "a new value").await;
    assert_eq!(
        vault.value("alice", "new").await.as_deref(),
        Some("a new value")
    );
}

#[tokio::test]
async fn what_was_edited_before_is_as_unusable_after() {
    let fixture = filled().await;
    let (both, next) = keyrings();
    let store = Store::open(&fixture.store_url(), both.policy_keys())
        .await
        .unwrap();
    let edited = "UPDATE objects SET document = replace(document, 'bob', 'eve') || ' '
                  WHERE kind = 'user' AND id = 'bob'";
    store.sqlite().execute(edited).await;
    let moved = "UPDATE sealed_values SET slug = 'key-0', version = 9 WHERE slug = 'key-1'";
    store.sqlite().execute(moved).await;
    let done = rekey(&store, &both, &actor(), &|_, _| {})
        .await
        .unwrap()
        .unwrap();
    assert_eq!(done.unusable, 2);
    store.close().await;
    let store = Store::open(&fixture.store_url(), next.policy_keys())
        .await
        .unwrap();
    assert_eq!(store.check().await.unwrap(), ["user bob"]);

    // A store that lost rows does not become whole.
    let fixture = filled().await;
    let (both, _) = keyrings();
    let store = Store::open(&fixture.store_url(), both.policy_keys())
        .await
        .unwrap();
    store
        .sqlite()
        .execute("DELETE FROM objects WHERE id = 'laptop'")
        .await;
    let refused = rekey(&store, &both, &actor(), &|_, _| {}).await;
    assert!(refused.unwrap_err().is_alarming());
}
