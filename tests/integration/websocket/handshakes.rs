//! Opening handshakes that succeed and that fail.

use super::socket::{
    ACCEPT, FIN, Socket, TEXT, Upstream, agree, bare, handshake, switching, tunnelled,
};
use super::{conversation, lines, world};
use crate::client::{Wanted, assert_refused, basic, request};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World};

#[tokio::test]
async fn a_handshake_is_a_request_like_any_other() {
    let (world, upstream) = world().await;
    let mut client = tunnelled(&world).await;
    let offered = [
        &*format!("Authorization: Bearer <<{SLUG}>>"),
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Sec-WebSocket-Protocol: chat",
        "Origin: https://page.example.test",
    ];
    let asked = handshake(&format!("/chat?token=<<{SLUG}>>"), &offered);
    let (_, request, answer) = agree(&mut client, &upstream, &asked).await;
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {VALUE}"))
    );
    let token: Vec<_> = form_urlencoded::parse(request.query().as_bytes())
        .into_owned()
        .collect();
    assert_eq!(token, [("token".to_owned(), VALUE.to_owned())]);
    assert_eq!(request.header("upgrade").as_deref(), Some("websocket"));
    assert_eq!(request.header("connection").as_deref(), Some("Upgrade"));
    assert_eq!(request.header("sec-websocket-extensions"), None);
    assert_eq!(
        request.header("sec-websocket-protocol").as_deref(),
        Some("chat")
    );
    assert_eq!(
        request.header("origin").as_deref(),
        Some("https://page.example.test")
    );
    assert_eq!(
        answer.header("sec-websocket-accept").as_deref(),
        Some(ACCEPT)
    );
    assert_eq!(answer.header("upgrade").as_deref(), Some("websocket"));
    let id = answer.header("egret-request").expect("an id");
    let uses = lines(&world, "use");
    assert_eq!(uses.len(), 1);
    assert_eq!(uses[0]["request"], *id);
    assert_eq!(uses[0]["path"], "/chat");
}

/// `ws://` in absolute form, and through CONNECT as libraries send it.
#[tokio::test]
async fn a_conversation_needs_no_tls() {
    let upstream = Upstream::plain().await;
    let builder = World::builder().route(&format!("{HOST}:80"), upstream.addr);
    let world = builder.start().await;
    let limits = ["--host", &*format!("http://{HOST}"), "--in", "body"];
    world.save(SLUG, VALUE, &limits).await;
    let authorization = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let absolute = handshake(&format!("http://{HOST}/chat"), &[&authorization]);
    let mut wanted = Wanted::new(&world);
    wanted.authority = format!("{HOST}:80");
    let inside = Socket::client(wanted.connect(&world).await.expect("a tunnel"));
    for (mut client, asked) in [
        (bare(&world).await, absolute),
        (inside, handshake("/chat", &[])),
    ] {
        let (mut server, request, _) = agree(&mut client, &upstream, &asked).await;
        assert_eq!(request.target, "/chat");
        assert_eq!(request.header("proxy-authorization"), None);
        client.text(&format!("say <<{SLUG}>>")).await;
        assert_eq!(server.next_text().await, format!("say {VALUE}"));
        server.text(&format!("heard {VALUE}")).await;
        assert_eq!(client.next_text().await, format!("heard <<{SLUG}>>"));
    }
    assert_eq!(lines(&world, "use").len(), 2);
}

#[tokio::test]
async fn an_upstream_that_speaks_at_once_is_heard() {
    let (world, upstream) = world().await;
    let mut client = tunnelled(&world).await;
    client.wire.send(handshake("/chat", &[])).await.unwrap();
    let (mut server, _) = upstream.asked().await;
    let greeting = super::socket::frame(FIN | TEXT, format!("hello {VALUE}").as_bytes(), false);
    let answer = [switching("").into_bytes(), greeting].concat();
    server.wire.send(answer).await.unwrap();
    let answer = within("an answer", client.wire.response(false))
        .await
        .unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(client.next_text().await, format!("hello <<{SLUG}>>"));
}

