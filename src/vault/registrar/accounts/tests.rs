use std::time::Duration;

use super::*;
use crate::clock;
use crate::vault::Registrar;
use crate::vault::access::{ApiTokenId, Scope};
use crate::vault::fixture::*;
use crate::vault::registrar::people::NewUser;
use crate::vault::registrar::tokens::NewToken;

const LIMITS: SessionLimits = SessionLimits {
    lifetime: Duration::from_secs(3600),
    idle: Duration::from_secs(600),
};

fn session(hash: &SecretHash) -> Beginning<'_> {
    Beginning {
        hash,
        limits: LIMITS,
    }
}

fn page(user: &str) -> Actor {
    Actor::user("page", &principal(user))
}

async fn claim(
    registrar: &Registrar,
    link: &LinkId,
    user: &str,
    number: u8,
) -> Result<(), StoreError> {
    let name = principal(user);
    let cookie = [number; 32];
    let claim = Claim {
        link,
        hash: &[1; 32],
        user: &name,
        display_name: "",
        password: "a hash",
        session: session(&cookie),
    };
    registrar.claim(&page(user), &claim).await
}

/// A registrar with the administrator `root`.
async fn administered(fixture: &Fixture) -> Registrar {
    let registrar = fixture.registrar().await;
    assert!(!registrar.is_administered().await.unwrap());
    let link = LinkId::Administrator;
    registrar
        .make_link(&actor(), &link, &[1; 32])
        .await
        .unwrap();
    assert!(registrar.is_administered().await.unwrap());
    claim(&registrar, &link, "root", 100).await.unwrap();
    registrar
}

async fn is_in(registrar: &Registrar, cookie: u8) -> bool {
    let found = registrar.session(&[cookie; 32]).await.unwrap();
    found.is_some_and(|found| {
        let is_later = found.session.began >= found.account.sessions_after;
        is_later && found.session.is_usable(clock::unix_seconds(), LIMITS)
    })
}

#[tokio::test]
async fn a_link_makes_one_administrator_however_many_use_it_at_once() {
    let fixture = Fixture::new();
    let registrar = fixture.registrar().await;
    let link = LinkId::Administrator;
    registrar
        .make_link(&actor(), &link, &[1; 32])
        .await
        .unwrap();
    let now = clock::unix_seconds();
    assert_eq!(
        registrar.link(&[1; 32], now).await.unwrap(),
        Some(LinkId::Administrator)
    );
    assert_eq!(registrar.link(&[2; 32], now).await.unwrap(), None);
    let (one, other) = tokio::join!(
        claim(&registrar, &link, "alice", 7),
        claim(&registrar, &link, "mallory", 8)
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
    assert_eq!(registrar.link(&[1; 32], now).await.unwrap(), None);
    assert!(is_in(&registrar, 7).await != is_in(&registrar, 8).await);
    let late = claim(&registrar, &link, "eve", 9).await;
    assert!(matches!(late, Err(StoreError::LinkOver)));
    let users = registrar.store().list_users().await.unwrap();
    assert_eq!(users.len(), 1);
    assert!(users.values().all(User::is_active_administrator));
}

#[tokio::test]
async fn a_link_for_an_administrator_takes_no_name_that_has_a_password() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    let link = LinkId::Administrator;
    registrar
        .make_link(&actor(), &link, &[1; 32])
        .await
        .unwrap();
    let taken = claim(&registrar, &link, "root", 1).await;
    assert!(matches!(taken, Err(StoreError::HasAccount(_))));
    // The link is not used up by that.
    claim(&registrar, &link, "second", 2).await.unwrap();
    assert!(is_in(&registrar, 2).await);
}

