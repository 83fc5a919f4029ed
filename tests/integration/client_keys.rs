//! Clients without a stored secret: action tokens that a client signs itself, and the revocation of
//! action tokens before their time is over.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::client::{Wanted, assert_refused};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World};

const HEADER: &str = "X-Api-Key: <<pat>>";

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// The public key as `openssl pkey -pubout` prints it.
fn pem(key: &Ed25519KeyPair) -> String {
    let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let spki = [prefix, key.public_key().as_ref()].concat();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    )
}

fn sign(key: &Ed25519KeyPair, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": "ci",
        "aud": "egret",
        "iat": now(),
        "exp": now() + 300,
        "jti": "build-1",
        "action": "nightly",
        "run": "r-1"
    });
    change(&mut claims);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA"})), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

async fn start() -> (World, Stub) {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    (world, stub)
}

async fn register(world: &World, key: &Ed25519KeyPair) {
    let add = ["client", "add", "ci", "--public-key", "-", "--json"];
    let added = world.run_with(&add, pem(key).as_bytes()).await.ok();
    let added: Value = serde_json::from_str(&added).expect("JSON");
    assert_eq!(added["token"], Value::Null);
}

fn bearing(world: &World, token: &str) -> Wanted {
    Wanted::new(world).authorized(format!("Bearer {token}"))
}

async fn refused(world: &World, token: &str, what: &str) {
    let answer = bearing(world, token).connect(world).await;
    assert_eq!(answer.expect_err(what).status, 407, "{what}");
}

#[tokio::test]
async fn a_client_signs_its_own_tokens_and_nothing_of_it_is_stored() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, stub) = start().await;
    register(&world, &key).await;
    let token = sign(&key, |_| {});
    let mut tunnel = world.tunnel_for(&bearing(&world, &token)).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let line = world.ledger_line("a use", |l| l["event"] == "use").await;
    assert_eq!(line["client"], "ci");
    assert_eq!(
        (&line["action"], &line["action_source"], &line["run"]),
        (&"nightly".into(), &"signed".into(), &"r-1".into())
    );
    let none = sign(&key, |claims| claims["slugs"] = json!([]));
    let mut narrow = world.tunnel_for(&bearing(&world, &none)).await;
    assert_refused(&narrow.get("/x", &[HEADER]).await, "credential_not_allowed");
    let log = world.log();
    assert!(!log.contains(&token) && !log.contains(&none));
}

#[tokio::test]
async fn a_token_of_another_or_for_another_or_for_too_long_is_none() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let stranger = Ed25519KeyPair::generate().expect("a key");
    let (world, stub) = start().await;
    register(&world, &key).await;
    refused(&world, &sign(&stranger, |_| {}), "key").await;
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("client", |claims| claims["iss"] = "tester".into()),
        ("audience", |claims| claims["aud"] = "vault".into()),
        ("expired", |claims| claims["exp"] = (now() - 120).into()),
        ("too long", |claims| claims["exp"] = (now() + 90_000).into()),
        ("signed for later", |claims| {
            claims["iat"] = (now() + 200_000).into();
            claims["exp"] = (now() + 200_300).into();
        }),
        ("signed in two minutes", |claims| {
            claims["iat"] = (now() + 120).into();
        }),
        ("unknown limit", |claims| claims["hosts"] = json!(["a"])),
        ("action", |claims| claims["action"] = "\u{1b}[2J".into()),
        ("begin", |claims| claims["nbf"] = (now() + 600).into()),
    ];
    for (what, change) in changes {
        refused(&world, &sign(&key, change), what).await;
    }
    assert_eq!(stub.take().len(), 0);
    // What is no public key is no client, and a private key is called one.
    let private = pem(&key).replace("PUBLIC", "PRIVATE");
    for (text, said) in [
        (private.as_str(), "private key"),
        ("ssh-ed25519 AAAA", "no Ed25519 public key"),
    ] {
        let add = ["client", "add", "other", "--public-key", "-"];
        let output = world.run_with(&add, text.as_bytes()).await;
        assert_eq!(output.status.code(), Some(2), "{output:#?}");
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_inside_its_tunnel_and_when_it_comes_again() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, _stub) = start().await;
    register(&world, &key).await;
    let one = sign(&key, |_| {});
    let other = sign(&key, |claims| claims["jti"] = "build-2".into());
    let mut tunnel = world.tunnel_for(&bearing(&world, &one)).await;
    let mut open = world.tunnel_for(&bearing(&world, &other)).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    let revoke = ["token", "revoke", "build-1", "--client", "ci"];
    world.run(&revoke).await.ok();
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "proxy_auth_required");
    assert_eq!(open.get("/x", &[HEADER]).await.status, 200);
    let again = bearing(&world, &one).connect(&world).await;
    assert_eq!(again.expect_err("revoked").status, 407);
    world
        .run(&["token", "revoke", "--all", "--client", "ci"])
        .await
        .ok();
    assert_refused(&open.get("/x", &[HEADER]).await, "proxy_auth_required");
    refused(&world, &other, "signed before").await;
    let line = |l: &Value| l["event"] == "client.changed" && l["client"] == "ci";
    let line = world.ledger_line("the revocation", line).await;
    assert!(line.to_string().contains("build-1"), "{line}");
}

#[tokio::test]
async fn a_minted_token_is_revoked_by_its_id_and_never_wider_than_its_client() {
    let (world, _stub) = start().await;
    let mint = [
        "token", "mint", "--client", "tester", "--action", "report", "--json",
    ];
    let minted = world.run(&mint).await.ok();
    let minted: Value = serde_json::from_str(&minted).expect("JSON");
    let [id, token] = ["id", "token"].map(|member| minted[member].as_str().expect("text"));
    let mut tunnel = world.tunnel_for(&bearing(&world, token)).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    let revoke = ["token", "revoke", id, "--client", "tester"];
    world.run(&revoke).await.ok();
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "proxy_auth_required");
    // The client itself goes on.
    let mut own = world.tunnel_for(&Wanted::new(&world)).await;
    assert_eq!(own.get("/x", &[HEADER]).await.status, 200);

    for bundle in ["work", "home"] {
        world.run(&["bundle", "add", bundle]).await.ok();
    }
    world.run(&["bundle", "put", "work", SLUG]).await.ok();
    for (bundle, expected) in [("default/work", 200), ("default/home", 424)] {
        let minted = world
            .run(&[&mint[..], &["--bundle", bundle]].concat())
            .await;
        let minted: Value = serde_json::from_str(&minted.ok()).expect("JSON");
        let token = minted["token"].as_str().expect("a token");
        let mut tunnel = world.tunnel_for(&bearing(&world, token)).await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, expected);
    }
    world.run(&["bundle", "bind", "tester", "work"]).await.ok();
    let wider = world
        .run(&[&mint[..], &["--bundle", "default/home"]].concat())
        .await;
    assert_eq!(wider.status.code(), Some(2), "{wider:#?}");
    assert!(wider.stderr.contains("another bundle"), "{}", wider.stderr);
}
