//! Header fields that Egret sets by itself, for clients that send no placeholder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Wanted, assert_refused, basic, request};
use crate::coded::chunked;
use crate::http2::client::{Client, Request};
use crate::upstream::{Stub, ok};
use crate::websocket::socket::{Upstream, agree, handshake, tunnelled};
use crate::wire::values;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream, one_upstream_with};

const BEARER: &str = "Authorization: Bearer <<pat>>";

async fn attach(world: &World, header: &str, more: &[&str]) {
    let common = [
        "credential",
        "attach",
        SLUG,
        "--host",
        HOST,
        "--header",
        header,
    ];
    world.run(&[&common, more].concat()).await.ok();
}

fn bearer() -> Option<String> {
    Some(format!("Bearer {VALUE}"))
}

fn uses(world: &World) -> Vec<Value> {
    let lines = world.ledger().into_iter();
    lines.filter(|line| line["event"] == "use").collect()
}

#[tokio::test]
async fn a_request_without_the_header_gets_it_and_the_ledger_says_so() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &[]).await;
    assert_eq!(
        stub.take_one().header("authorization"),
        None,
        "nothing is attached yet"
    );

    attach(&world, BEARER, &[]).await;
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.take_one().header("authorization"), bearer());
    let line = uses(&world).pop().expect("a use line");
    assert_eq!(line["outcome"], "attached");
    assert_eq!(line["locations"], json!(["header:authorization"]));
    assert_eq!(line["slug"], SLUG);

    // The placeholder of a client is a use like any other.
    tunnel
        .get("/x", &["X-Api-Key: <<pat>>", "Authorization: Bearer mine"])
        .await;
    let seen = stub.take_one();
    assert_eq!(seen.header("authorization").as_deref(), Some("Bearer mine"));
    assert_eq!(uses(&world).pop().expect("a use line")["outcome"], "used");

    let shown = world.run(&["credential", "show", SLUG]).await.ok();
    assert!(
        shown.contains("1. authorization: Bearer <<pat>>"),
        "{shown}"
    );
    world
        .run(&["credential", "detach", SLUG, "--number", "1"])
        .await
        .ok();
    tunnel.get("/x", &[]).await;
    assert_eq!(
        stub.take_one().header("authorization"),
        None,
        "it is detached"
    );
    for event in ["credential.attached", "credential.detached"] {
        let line = world
            .ledger_line(event, |line| line["event"] == event)
            .await;
        assert_eq!(line["slug"], SLUG);
    }
}

#[tokio::test]
async fn the_clients_own_header_stays_unless_the_owner_says_otherwise() {
    let (world, stub) = one_upstream().await;
    world
        .save("other", "another-Value-0123456789", &["--host", HOST])
        .await;
    attach(&world, BEARER, &[]).await;
    let mut tunnel = world.tunnel().await;
    for own in ["Bearer mine", "Bearer <<other>>", ""] {
        tunnel.get("/x", &[&format!("Authorization: {own}")]).await;
        let expected = own.replace("<<other>>", "another-Value-0123456789");
        assert_eq!(stub.take_one().header("authorization"), Some(expected));
    }
    world
        .run(&["credential", "detach", SLUG, "--all"])
        .await
        .ok();
    attach(&world, BEARER, &["--replace"]).await;
    for own in [
        &["Authorization: Bearer <<other>>"][..],
        &["Authorization: a", "Authorization: b"],
    ] {
        tunnel.get("/x", own).await;
        let seen = stub.take_one();
        let expected = format!("Bearer {VALUE}");
        assert_eq!(
            values(&seen.headers, "authorization"),
            [expected.as_bytes()]
        );
    }
}

#[tokio::test]
async fn what_a_rule_does_not_cover_goes_on_as_it_came() {
    let (world, stub) = one_upstream().await;
    let other = world.client("other", "default").await;
    let narrow = [
        "--method",
        "GET,PUT,TRACE2",
        "--path",
        "/v1",
        "--client",
        "tester",
        "--action",
        "act-1",
    ];
    attach(&world, BEARER, &narrow).await;
    let mut tunnel = world.tunnel().await;
    for (method, target) in [("POST", "/v1"), ("GET", "/v2"), ("GET", "/v1/%2e%2e/v2")] {
        tunnel.roundtrip(request(method, target, &[], "")).await;
        assert_eq!(
            stub.take_one().header("authorization"),
            None,
            "{method} {target}"
        );
    }
    tunnel.get("/v1/a", &[]).await;
    assert_eq!(stub.take_one().header("authorization"), bearer());
    for authorization in [basic("act-2", &world.token), basic("act-1", &other)] {
        let wanted = Wanted::new(&world).authorized(authorization);
        let mut tunnel = world.tunnel_for(&wanted).await;
        tunnel.get("/v1/a", &[]).await;
        assert_eq!(stub.take_one().header("authorization"), None);
    }
    // The limits of the credential are limits of what is attached.
    world
        .run(&["credential", "allow", SLUG, "--method", "POST"])
        .await
        .ok();
    tunnel.get("/v1/a", &[]).await;
    assert_eq!(stub.take_one().header("authorization"), None);
}

