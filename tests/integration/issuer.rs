//! JWTs of configured issuers in the place of client tokens, in the form of a service account of
//! Kubernetes.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::{Wanted, assert_refused, basic};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World};

const NAME: &str = "https://kubernetes.default.svc.cluster.local";
const HEADER: &str = "X-Api-Key: <<pat>>";

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn keys(key: &Ed25519KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": x}]})
        .to_string()
}

fn token(key: &Ed25519KeyPair, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "aud": ["egret"],
        "exp": now() + 600,
        "iat": now(),
        "iss": NAME,
        "kubernetes.io": {"namespace": "build", "serviceaccount": {"name": "ci"}},
        "nbf": now(),
        "sub": "system:serviceaccount:build:ci"
    });
    change(&mut claims);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

async fn world(key: &Ed25519KeyPair) -> (World, Stub, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, keys(key)).expect("write");
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .set("issuer.name", NAME)
        .set("issuer.audience", "egret")
        .set("issuer.keys", file.to_str().expect("text"))
        .set("issuer.principal_claim", "/kubernetes.io/namespace")
        .start()
        .await;
    let limits = ["--host", HOST, "--owner", "build"];
    world.save(SLUG, VALUE, &limits).await;
    (world, stub, directory)
}

fn bearing(world: &World, token: &str) -> Wanted {
    Wanted::new(world).authorized(format!("Bearer {token}"))
}

#[tokio::test]
async fn a_service_account_uses_the_credentials_of_its_principal() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, stub, _directory) = world(&key).await;
    let good = token(&key, |_| {});
    let wanted = Wanted::new(&world).authorized(basic("nightly", &good));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let line = world.ledger_line("a use", |l| l["event"] == "use").await;
    assert_eq!(line["client"], "jwt:system:serviceaccount:build:ci");
    assert_eq!(line["principal"], "build");
    assert_eq!(
        (&line["action"], &line["action_source"]),
        (&"nightly".into(), &"asserted".into())
    );
    // Another namespace has no such credential.
    let other = token(&key, |claims| {
        claims["kubernetes.io"]["namespace"] = "other".into()
    });
    let mut tunnel = world.tunnel_for(&bearing(&world, &other)).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    // A token lives on after its user is disabled, and does nothing, inside the open tunnel too.
    let mut open = world.tunnel_for(&wanted).await;
    assert_eq!(open.get("/x", &[HEADER]).await.status, 200);
    world.run(&["user", "disable", "build"]).await.ok();
    assert_refused(&open.get("/x", &[HEADER]).await, "proxy_auth_required");
    assert!(wanted.connect(&world).await.is_err());
    let ledger = String::from_utf8_lossy(&world.ledger_bytes()).into_owned();
    for text in [ledger, world.log()] {
        assert!(
            !text.contains(&good) && !text.contains(&other),
            "a token was written down"
        );
    }
}

#[tokio::test]
async fn what_another_made_or_for_another_or_too_early_is_no_token() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, stub, _directory) = world(&key).await;
    let stranger = Ed25519KeyPair::generate().expect("a key");
    for (what, token) in [
        ("key", token(&stranger, |_| {})),
        (
            "issuer",
            token(&key, |claims| claims["iss"] = "https://evil.example".into()),
        ),
        (
            "audience",
            token(&key, |claims| claims["aud"] = json!(["vault"])),
        ),
        (
            "expiry",
            token(&key, |claims| claims["exp"] = (now() - 120).into()),
        ),
        (
            "begin",
            token(&key, |claims| claims["nbf"] = (now() + 600).into()),
        ),
        (
            "principal",
            token(&key, |claims| drop(claims["kubernetes.io"].take())),
        ),
    ] {
        let refused = bearing(&world, &token).connect(&world).await;
        assert_eq!(refused.expect_err(what).status, 407, "{what}");
    }
    // A token in the place of the action is refused and not written down.
    let good = token(&key, |_| {});
    let mut tunnel = world.tunnel_for(&bearing(&world, &good)).await;
    let answer = tunnel.get("/x", &[&format!("Egret-Action: {good}")]).await;
    assert_refused(&answer, "request_malformed");
    assert!(!answer.text().contains(&good));
    assert_eq!(stub.take().len(), 0);
}