#[tokio::test]
async fn an_administrator_invites_only_who_could_not_be_impersonated() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    registrar.add_users(&["new", "owner"]).await;
    registrar
        .add_secret("owner", "key", "a value of hers")
        .await;
    let invite = |actor: Actor, user: &'static str| {
        let id = LinkId::User(principal(user));
        let registrar = &registrar;
        async move { registrar.make_link(&actor, &id, &[1; 32]).await }
    };
    assert!(invite(page("root"), "new").await.is_ok());
    let owner = invite(page("root"), "owner").await;
    assert!(matches!(owner, Err(StoreError::HasAccount(_))));
    let own = invite(page("root"), "root").await;
    assert!(matches!(own, Err(StoreError::Forbidden(_))));
    let member = invite(page("new"), "owner").await;
    assert!(matches!(member, Err(StoreError::Forbidden(_))));
    let administrators = registrar
        .make_link(&page("root"), &LinkId::Administrator, &[1; 32])
        .await;
    assert!(matches!(administrators, Err(StoreError::Forbidden(_))));
    // The operator may do everything.
    assert!(invite(actor(), "owner").await.is_ok());
    let nobody = invite(actor(), "nobody").await;
    assert!(matches!(nobody, Err(StoreError::UserNotFound(_))));
    // A link is for its own user.
    let other = claim(&registrar, &LinkId::User(principal("owner")), "new", 3).await;
    assert!(other.is_err());
    claim(&registrar, &LinkId::User(principal("owner")), "owner", 4)
        .await
        .unwrap();
    let again = invite(page("root"), "owner").await;
    assert!(matches!(again, Err(StoreError::HasAccount(_))));
}

#[tokio::test]
async fn a_session_ends_with_its_password_with_its_user_and_everywhere() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    let root = principal("root");
    let begin = |cookie: u8, proof: Proof<'static>| {
        let (registrar, root) = (&registrar, &root);
        async move {
            let hash = [cookie; 32];
            registrar
                .begin_session(&page("root"), root, proof, session(&hash))
                .await
        }
    };
    begin(1, Proof::Password("a hash")).await.unwrap();
    let stale = begin(2, Proof::Password("an older hash")).await;
    assert!(matches!(stale, Err(StoreError::Forbidden(_))));
    assert!(is_in(&registrar, 1).await && !is_in(&registrar, 2).await);

    let cookie = [3; 32];
    registrar
        .change_password(&page("root"), &root, "a hash", "another", session(&cookie))
        .await
        .unwrap();
    assert!(!is_in(&registrar, 1).await && is_in(&registrar, 3).await);

    begin(4, Proof::Password("another")).await.unwrap();
    registrar.end_session(&[3; 32]).await.unwrap();
    assert!(!is_in(&registrar, 3).await && is_in(&registrar, 4).await);
    registrar.end_sessions(&page("root"), &root).await.unwrap();
    assert!(!is_in(&registrar, 4).await);

    begin(5, Proof::Password("another")).await.unwrap();
    registrar
        .reset_account(&actor(), &root, &[1; 32])
        .await
        .unwrap();
    assert!(!is_in(&registrar, 5).await);
    let gone = begin(6, Proof::Password("another")).await;
    assert!(matches!(gone, Err(StoreError::Forbidden(_))));
    let second = NewUser {
        name: principal("second"),
        display_name: String::new(),
        role: Role::Administrator,
    };
    registrar.add_user(&actor(), &second).await.unwrap();
    registrar.set_disabled(&actor(), &root, true).await.unwrap();
    let disabled = begin(7, Proof::OpenId { proved: 0 }).await;
    assert!(matches!(disabled, Err(StoreError::Forbidden(_))));
}

#[tokio::test]
async fn nobody_else_resets_or_signs_in_for_a_user() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    registrar.add_users(&["alice"]).await;
    let alice = principal("alice");
    let reset = registrar
        .reset_account(&page("root"), &alice, &[1; 32])
        .await;
    assert!(matches!(reset, Err(StoreError::Forbidden(_))));
    let ended = registrar
        .end_sessions(&page("alice"), &principal("root"))
        .await;
    assert!(matches!(ended, Err(StoreError::Forbidden(_))));
}