#[tokio::test]
async fn an_upstream_that_refuses_gives_an_ordinary_answer() {
    let (world, upstream) = world().await;
    let mut client = tunnelled(&world).await;
    let token = format!("X-Key: <<{SLUG}>>");
    client
        .wire
        .send(handshake("/chat", &[&token]))
        .await
        .unwrap();
    let (mut server, _) = upstream.asked().await;
    let body = format!("not with {VALUE}");
    let refusal = format!(
        "HTTP/1.1 403 No\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.wire.send(refusal).await.unwrap();
    let answer = within("an answer", client.wire.response(false))
        .await
        .unwrap();
    assert_eq!((answer.status, answer.egret_error()), (403, None));
    assert_eq!(answer.text(), format!("not with <<{SLUG}>>"));
    // Both connections can still be used for requests.
    client
        .wire
        .send(request("GET", "/next", &[], ""))
        .await
        .unwrap();
    let next = within("the next request", server.wire.request_head())
        .await
        .unwrap();
    assert_eq!(next.target, "/next");
    server.wire.send(crate::upstream::ok("ok")).await.unwrap();
    let answer = within("an answer", client.wire.response(false))
        .await
        .unwrap();
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn an_upstream_that_switches_wrongly_is_refused() {
    let (world, upstream) = world().await;
    let proper = switching("");
    for wrong in [
        proper.replace(ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        proper.replace("Upgrade: WebSocket", "Upgrade: h2c"),
        proper.replace("Connection: upgrade", "Connection: keep-alive"),
        switching("Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    ] {
        let mut client = tunnelled(&world).await;
        client.wire.send(handshake("/chat", &[])).await.unwrap();
        let (mut server, _) = upstream.asked().await;
        server.wire.send(&wrong).await.unwrap();
        let answer = within("an answer", client.wire.response(false))
            .await
            .unwrap();
        assert_refused(&answer, "upstream_protocol_error");
        server.wire.until_closed().await;
        // For the client the connection is an ordinary one.
        let again = request("GET", "/next", &["X-Key: <<nope>>"], "");
        client.wire.send(again).await.unwrap();
        let answer = within("an answer", client.wire.response(false)).await;
        assert_refused(&answer.unwrap(), "credential_not_found");
    }
}

/// A request that does without WebSocket is an ordinary request, and a 101 to it is an error.
#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let (world, upstream) = world().await;
    let proper = handshake("/chat", &[]);
    for other in [
        proper.replace("Upgrade: websocket", "Upgrade: h2c"),
        proper.replace("Upgrade: websocket", "Upgrade: h2c, TLS/1.2"),
        proper.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
    ] {
        let mut client = tunnelled(&world).await;
        client.wire.send(&other).await.unwrap();
        let (mut server, request) = upstream.asked().await;
        assert_eq!(request.header("upgrade"), None);
        assert_eq!(request.header("connection"), None);
        server.wire.send(switching("")).await.unwrap();
        let answer = within("an answer", client.wire.response(false))
            .await
            .unwrap();
        assert_refused(&answer, "upstream_protocol_error");
        server.wire.until_closed().await;
    }
}

#[tokio::test]
async fn an_upgrade_that_is_not_passed_on_is_said_to_be_ignored() {
    for protocols in ["h2c", "TLS/1.0, HTTP/1.1"] {
        let (world, upstream) = world().await;
        let proper = handshake("/chat", &[&format!("Authorization: Bearer <<{SLUG}>>")]);
        let mut client = tunnelled(&world).await;
        let asked = proper.replace("Upgrade: websocket", &format!("Upgrade: {protocols}"));
        client.wire.send(asked).await.unwrap();
        let (mut server, _) = upstream.asked().await;
        server.wire.send(crate::upstream::ok("ok")).await.unwrap();
        let answer = within("an answer", client.wire.response(false)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{protocols}");
        assert_eq!(answer.header("egret-ignored").as_deref(), Some("upgrade"));
    }
}

/// Nothing is used for a request that is of no use without its upgrade.
#[tokio::test]
async fn an_upgrade_that_the_request_needs_is_refused_before_anything_is_used() {
    let (world, _upstream) = world().await;
    let proper = handshake("/chat", &[&format!("Authorization: Bearer <<{SLUG}>>")]);
    let other = |name: &str| proper.replace("Upgrade: websocket", &format!("Upgrade: {name}"));
    let refused = [
        (other("SPDY/3.1"), "upgrade_unsupported"),
        (other("tcp"), "upgrade_unsupported"),
        (other("h2c, own/1"), "upgrade_unsupported"),
        (
            proper.replace("Version: 13", "Version: 8"),
            "request_malformed",
        ),
        (proper.replace("Key: dGhl", "Key: "), "request_malformed"),
        (
            proper.replace("GET /chat", "PUT /chat"),
            "request_malformed",
        ),
    ];
    for (asked, code) in refused {
        let mut client = tunnelled(&world).await;
        client.wire.send(&asked).await.unwrap();
        let answer = within("an answer", client.wire.response(false)).await;
        assert_refused(&answer.unwrap(), code);
    }
    assert_eq!(lines(&world, "use").len(), 0);
    // Who may ask is told first.
    let mut wire = world.dial().await;
    let asked = other("tcp").replace("GET /", &format!("GET http://{HOST}/"));
    wire.send(asked).await.unwrap();
    let answer = within("an answer", wire.response(false)).await.unwrap();
    assert_refused(&answer, "proxy_auth_required");
}

/// A client that does not wait for the answer to its handshake.
#[tokio::test]
async fn a_message_that_comes_with_the_handshake_arrives() {
    let (world, upstream) = world().await;
    for _ in 0..20 {
        let mut client = tunnelled(&world).await;
        let mut early = handshake("/chat", &[]).into_bytes();
        early.extend(super::socket::frame(FIN | TEXT, b"early", true));
        client.wire.send(early).await.unwrap();
        let (mut server, _) = upstream.asked().await;
        server.wire.send(switching("")).await.unwrap();
        let answer = within("an answer", client.wire.response(false)).await;
        assert_eq!(answer.unwrap().status, 101);
        assert_eq!(server.message().await.1, b"early");
    }
    // An upstream that refuses gets none of it, and the client is told.
    let mut client = tunnelled(&world).await;
    let mut early = handshake("/chat", &[]).into_bytes();
    early.extend(super::socket::frame(FIN | TEXT, b"early", true));
    client.wire.send(early).await.unwrap();
    let (mut server, _) = upstream.asked().await;
    server.wire.send(crate::upstream::ok("no")).await.unwrap();
    let answer = within("an answer", client.wire.response(false)).await;
    assert_eq!(answer.unwrap().text(), "no");
    let answer = within("an answer", client.wire.response(false)).await;
    assert_refused(&answer.unwrap(), "request_malformed");
}

#[tokio::test]
async fn a_refused_placeholder_begins_no_conversation() {
    let (world, upstream) = world().await;
    let mut client = tunnelled(&world).await;
    client
        .wire
        .send(handshake("/chat", &["X-Key: <<nope>>"]))
        .await
        .unwrap();
    let answer = within("an answer", client.wire.response(false))
        .await
        .unwrap();
    assert_refused(&answer, "credential_not_found");
    // The tunnel stays usable, and the next handshake is the first that the upstream sees.
    let (_, request, _) = agree(&mut client, &upstream, &handshake("/second", &[])).await;
    assert_eq!(request.target, "/second");
}

/// A connection counts against `proxy.max_connections` for as long as its conversation lasts.
#[tokio::test]
async fn a_conversation_counts_as_a_connection() {
    let (world, upstream) =
        super::world_with(World::builder().set("proxy.max_connections", 2)).await;
    let (client, _server) = conversation(&world, &upstream).await;
    let (_second, _other) = conversation(&world, &upstream).await;
    let mut third = bare(&world).await;
    let answer = within("an answer", third.wire.response(false))
        .await
        .unwrap();
    assert_refused(&answer, "overloaded");
    drop(client);
    within("room for another", async {
        while Wanted::new(&world).connect(&world).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// What the upstream answers with many fields, or with a folded line, is read without another request.
#[tokio::test]
async fn an_answer_with_an_unusual_head_begins_a_conversation() {
    let cookies: String = (0..120)
        .map(|n| format!("Set-Cookie: c{n}=1\r\n"))
        .collect();
    for fields in [cookies.as_str(), "X-Odd: one\r\n two\r\n"] {
        let (world, upstream) = world().await;
        let mut client = tunnelled(&world).await;
        client.wire.send(handshake("/chat", &[])).await.unwrap();
        let (mut server, _) = upstream.asked().await;
        let greeting = super::socket::frame(FIN | TEXT, format!("hello {VALUE}").as_bytes(), false);
        let answer = [switching(fields).into_bytes(), greeting].concat();
        server.wire.send(answer).await.unwrap();
        let answer = within("an answer", client.wire.response(false)).await;
        assert_eq!(answer.unwrap().status, 101, "{fields}");
        assert_eq!(client.next_text().await, format!("hello <<{SLUG}>>"));
        client.text("heard").await;
        assert_eq!(server.next_text().await, "heard");
    }
}