const CLIENT: &str = "jwt:system:serviceaccount:build:ci";

#[tokio::test]
async fn a_revoked_jwt_is_refused_inside_its_tunnel_and_when_it_comes_again() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, stub, _directory) = world(&key).await;
    let named = |id: &str| token(&key, |claims| claims["jti"] = id.into());
    let (one, other) = (named("one"), named("other"));
    let mut tunnel = world.tunnel_for(&bearing(&world, &one)).await;
    let mut another = world.tunnel_for(&bearing(&world, &other)).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    let revoke = ["token", "revoke", "one", "--client", CLIENT];
    world.run(&revoke).await.ok();
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "proxy_auth_required");
    let replayed = bearing(&world, &one).connect(&world).await;
    assert_eq!(replayed.expect_err("replayed").status, 407);
    assert_eq!(another.get("/x", &[HEADER]).await.status, 200);

    // All that were issued until now, with or without a name or a time of issue.
    let nameless = token(&key, |claims| {
        claims.as_object_mut().expect("claims").remove("iat");
    });
    assert!(bearing(&world, &nameless).connect(&world).await.is_ok());
    let revoke = ["token", "revoke", "--all", "--client", CLIENT];
    world.run(&revoke).await.ok();
    assert_refused(&another.get("/x", &[HEADER]).await, "proxy_auth_required");
    for token in [&one, &other, &nameless] {
        let replayed = bearing(&world, token).connect(&world).await;
        assert_eq!(replayed.expect_err("replayed").status, 407);
    }
    // What the issuer makes later works, and so do the tokens of others.
    let later = token(&key, |claims| claims["iat"] = (now() + 1).into());
    let neighbour = "system:serviceaccount:build:ci2";
    let neighbours = token(&key, |claims| claims["sub"] = neighbour.into());
    for token in [&later, &neighbours] {
        let mut tunnel = world.tunnel_for(&bearing(&world, token)).await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    }
    assert_eq!(stub.take().len(), 4);
    let line = |line: &Value| line["event"] == "client.changed" && line["client"] == CLIENT;
    let line = world.ledger_line("the revocation", line).await;
    let said = line["locations"].to_string();
    assert!(said.contains("the token one is revoked"), "{said}");
}

#[tokio::test]
async fn rules_and_searches_name_the_clients_of_an_issuer() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (world, stub, _directory) = world(&key).await;
    let tokens = [
        token(&key, |_| {}),
        token(&key, |claims| {
            claims["sub"] = "system:serviceaccount:build:ci2".into()
        }),
    ];
    let mut tunnels = Vec::new();
    for token in &tokens {
        tunnels.push(world.tunnel_for(&bearing(&world, token)).await);
    }
    world
        .run(&["egress", "observe", "--client", CLIENT])
        .await
        .ok();
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    }
    let seen = |line: &Value| line["event"] == "destination" && line["client"] == CLIENT;
    world.ledger_line("where it went", seen).await;
    let suggest = ["egress", "suggest", "--client", CLIENT];
    let suggested = world.run(&suggest).await.ok();
    let expected = format!("egret egress allow {HOST} --client {CLIENT}\n");
    assert_eq!(suggested, expected);
    let keys = world
        .run(&["egress", "keys", "--client", CLIENT, "--json"])
        .await;
    assert_eq!(keys.json(), json!([]));

    // The rule is about this one of two whose names begin alike.
    let deny = ["egress", "deny", HOST, "--client", CLIENT];
    let refused = world.run(&deny).await;
    assert!(refused.stderr.contains(CLIENT), "{}", refused.stderr);
    world.run(&[&deny[..], &["--yes"]].concat()).await.ok();
    let [one, two] = &mut tunnels[..] else {
        panic!("two tunnels")
    };
    let answer = one.get("/x", &[HEADER]).await;
    assert_refused(&answer, "destination_not_allowed");
    assert_eq!(two.get("/x", &[HEADER]).await.status, 200);
    let url = format!("https://{HOST}/x");
    let check = [
        "egress", "check", &url, "--user", "build", "--json", "--client",
    ];
    let of = async |client: &str| world.run(&[&check[..], &[client]].concat()).await.json();
    assert_eq!(of(CLIENT).await["decision"], "deny");
    assert_eq!(of(&format!("{CLIENT}2")).await["decision"], "allow");
    assert_eq!(stub.take().len(), 3);

    // A header is attached for one of them.
    world
        .run(&[
            "egress",
            "remove",
            &of(CLIENT).await["by"].as_str().expect("a rule")[5..],
        ])
        .await
        .ok();
    let header = format!("X-Other: <<{SLUG}>>");
    let attach = [
        "credential",
        "attach",
        SLUG,
        "--owner",
        "build",
        "--host",
        HOST,
    ];
    let attach = [&attach[..], &["--header", &header, "--client", CLIENT]].concat();
    world.run(&attach).await.ok();
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    }
    let sent = stub.take();
    let attached: Vec<_> = sent
        .iter()
        .map(|request| request.header("x-other"))
        .collect();
    assert_eq!(attached, [Some(VALUE.to_owned()), None]);
}