#[tokio::test]
async fn a_session_that_was_edited_or_put_back_is_not_one() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    let database = registrar.store().sqlite();
    database
        .execute("CREATE TABLE copy AS SELECT * FROM sessions")
        .await;
    registrar
        .end_sessions(&page("root"), &principal("root"))
        .await
        .unwrap();
    database
        .execute("INSERT INTO sessions SELECT * FROM copy")
        .await;
    assert!(!is_in(&registrar, 100).await, "it was put back");

    for edit in [
        "UPDATE sessions SET document = replace(document, '\"user\":\"root\"', '\"user\":\"roof\"')",
        "UPDATE sessions SET document = replace(document, '\"method\":\"link\"', '\"method\":\"openid\"')",
        "UPDATE sessions SET tag = zeroblob(32)",
        "UPDATE sessions SET id = '0202020202020202020202020202020202020202020202020202020202020202'",
    ] {
        let fixture = Fixture::new();
        let registrar = administered(&fixture).await;
        assert!(is_in(&registrar, 100).await);
        registrar.store().sqlite().execute(edit).await;
        assert!(!is_in(&registrar, 100).await, "{edit}");
        assert!(!is_in(&registrar, 2).await, "{edit}");
    }
}

#[tokio::test]
async fn a_password_that_was_put_back_is_noticed() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    let database = registrar.store().sqlite();
    database
        .execute("CREATE TABLE copy AS SELECT * FROM objects WHERE kind = 'account'")
        .await;
    let cookie = [3; 32];
    let root = principal("root");
    registrar
        .change_password(&page("root"), &root, "a hash", "another", session(&cookie))
        .await
        .unwrap();
    database
        .execute("REPLACE INTO objects SELECT * FROM copy")
        .await;
    let found = registrar.store().check().await;
    assert!(found.unwrap_err().is_alarming());
}

#[tokio::test]
async fn a_token_is_its_users_and_ends_when_it_is_revoked() {
    let fixture = Fixture::new();
    let registrar = administered(&fixture).await;
    registrar.add_users(&["alice"]).await;
    let (id, alice) = (
        ApiTokenId::parse("0123456789abcdef").unwrap(),
        principal("alice"),
    );
    let now = clock::unix_seconds();
    let new = NewToken {
        id: &id,
        hash: &[5; 32],
        user: &alice,
        name: "ci",
        scope: Scope::Read,
        expires: now + 60,
    };
    let other = registrar.add_token(&page("root"), &new).await;
    assert!(matches!(other, Err(StoreError::Forbidden(_))));
    for wrong in [
        NewToken {
            name: "",
            ..new.clone()
        },
        NewToken {
            expires: now - 1,
            ..new.clone()
        },
        NewToken {
            expires: now + 400 * 86400,
            ..new.clone()
        },
    ] {
        let refused = registrar.add_token(&page("alice"), &wrong).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{wrong:?}");
    }
    registrar.add_token(&page("alice"), &new).await.unwrap();
    let (token, user) = registrar.token(&id).await.unwrap().unwrap();
    assert!(token.record.matches(&[5; 32], now) && !token.record.matches(&[6; 32], now));
    assert_eq!((user.role, token.used), (Role::Member, None));
    registrar.note_token_use(&id, now).await.unwrap();
    let listed = registrar.list_tokens(Some(&alice)).await.unwrap();
    assert_eq!(listed[0].used, Some(now));
    assert!(
        registrar
            .list_tokens(Some(&principal("root")))
            .await
            .unwrap()
            .is_empty()
    );
    registrar.add_users(&["bob"]).await;
    let stranger = registrar.remove_token(&page("bob"), &id).await;
    assert!(matches!(stranger, Err(StoreError::TokenNotFound(_))));
    registrar.remove_token(&page("root"), &id).await.unwrap();
    assert!(registrar.token(&id).await.unwrap().is_none());
}
