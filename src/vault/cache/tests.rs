//! The vault of a running server against changes made by others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::vault::fixture::*;
use crate::vault::{Kind, NewCredential, Registrar};

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
            .rotate(&actor(), &alice, &key, secret(value))
            .await
            .unwrap()
    };
    assert_eq!(vault.value("alice", "key").await, None);
    assert_eq!(command.add_secret("alice", "key", "one").await, 1);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "one");
    assert_eq!(rotate("two").await, 2);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "two");
    assert!(
        command
            .store()
            .revoke(&actor(), &alice, &key)
            .await
            .unwrap()
    );
    assert_eq!(vault.value("alice", "key").await, None);
    assert_eq!(rotate("three").await, 3);
    assert_eq!(
        vault.value("alice", "key").await,
        None,
        "rotation does not end a revocation"
    );
    assert!(
        command
            .store()
            .restore(&actor(), &alice, &key)
            .await
            .unwrap()
    );
    assert_eq!(vault.value("alice", "key").await.unwrap(), "three");
}

#[tokio::test]
async fn sharing_and_deleting_hold_at_the_next_refresh() {
    let fixture = Fixture::new();
    let vault = fixture.vault().await;
    let command = fixture.registrar().await;
    let store = command.store();
    let (alice, bob, key) = (principal("alice"), principal("bob"), slug("key"));
    command.add_secret("alice", "key", "one").await;
    assert_eq!(vault.value("bob", "key").await, None);
    assert!(store.share(&actor(), &alice, &key, &bob).await.unwrap());
    assert_eq!(vault.value("bob", "key").await.unwrap(), "one");
    assert!(store.unshare(&actor(), &alice, &key, &bob).await.unwrap());
    assert_eq!(vault.value("bob", "key").await, None);
    assert!(store.share(&actor(), &alice, &key, &bob).await.unwrap());
    assert_eq!(vault.value("bob", "key").await.unwrap(), "one");
    store.delete(&actor(), &alice, &key).await.unwrap();
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
    vault.store().outbox_done(&[1]).await.unwrap();
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
    let (store, bob, key) = (command.store(), principal("bob"), slug("key"));
    for owner in ["alice", "carol", "bob"] {
        command.add_secret(owner, "key", owner).await;
    }
    for owner in ["alice", "carol"] {
        store
            .share(&actor(), &principal(owner), &key, &bob)
            .await
            .unwrap();
    }
    assert_eq!(vault.value("bob", "key").await.unwrap(), "bob");
    store.revoke(&actor(), &bob, &key).await.unwrap();
    assert_eq!(
        vault.value("bob", "key").await,
        None,
        "nothing steps into a revoked one's place"
    );
    store.delete(&actor(), &bob, &key).await.unwrap();
    vault.refresh().await.unwrap();
    assert!(matches!(vault.find(&bob, &key, NOW), Found::Ambiguous));
    store
        .revoke(&actor(), &principal("carol"), &key)
        .await
        .unwrap();
    assert_eq!(vault.value("bob", "key").await.unwrap(), "alice");
    assert_eq!(vault.live(&bob).len(), 1);
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
    let Found::One(login) = vault.find(&principal("alice"), &slug("crm"), NOW) else {
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
    let mut revision = vault.revision.lock().await;
    let load_and_revoke = async {
        vault.load(&mut revision).await?;
        command.store().revoke(&actor(), &alice, &key).await
    };
    assert!(vault.watch.catch_up(load_and_revoke).await.unwrap());
    drop(revision);
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

/// What [`Vault`] should answer, as simple as possible.
#[derive(Clone, Debug, Default)]
struct Model {
    value: String,
    version: u32,
    revoked: bool,
    shared_with: Vec<usize>,
    deleted: bool,
}

const PEOPLE: [&str; 3] = ["ann", "ben", "cid"];

impl Model {
    fn usable(&self) -> bool {
        !self.revoked && !self.deleted
    }
}

type World = BTreeMap<(usize, usize), Model>;

fn expected(world: &World, who: usize, name: usize) -> Option<String> {
    match world.get(&(who, name)) {
        Some(own) if !own.deleted => return own.usable().then(|| own.value.clone()),
        _ => {}
    }
    let offers: Vec<&Model> = world
        .iter()
        .filter(|((_, slug), model)| *slug == name && model.shared_with.contains(&who))
        .map(|(_, model)| model)
        .filter(|model| model.usable())
        .collect();
    match offers[..] {
        [only] => Some(only.value.clone()),
        _ => None,
    }
}

/// One command: what is done, to whose credential, which one, with whom.
type Step = (u8, usize, usize, usize);

async fn perform(command: &Registrar, world: &mut World, step: Step, value: String) {
    let (what, who, name, with) = step;
    let (owner, slug) = (principal(PEOPLE[who]), slug(&format!("s{name}")));
    let store = command.store();
    let known = world.entry((who, name)).or_insert(Model {
        deleted: true,
        ..Model::default()
    });
    if what == 0 {
        let new = new_credential(PEOPLE[who], slug.as_str());
        let version = command.add(&actor(), new, secret(&value)).await.ok();
        assert_eq!(version, known.deleted.then_some(known.version + 1));
        if known.deleted {
            *known = Model {
                value,
                version: known.version + 1,
                ..Model::default()
            };
        }
        return;
    }
    let result = match what {
        1 => command
            .rotate(&actor(), &owner, &slug, secret(&value))
            .await
            .map(|_| ())
            .ok(),
        2 => store.revoke(&actor(), &owner, &slug).await.map(|_| ()).ok(),
        3 => store
            .restore(&actor(), &owner, &slug)
            .await
            .map(|_| ())
            .ok(),
        4 => store.delete(&actor(), &owner, &slug).await.ok(),
        _ if with == who => return,
        5 => store
            .share(&actor(), &owner, &slug, &principal(PEOPLE[with]))
            .await
            .map(|_| ())
            .ok(),
        _ => store
            .unshare(&actor(), &owner, &slug, &principal(PEOPLE[with]))
            .await
            .map(|_| ())
            .ok(),
    };
    assert_eq!(result.is_some(), !known.deleted);
    if known.deleted {
        return;
    }
    match what {
        1 => (known.value, known.version) = (value, known.version + 1),
        2 => known.revoked = true,
        3 => known.revoked = false,
        4 => {
            *known = Model {
                version: known.version,
                deleted: true,
                ..Model::default()
            }
        }
        5 => known.shared_with.push(with),
        _ => known.shared_with.retain(|other| *other != with),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn every_history_of_commands_is_seen_as_it_was_made(
        steps in prop::collection::vec((0..7u8, 0..3usize, 0..2usize, 0..3usize), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let command = fixture.registrar().await;
            let vault = fixture.vault().await;
            let mut world = World::new();
            for (number, step) in steps.into_iter().enumerate() {
                perform(&command, &mut world, step, format!("value {number}")).await;
                for (who, person) in PEOPLE.iter().enumerate() {
                    for name in 0..2 {
                        let seen = vault.value(person, &format!("s{name}")).await;
                        assert_eq!(seen, expected(&world, who, name), "{person} s{name}: {world:?}");
                    }
                }
            }
            // A server that starts now must see the same as the one that watched.
            let fresh = fixture.vault().await;
            for (who, person) in PEOPLE.iter().enumerate() {
                assert_eq!(fresh.value(person, "s0").await, expected(&world, who, 0));
            }
        });
    }
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
        let Found::One(credential) = vault.find(&alice, &key, NOW) else {
            panic!("not found");
        };
        credential
    };
    let first = current().await;
    let searched: Vec<_> = vault.open_all(&first).map(|(_, value)| value).collect();
    let sent = vault.open_value(&first, None).unwrap();
    assert!(Arc::ptr_eq(&searched[0], &sent));
    command
        .rotate(&actor(), &alice, &key, secret("two"))
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
    for value in ["two", "three"] {
        command
            .rotate(&actor(), &alice, &key, secret(value))
            .await
            .unwrap();
    }
    assert_eq!(known().await, ["three", "two"]);
    assert_eq!(vault.value("alice", "key").await.unwrap(), "three");
    assert!(vault.retired() > retired);

    let retired = vault.retired();
    assert_eq!(vault.store().erase_replaced(i64::MAX).await.unwrap(), 1);
    assert_eq!(known().await, ["three"]);
    assert!(vault.retired() > retired);

    assert_eq!(vault.only_owner(), Some(alice.clone()));
    let retired = vault.retired();
    command
        .store()
        .share(&actor(), &alice, &key, &principal("bob"))
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
