//! What users may do through the service, by their roles.

use super::*;
use crate::vault::client_proof::ClientProof;
use crate::vault::fixture::*;
use crate::vault::name::ClientName;
use crate::vault::people::Role;
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::rights::Forbidden;

/// Alice owns `key`, which bob may use. Olga is an administrator and wim an auditor.
async fn populated(fixture: &Fixture) -> Registrar {
    let command = fixture.registrar().await;
    command.add_users(&["alice", "bob", "carol"]).await;
    for (name, role) in [("olga", Role::Administrator), ("wim", Role::Auditor)] {
        let new = NewUser {
            name: principal(name),
            display_name: String::new(),
            role,
        };
        command.add_user(&actor(), &new).await.unwrap();
    }
    command.add_secret("alice", "key", "v").await;
    let (alice, key) = (principal("alice"), slug("key"));
    command
        .share(&actor(), &alice, &key, &with("bob"))
        .await
        .unwrap();
    command
}

fn user(name: &str) -> Actor {
    Actor::user("api", &principal(name))
}

/// What the store answers to someone who may not.
fn refusal(result: Result<(), StoreError>) -> &'static str {
    match result {
        Ok(()) => "done",
        Err(StoreError::NotFound { .. }) => "unknown",
        Err(StoreError::Forbidden(Forbidden::NotOwner)) => "not the owner",
        Err(StoreError::Forbidden(Forbidden::Auditor)) => "auditor",
        Err(StoreError::Forbidden(Forbidden::NotAdministrator)) => "no administrator",
        Err(StoreError::Forbidden(Forbidden::Disabled)) => "disabled",
        Err(error) => panic!("{error}"),
    }
}

fn store_error(error: RegistrarError) -> StoreError {
    match error {
        RegistrarError::Store(error) => error,
        other => panic!("{other}"),
    }
}

/// Each change to alice's credential, by someone.
async fn attempts(command: &Registrar, who: &str) -> Vec<&'static str> {
    let (alice, key, by) = (principal("alice"), slug("key"), user(who));
    let mut wider = grant();
    wider.hosts.push("evil.example.com".parse().unwrap());
    let rotated = command
        .rotate(&by, &alice, &key, secret("mine"), Retention::default())
        .await;
    let allowed = command.allow(&by, &alice, &key, wider).await;
    let shared = command.share(&by, &alice, &key, &with("everyone")).await;
    let rolled_back = command.roll_back(&by, &alice, &key).await;
    let restored = command.restore(&by, &alice, &key).await;
    let unshared = command
        .unshare(&by, &alice, &key, &with("nobody").with)
        .await;
    let revoked = command.revoke(&by, &alice, &key).await;
    [
        rotated.map(drop).map_err(store_error),
        allowed.map(drop).map_err(store_error),
        shared.map(drop),
        rolled_back.map(drop),
        restored.map(drop),
        unshared.map(drop),
        revoked.map(drop),
    ]
    .map(refusal)
    .to_vec()
}

#[tokio::test]
async fn an_administrator_takes_away_and_never_uses_or_widens() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    assert_eq!(attempts(&command, "carol").await, ["unknown"; 7]);
    assert_eq!(attempts(&command, "bob").await, ["not the owner"; 7]);
    assert_eq!(attempts(&command, "wim").await, ["auditor"; 7]);
    let (alice, key) = (principal("alice"), slug("key"));
    let before = command.store().get(&alice, &key).await.unwrap().unwrap();
    let by_olga = attempts(&command, "olga").await;
    assert_eq!(by_olga[..5], ["not the owner"; 5]);
    assert_eq!(by_olga[5..], ["done", "done"]);
    let after = command.store().get(&alice, &key).await.unwrap().unwrap();
    assert_eq!(after.state, State::Revoked);
    assert_eq!(after.grant, before.grant);
    assert_eq!(after.version, before.version);
    let deleted = command.delete(&user("olga"), &alice, &key).await;
    assert_eq!(deleted.unwrap(), [1]);
}

#[tokio::test]
async fn only_an_administrator_changes_users_and_one_is_always_left() {
    let fixture = Fixture::new();
    let command = populated(&fixture).await;
    let bob = principal("bob");
    let disable = async |by: &str| command.set_disabled(&user(by), &bob, true).await.map(drop);
    assert_eq!(refusal(disable("alice").await), "no administrator");
    assert_eq!(refusal(disable("wim").await), "auditor");
    assert_eq!(refusal(disable("olga").await), "done");
    // A disabled user changes nothing, not even what is the user's own.
    let own = command
        .add_client(
            &user("bob"),
            &ClientName::parse("laptop").unwrap(),
            &bob,
            ClientProof::Token([7; 32]),
            None,
        )
        .await;
    assert_eq!(refusal(own.map(drop)), "disabled");

    let olga = principal("olga");
    let demote = UserChange {
        role: Some(Role::Member),
        ..UserChange::default()
    };
    for result in [
        command.change_user(&actor(), &olga, &demote).await,
        command.set_disabled(&actor(), &olga, true).await,
    ] {
        assert!(matches!(result, Err(StoreError::LastAdministrator(_))));
    }
    let reserved = NewUser {
        name: principal("everyone"),
        display_name: String::new(),
        role: Role::Member,
    };
    let added = command.add_user(&actor(), &reserved).await;
    assert!(matches!(added, Err(StoreError::ReservedName)));
}