#[tokio::test]
async fn trace_and_options_get_nothing() {
    let (world, stub) = one_upstream().await;
    attach(&world, BEARER, &["--replace", "--method", "*"]).await;
    let mut tunnel = world.tunnel().await;
    for method in ["TRACE", "OPTIONS"] {
        tunnel.roundtrip(request(method, "/x", &[], "")).await;
        assert_eq!(stub.take_one().header("authorization"), None, "{method}");
    }
    for method in ["TRACE", "OPTIONS"] {
        let args = [
            "credential",
            "attach",
            SLUG,
            "--host",
            HOST,
            "--header",
            BEARER,
            "--method",
            method,
        ];
        let refused = world.run(&args).await;
        assert!(
            !refused.status.success() && refused.stderr.contains("TRACE and OPTIONS"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_nothing_there() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST, "elsewhere.example.test"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .route("elsewhere.example.test:443", stub.addr)
        .start()
        .await;
    let limits = ["--host", HOST, "--host", "elsewhere.example.test"];
    world.save(SLUG, VALUE, &limits).await;
    attach(&world, BEARER, &[]).await;
    let wanted = Wanted::new(&world).host("elsewhere.example.test");
    let mut tunnel = world.tunnel_for(&wanted).await;
    tunnel
        .roundtrip("GET /x HTTP/1.1\r\nHost: elsewhere.example.test\r\n\r\n")
        .await;
    assert_eq!(stub.take_one().header("authorization"), None);
}

#[tokio::test]
async fn a_revoked_credential_is_not_left_out_in_silence() {
    let (world, stub) = one_upstream().await;
    attach(&world, BEARER, &[]).await;
    world.run(&["credential", "revoke", SLUG]).await.ok();
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &[]).await;
    assert_refused(&answer, "credential_not_found");
    assert!(
        answer.text().contains("egret credential detach"),
        "{}",
        answer.text()
    );
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn other_peoples_requests_get_nothing_though_the_credential_is_shared() {
    let (world, stub) = one_upstream().await;
    world
        .run(&["credential", "share", SLUG, "--with", "everyone"])
        .await
        .ok();
    attach(&world, BEARER, &[]).await;
    let bob = world.client("bobs", "bob").await;
    let wanted = Wanted::new(&world).authorized(basic("act-1", &bob));
    let mut tunnel = world.tunnel_for(&wanted).await;
    tunnel.get("/x", &[]).await;
    assert_eq!(stub.take_one().header("authorization"), None);
}

#[tokio::test]
async fn bodies_of_any_length_and_an_echo_are_as_with_a_placeholder() {
    let builder = World::builder()
        .set("body.buffer", "64B")
        .set("body.spool", "1KiB");
    let (world, stub) = one_upstream_with(builder).await;
    attach(&world, "Authorization: Basic robot:<<pat>>", &[]).await;
    let sent = format!("Basic {}", STANDARD.encode(format!("robot:{VALUE}")));
    let mut tunnel = world.tunnel().await;
    for length in [63, 64, 65, 1024, 1025, 5000] {
        let body = "b".repeat(length);
        for raw in [
            request("POST", "/x", &["Content-Type: text/plain"], &body).into_bytes(),
            [
                request(
                    "POST",
                    "/x",
                    &["Content-Type: text/plain", "Transfer-Encoding: chunked"],
                    "",
                )
                .as_bytes(),
                &chunked(body.as_bytes(), 999),
            ]
            .concat(),
        ] {
            let answer = tunnel.roundtrip(raw).await;
            assert_eq!(answer.status, 200, "{length}");
            let seen = stub.take_one();
            assert_eq!(seen.header("authorization"), Some(sent.clone()), "{length}");
            assert_eq!(seen.body, body.as_bytes(), "{length}");
        }
    }
    stub.answer(ok(&sent));
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!(
        answer.text(),
        format!("Basic {}", STANDARD.encode("robot:<<pat>>"))
    );
}

#[tokio::test]
async fn http2_and_websockets_get_it_too() {
    let (world, stub) = one_upstream().await;
    attach(&world, BEARER, &[]).await;
    let mut client = Client::open(&world).await;
    let answer = client.response(&Request::new("GET", "/x")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.take_one().header("authorization"), bearer());

    let builder = World::builder();
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    attach(&world, BEARER, &["--method", "GET"]).await;
    let mut client = tunnelled(&world).await;
    let (_, request, _) = agree(&mut client, &upstream, &handshake("/chat", &[])).await;
    assert_eq!(request.header("authorization"), bearer());
}

#[tokio::test]
async fn explain_shows_it() {
    let (world, _stub) = one_upstream().await;
    attach(&world, BEARER, &["--method", "GET"]).await;
    let url = format!("https://{HOST}/x");
    let explained = world.run(&["explain", "GET", &url]).await.ok();
    assert!(
        explained.contains("header:authorization is attached"),
        "{explained}"
    );
    let explained = world.run(&["explain", "GET", &url, "--json"]).await.json();
    assert_eq!(explained["uses"][0]["attached"], true);
    assert_eq!(explained["uses"][0]["placeholder"], "<<pat>>");
    let explained = world.run(&["explain", "POST", &url]).await.ok();
    assert!(
        explained.contains("No placeholder is replaced"),
        "{explained}"
    );
}

#[tokio::test]
async fn where_headers_are_not_searched_nothing_is_put_in() {
    let (mut world, stub) = one_upstream().await;
    attach(&world, BEARER, &[]).await;
    world.destinations(vec![toml::toml! {
        hosts = ["api.example.test"]
        scan = ["query"]
    }]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &[]).await;
    assert_eq!(stub.take_one().header("authorization"), None);
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_without_a_word_of_it() {
    let (world, _stub) = one_upstream().await;
    for (header, host) in [
        (&*format!("Authorization: Bearer {VALUE}"), HOST),
        (BEARER, "elsewhere.example.test"),
        ("Host: <<pat>>", HOST),
        ("Cookie: a=<<pat>>", HOST),
        (VALUE, HOST),
    ] {
        let args = [
            "credential",
            "attach",
            SLUG,
            "--host",
            host,
            "--header",
            header,
        ];
        let refused = world.run(&args).await;
        assert!(!refused.status.success(), "{header}");
        let said = refused.stdout + &refused.stderr;
        assert!(!said.contains(VALUE), "{said}");
    }
}