#[tokio::test]
async fn exchanged_keys_and_an_issuer_that_is_removed_hold_inside_open_tunnels() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let (mut world, _stub, directory) = world(&key).await;
    let good = token(&key, |_| {});
    let mut tunnel = world.tunnel_for(&bearing(&world, &good)).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    // Other keys are for new connections; a token that was verified works until it expires.
    let next = Ed25519KeyPair::generate().expect("a key");
    std::fs::write(directory.path().join("jwks.json"), keys(&next)).expect("write");
    world.run(&["reload"]).await.ok();
    assert!(bearing(&world, &good).connect(&world).await.is_err());
    let renewed = token(&next, |_| {});
    assert!(bearing(&world, &renewed).connect(&world).await.is_ok());
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    world.configure("issuer.audience", "another");
    world.run(&["reload"]).await.ok();
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "proxy_auth_required");
    // A file without a usable key is refused, and nothing changes.
    std::fs::write(directory.path().join("jwks.json"), "{}").expect("write");
    let refused = world.run(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("JWKS"), "{}", refused.stderr);
}

/// Answers every request on loopback with the same JSON.
async fn serve(json: String) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut wire = crate::wire::Wire::new(socket);
            if wire.request_head().await.is_ok() {
                let length = json.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = wire.send(head + &json).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_and_kept_over_a_reload() {
    let key = Ed25519KeyPair::generate().expect("a key");
    let address = serve(keys(&key)).await;
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .set("issuer.name", NAME)
        .set("issuer.audience", "egret")
        .set("issuer.keys", format!("http://{address}/jwks"))
        .set("issuer.principal", "build")
        .start()
        .await;
    let limits = ["--host", HOST, "--owner", "build"];
    world.save(SLUG, VALUE, &limits).await;
    let wanted = bearing(&world, &token(&key, |_| {}));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut tunnel = loop {
        match wanted.open(&world).await {
            Ok(tunnel) => break tunnel,
            Err(refused) => assert_eq!(refused.status, 407),
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", world.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    world.configure("proxy.max_headers", 90);
    world.reload().await;
    assert_eq!(
        world
            .tunnel_for(&wanted)
            .await
            .get("/x", &[HEADER])
            .await
            .status,
        200
    );
    // Another issuer's keys are not these.
    let other = Ed25519KeyPair::generate().expect("a key");
    let forged = bearing(&world, &token(&other, |_| {}));
    let refused = forged.open(&world).await.err().expect("no tunnel");
    assert_refused(&refused, "proxy_auth_required");
}

/// A table of an issuer whose keys are in a file.
fn table(name: &str, label: &str, keys: &std::path::Path) -> toml::Table {
    toml::Table::from_iter([
        ("name".to_owned(), name.into()),
        ("audience".to_owned(), "egret".into()),
        ("keys".to_owned(), keys.to_str().expect("text").into()),
        ("label".to_owned(), label.into()),
    ])
}

#[tokio::test]
async fn several_issuers_are_told_apart_and_a_claim_names_the_bundle() {
    const CI: &str = "https://ci.example";
    let [cluster_key, ci_key] = [(); 2].map(|()| Ed25519KeyPair::generate().expect("a key"));
    let (mut world, stub, directory) = world(&cluster_key).await;
    let ci_file = directory.path().join("ci.json");
    std::fs::write(&ci_file, keys(&ci_key)).expect("write");
    for (slug, value) in [("pat-work", "value-of-work"), ("pat-home", "value-of-home")] {
        let limits = ["--host", HOST, "--owner", "build"];
        world.save(slug, value, &limits).await;
    }
    for (bundle, slug) in [("work", "pat-work"), ("home", "pat-home")] {
        let owner = ["--owner", "build"];
        let add = [&["bundle", "add", bundle][..], &owner].concat();
        world.run(&add).await.ok();
        let put = [
            &["bundle", "put", bundle, slug, "--as", "account"][..],
            &owner,
        ]
        .concat();
        world.run(&put).await.ok();
    }
    let own = ["bundle", "add", "own", "--owner", "stranger"];
    world.run(&own).await.ok();

    let mut cluster = table(NAME, "cluster", &directory.path().join("jwks.json"));
    cluster.insert(
        "principal_claim".to_owned(),
        "/kubernetes.io/namespace".into(),
    );
    let mut ci = table(CI, "ci", &ci_file);
    ci.insert("principal".to_owned(), "build".into());
    ci.insert("bundle_claim".to_owned(), "environment".into());
    world.tables("issuer", vec![cluster, ci]);
    world.run(&["reload"]).await.ok();

    let of_ci = |environment: &str| {
        token(&ci_key, |claims| {
            claims["iss"] = CI.into();
            claims["environment"] = environment.into();
        })
    };
    for (environment, value) in [("work", "value-of-work"), ("build/home", "value-of-home")] {
        let wanted = bearing(&world, &of_ci(environment));
        let mut tunnel = world.tunnel_for(&wanted).await;
        assert_eq!(
            tunnel.get("/x", &["X-Api-Key: <<account>>"]).await.status,
            200
        );
        assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(value));
        // What is not in the bundle is not there.
        assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    }
    let uses = "jwt:ci:system:serviceaccount:build:ci";
    world
        .ledger_line(uses, |line| {
            line["event"] == "use" && line["client"] == uses
        })
        .await;
    // A bundle of someone else opens nothing, and neither does one that is not there.
    for environment in ["stranger/own", "none-such"] {
        let mut tunnel = world
            .tunnel_for(&bearing(&world, &of_ci(environment)))
            .await;
        let answer = tunnel.get("/x", &["X-Api-Key: <<account>>"]).await;
        assert_refused(&answer, "credential_not_found");
    }
    // Each issuer vouches for its own name alone.
    for (what, forged) in [
        ("ci as the cluster", token(&ci_key, |_| {})),
        (
            "the cluster as ci",
            token(&cluster_key, |claims| claims["iss"] = CI.into()),
        ),
        (
            "no bundle",
            token(&ci_key, |claims| claims["iss"] = CI.into()),
        ),
    ] {
        let refused = bearing(&world, &forged).connect(&world).await;
        assert_eq!(refused.expect_err(what).status, 407, "{what}");
    }
    let mut tunnel = world
        .tunnel_for(&bearing(&world, &token(&cluster_key, |_| {})))
        .await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));

    // Two that cannot be told apart are refused, and what holds stays.
    let one = table(NAME, "cluster", &directory.path().join("jwks.json"));
    world.tables("issuer", vec![one.clone(), one]);
    let refused = world.run(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
}
