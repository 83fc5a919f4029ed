//! Authentication that belongs to a connection: what one client has authenticated serves no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::client::{Wanted, basic, request};
use crate::eventually;
use crate::http2::client::{Client, Request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Response;
use crate::world::{HOST, World, one_upstream};

/// Makes the upstream one that takes each request for one of whoever authenticated the connection.
fn bind_users(stub: &Stub) {
    let users: Arc<Mutex<HashMap<usize, String>>> = Arc::default();
    stub.serve(move |request| {
        let mut users = users.lock().unwrap();
        if let Some(authorization) = request.header("authorization") {
            let user = authorization.split(' ').nth(1).unwrap_or_default();
            users.insert(request.connection, user.to_owned());
        }
        let user = users.get(&request.connection).cloned();
        let answer = ok(user.as_deref().unwrap_or("nobody"));
        async move { vec![Step::Send(answer)] }
    });
}

async fn until_closed(stub: &Stub, left: usize, what: &str) {
    eventually(what, || (stub.open() == left).then_some(())).await;
}

#[tokio::test]
async fn a_connection_that_one_client_has_authenticated_serves_no_other() {
    let (world, stub) = one_upstream().await;
    let limits = ["--host", HOST];
    world.save("whole", "NTLM TlRMTVNTUAADwhole", &limits).await;
    world.save("part", "YIIFvalue/part+1", &limits).await;
    bind_users(&stub);
    for header in [
        "Authorization: NTLM alice",
        "Authorization: negotiate alice",
        "Authorization: Negotiate <<part>>",
        "Authorization: <<whole>>",
    ] {
        // Both clients have connections in the pool.
        let (mut alice, mut bob) = (world.tunnel().await, world.tunnel().await);
        assert_eq!(alice.get("/", &[]).await.text(), "nobody");
        let before = stub.open();
        assert_ne!(alice.get("/", &[header]).await.text(), "nobody", "{header}");
        let own = stub.take().last().expect("a request").connection;
        for _ in 0..5 {
            assert_eq!(bob.get("/", &[]).await.text(), "nobody", "{header}");
            assert_ne!(alice.get("/", &[]).await.text(), "nobody", "{header}");
        }
        let ways = stub.take();
        assert!(ways.len() == 10 && ways[1].connection == own);
        drop(alice);
        until_closed(&stub, before, "the connection to end with its client").await;
        assert_eq!(bob.get("/", &[]).await.text(), "nobody", "{header}");
    }
}

/// The proxy port carries requests of several clients on one connection where another proxy is in
/// between.
#[tokio::test]
async fn clients_that_share_a_connection_to_the_proxy_share_nothing_upstream() {
    let (world, stub) = World::plain_upstream().await;
    bind_users(&stub);
    let other = world.client("bob", "bob").await;
    let mut wire = world.dial().await;
    let mut ask = async |token: &str, line: &str| -> Response {
        let who = format!("Proxy-Authorization: {}", basic("act-1", token));
        let raw = request("GET", "/", &[&who, line], "");
        let raw = raw.replace("GET /", &format!("GET http://{HOST}/"));
        wire.send(raw).await.expect("send");
        wire.response(false).await.expect("an answer")
    };
    let none = "X-None: 1";
    assert_eq!(
        ask(&world.token, "Authorization: NTLM alice").await.text(),
        "alice"
    );
    assert_eq!(ask(&other, none).await.text(), "nobody");
    assert_eq!(ask(&world.token, none).await.text(), "alice");
    assert_eq!(
        ask(&other, "Authorization: Negotiate bob").await.text(),
        "bob"
    );
    assert_eq!(ask(&world.token, none).await.text(), "alice");
    assert_eq!(ask(&other, none).await.text(), "bob");
    drop(wire);
    until_closed(&stub, 1, "all but the shared one to end").await;
}

#[tokio::test]
async fn over_http2_such_a_request_has_a_connection_of_its_own() {
    for protocols in [&["h2"][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let builder = World::builder();
        let stub = Stub::tls_alpn(builder.pki(), &[HOST], protocols).await;
        let world = builder
            .route(&format!("{HOST}:443"), stub.addr)
            .start()
            .await;
        bind_users(&stub);
        let mut alice = Client::open(&world).await;
        let mut bob = Client::open(&world).await;
        let plain = Request::new("GET", "/");
        assert_eq!(alice.response(&plain).await.text(), "nobody");
        assert_eq!(bob.response(&plain).await.text(), "nobody");
        let before = stub.open();
        let signed = plain.clone().field("authorization", "Negotiate alice");
        assert_eq!(
            alice.response(&signed).await.text(),
            "alice",
            "{protocols:?}"
        );
        for _ in 0..5 {
            assert_eq!(bob.response(&plain).await.text(), "nobody");
            assert_eq!(alice.response(&plain).await.text(), "nobody");
        }
        until_closed(&stub, before, "its connection to end").await;
        // A client of HTTP/1.1 keeps what it has authenticated only where there is HTTP/1.1.
        let mut carol = world.tunnel().await;
        assert_eq!(
            carol.get("/", &["Authorization: NTLM carol"]).await.text(),
            "carol"
        );
        let expected = if protocols == ["h2"] {
            "nobody"
        } else {
            "carol"
        };
        assert_eq!(carol.get("/", &[]).await.text(), expected);
        assert_eq!(bob.response(&plain).await.text(), "nobody");
    }
}

/// A revoked value ends what it has authenticated, and an upstream that ends it is asked again.
#[tokio::test]
async fn what_was_authenticated_ends_with_its_value() {
    let (world, stub) = one_upstream().await;
    world
        .save("name", "YIIFvalue/name+1", &["--host", HOST])
        .await;
    bind_users(&stub);
    let wanted = Wanted::new(&world);
    let mut tunnel = world.tunnel_for(&wanted).await;
    let header = ["Authorization: Negotiate <<name>>"];
    assert_eq!(tunnel.get("/", &header).await.text(), "<<name>>");
    assert_ne!(tunnel.get("/", &[]).await.text(), "nobody");
    world.run(&["credential", "revoke", "name"]).await.ok();
    let ended = async {
        while tunnel.get("/", &[]).await.text() != "nobody" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::within("the authenticated connection to end", ended).await;
}
