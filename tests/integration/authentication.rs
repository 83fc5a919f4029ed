//! Client authentication: tokens in every form in which real clients send them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Wanted, assert_refused, basic, request};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

const HEADER: &str = "X-Api-Key: <<pat>>";

fn last_use(world: &World) -> serde_json::Value {
    let mut lines = world.ledger().into_iter();
    lines.rfind(|l| l["event"] == "use").expect("a use line")
}

#[tokio::test]
async fn without_a_token_the_proxy_answers_407_and_nothing_moves() {
    let (world, stub) = one_upstream().await;
    let nobody = Wanted {
        authorization: None,
        ..Wanted::new(&world)
    };
    let refusal = nobody
        .connect(&world)
        .await
        .expect_err("a tunnel without a token");
    assert_eq!(refusal.status, 407);
    assert_refused(&refusal, "proxy_auth_required");
    assert_eq!(
        refusal.header("proxy-authenticate").as_deref(),
        Some("Basic realm=\"egret\"")
    );
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn a_bad_token_gets_the_same_answer_as_none() {
    let (world, stub) = one_upstream().await;
    let truncated = &world.token[..world.token.len() - 1];
    let bad = [
        basic("act-1", "egc_not-a-token"),
        basic("act-1", truncated),
        basic("act-1", &world.token.to_uppercase()),
        basic("act-1", ""),
        "Basic !!!".to_owned(),
        "Basic".to_owned(),
        "Bearer ".to_owned(),
        format!("Digest {}", world.token),
    ];
    for authorization in bad {
        let wanted = Wanted::new(&world).authorized(&authorization);
        let refusal = wanted
            .connect(&world)
            .await
            .expect_err("a tunnel with a bad token");
        assert_eq!(refusal.status, 407, "{authorization}");
        assert_refused(&refusal, "proxy_auth_required");
    }
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn absolute_form_requests_need_a_token_too() {
    let (world, stub) = World::plain_upstream().await;
    let mut wire = world.dial().await;
    let head = format!("GET http://{HOST}/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    wire.send(head).await.expect("send");
    let answer = within("a 407", wire.response(false))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 407);
    assert_refused(&answer, "proxy_auth_required");
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn basic_with_the_action_as_user_name_names_the_action() {
    let (world, stub) = one_upstream().await;
    let wanted = Wanted::new(&world).authorized(basic("weekly-report", &world.token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let line = last_use(&world);
    assert_eq!(line["action"], "weekly-report");
    assert_eq!(line["action_source"], "asserted");
    assert_eq!(line["client"], "tester");
    assert_eq!(line["principal"], "default");
}

#[tokio::test]
async fn a_user_name_is_percent_decoded() {
    let (world, _stub) = one_upstream().await;
    let wanted = Wanted::new(&world).authorized(basic("weekly%20report", &world.token));
    world.tunnel_for(&wanted).await.get("/x", &[HEADER]).await;
    assert_eq!(last_use(&world)["action"], "weekly report");
}

#[tokio::test]
async fn a_bearer_token_acts_under_the_clients_name() {
    let (world, stub) = one_upstream().await;
    for scheme in ["Bearer", "bearer"] {
        let wanted = Wanted::new(&world).authorized(format!("{scheme} {}", world.token));
        let answer = world.tunnel_for(&wanted).await.get("/x", &[HEADER]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(last_use(&world)["action"], "tester");
    }
    assert_eq!(stub.take().len(), 2);
}

#[tokio::test]
async fn a_token_as_user_name_without_password_is_accepted() {
    let (world, _stub) = one_upstream().await;
    for userinfo in [format!("{}:", world.token), world.token.clone()] {
        let wanted = Wanted::new(&world).authorized(format!("Basic {}", STANDARD.encode(userinfo)));
        let answer = world.tunnel_for(&wanted).await.get("/x", &[HEADER]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(last_use(&world)["action"], "tester");
    }
}

/// git and `curl --proxy-anyauth` send credentials only after a 407, on the same connection if it
/// is still open.
#[tokio::test]
async fn credentials_may_come_after_a_407() {
    let (world, stub) = one_upstream().await;
    let asked = Wanted::new(&world);
    let unasked = Wanted {
        authorization: None,
        ..asked.clone()
    };
    let mut wire = world.dial().await;
    wire.send(unasked.head()).await.expect("send");
    let first = within("a 407", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(first.status, 407);
    let says_close = first
        .header("connection")
        .is_some_and(|v| v.eq_ignore_ascii_case("close"));
    if says_close {
        wire = world.dial().await;
    }
    wire.send(asked.head())
        .await
        .expect("the connection is still there, as announced");
    let second = within("a tunnel", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(second.status, 200);
    assert_eq!(stub.connections().len(), 0, "nothing was asked for yet");
}

#[tokio::test]
async fn egret_headers_name_action_and_run_and_stay_here() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .get(
            "/x",
            &[
                HEADER,
                "Egret-Action: triage",
                "EGRET-RUN: run-8841",
                "Egret-Whatever: 1",
            ],
        )
        .await;
    assert_eq!(answer.status, 200);
    let request = stub.take_one();
    let own = request
        .headers
        .iter()
        .filter(|(n, _)| n.to_ascii_lowercase().starts_with("egret-"));
    assert_eq!(own.count(), 0, "{:?}", request.headers);
    let line = last_use(&world);
    assert_eq!(
        (&line["action"], &line["run"]),
        (&"triage".into(), &"run-8841".into())
    );
}

#[tokio::test]
async fn an_action_that_is_no_plain_text_is_refused() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let long = format!("Egret-Action: {}", "a".repeat(129));
    let answer = tunnel.get("/x", &[HEADER, &long]).await;
    assert_refused(&answer, "request_malformed");
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn the_proxys_own_headers_are_never_forwarded_from_inside_a_tunnel() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let repeated = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let answer = tunnel
        .get("/x", &[HEADER, &repeated, "Proxy-Connection: keep-alive"])
        .await;
    assert_eq!(answer.status, 200);
    let request = stub.take_one();
    for name in ["proxy-authorization", "proxy-connection"] {
        assert_eq!(request.header(name), None);
    }
    let token = crate::leak::forms(world.token.as_bytes());
    crate::leak::assert_absent("what the upstream got", &stub.bytes(), &token);
}

#[tokio::test]
async fn a_token_in_an_inner_header_does_not_change_who_is_asking() {
    let (world, stub) = one_upstream().await;
    let other = world.client("other", "bob").await;
    let mut tunnel = world.tunnel().await;
    let inner = format!("Proxy-Authorization: {}", basic("as-bob", &other));
    let answer = tunnel.get("/x", &[HEADER, &inner]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let line = last_use(&world);
    assert_eq!(
        (&line["client"], &line["action"]),
        (&"tester".into(), &"act-1".into())
    );
}

#[tokio::test]
async fn removing_a_client_ends_its_rights_inside_open_tunnels() {
    let (world, stub) = one_upstream().await;
    let token = world.client("short-lived", "default").await;
    let wanted = Wanted::new(&world).authorized(basic("act-1", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/1", &[HEADER]).await.status, 200);
    world.run(&["client", "remove", "short-lived"]).await.ok();
    let answer = tunnel.get("/2", &[HEADER]).await;
    assert_eq!(answer.status, 407);
    assert_refused(&answer, "proxy_auth_required");
    assert_eq!(
        wanted
            .connect(&world)
            .await
            .expect_err("a new tunnel")
            .status,
        407
    );
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn a_token_that_expires_ends_its_rights_inside_open_tunnels() {
    let (world, stub) = one_upstream().await;
    let mint = [
        "token", "mint", "--client", "tester", "--action", "brief", "--ttl", "6s", "--json",
    ];
    let minted = world.run(&mint).await.json();
    let token = minted["token"].as_str().expect("a token");
    let wanted = Wanted::new(&world).authorized(basic("", token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let begun = Instant::now();
    let mut answers = 0;
    let refused = loop {
        let answer = tunnel.get("/x", &[HEADER]).await;
        if answer.status != 200 {
            break answer;
        }
        answers += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "it never ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_refused(&refused, "proxy_auth_required");
    assert!(answers > 0, "it was good at first");
    assert_eq!(stub.take().len(), answers);
}

#[tokio::test]
async fn a_token_is_stored_nowhere_and_logged_nowhere() {
    let (mut world, _stub) = one_upstream().await;
    let bad =
        Wanted::new(&world).authorized(basic("act-1", "egc_wrong-but-maybe-a-typo-of-a-right-one"));
    let _ = bad.connect(&world).await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    world.stop().await;
    for secret in [
        world.token.as_str(),
        "egc_wrong-but-maybe-a-typo-of-a-right-one",
    ] {
        let forms = crate::leak::forms(secret.as_bytes());
        assert_eq!(
            crate::leak::in_tree(&world.data, &forms),
            Vec::<String>::new()
        );
        crate::leak::assert_absent("the log", &world.log_bytes(), &forms);
    }
}

#[tokio::test]
async fn without_required_authentication_requests_are_the_configured_principals() {
    let builder = World::builder();
    let stub = crate::upstream::Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .set("proxy.require_auth", false)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let nobody = Wanted {
        authorization: None,
        ..Wanted::new(&world)
    };
    let mut tunnel = world.tunnel_for(&nobody).await;
    assert_eq!(
        tunnel
            .roundtrip(request("GET", "/x", &[HEADER], ""))
            .await
            .status,
        200
    );
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    assert_eq!(last_use(&world)["principal"], "default");
}

#[tokio::test]
async fn egret_headers_of_the_connect_hold_for_the_tunnel_until_a_request_says_otherwise() {
    let (world, stub) = one_upstream().await;
    let token = basic("act-1", &world.token);
    let wanted = Wanted::new(&world).authorized(format!(
        "{token}\r\nEgret-Action: nightly\r\nEgret-Run: run-1"
    ));
    let mut tunnel = wanted.open(&world).await.expect("a tunnel");
    for (headers, action) in [
        (&[HEADER][..], "nightly"),
        (&[HEADER, "Egret-Action: triage"], "triage"),
        (&[HEADER], "nightly"),
    ] {
        assert_eq!(tunnel.get("/x", headers).await.status, 200);
        let line = last_use(&world);
        assert_eq!(
            (&line["action"], &line["run"]),
            (&action.into(), &"run-1".into())
        );
    }
    assert_eq!(stub.take().len(), 3);
}
