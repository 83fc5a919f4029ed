//! WebSocket over a stream of HTTP/2 (RFC 8441): the same conversation, and HTTP/1.1 upstream.

use super::socket::{FIN, TEXT, frame};
use super::{lines, result, world};
use crate::http2::client::{Client, Request};
use crate::http2::frames::{MAX_PAYLOAD, data, section};
use crate::within;
use crate::world::{SLUG, VALUE};

fn extended(protocol: &str, version: &str) -> Request {
    let mut request = Request::new("CONNECT", &format!("/chat?token=%3C%3C{SLUG}%3E%3E"));
    request
        .headers
        .insert(1, (":protocol".to_owned(), protocol.into()));
    request.field("sec-websocket-version", version)
}

#[tokio::test]
async fn an_extended_connect_begins_a_conversation() {
    let (world, upstream) = world().await;
    let mut client = Client::open(&world).await;
    // The first stream of the connection stays open.
    let id = 1;
    let asked = section(id, false, &extended("websocket", "13").headers);
    within("sending", client.peer.send(asked)).await.unwrap();
    let (mut server, request) = upstream.accept().await;
    assert_eq!(request.method, "GET");
    assert_eq!(request.header("upgrade").as_deref(), Some("websocket"));
    assert!(!request.target.contains("%3C"), "{}", request.target);
    let said = frame(FIN | TEXT, format!("say <<{SLUG}>>").as_bytes(), true);
    within(
        "sending",
        client.peer.send(data(id, false, &said, MAX_PAYLOAD)),
    )
    .await
    .unwrap();
    assert_eq!(server.next_text().await, format!("say {VALUE}"));
    server.text(&format!("heard {VALUE}")).await;
    server.close(1000, "bye").await;
    let mut expected = frame(FIN | TEXT, format!("heard <<{SLUG}>>").as_bytes(), false);
    expected.extend(frame(0x88, b"\x03\xe8bye", false));
    let heard = async {
        while client
            .peer
            .streams
            .get(&id)
            .is_none_or(|m| m.body.len() < expected.len())
        {
            client.peer.advance().await.expect("a frame");
        }
    };
    within("the answer", heard).await;
    let answer = client.peer.streams[&id].clone();
    assert_eq!(answer.body, expected);
    assert_eq!(answer.field(":status").as_deref(), Some("200"));
    assert_eq!(answer.field("sec-websocket-accept"), None);
    assert!(answer.field("egret-request").is_some());
    let reply = frame(0x88, b"\x03\xe8bye", true);
    within(
        "sending",
        client.peer.send(data(id, false, &reply, MAX_PAYLOAD)),
    )
    .await
    .unwrap();
    assert_eq!(server.closed().await, (1000, "bye".to_owned()));
    assert!(client.finish(id).await.ended);
    assert_eq!(lines(&world, "use").len(), 2);
    assert_eq!(result(&world).await["outcome"], "forwarded");
    assert_eq!(lines(&world, "use")[0]["method"], "GET");
}

#[tokio::test]
async fn other_protocols_and_versions_are_refused() {
    let (world, _upstream) = world().await;
    for (protocol, version) in [("websocket", "8"), ("connect-udp", "13")] {
        let mut client = Client::open(&world).await;
        let answer = client.response(&extended(protocol, version)).await;
        crate::client::assert_refused(&answer, "request_malformed");
    }
}

/// In HTTP/2 any 2xx accepts the handshake.
#[tokio::test]
async fn an_upstream_that_only_answers_has_not_said_yes() {
    let (world, upstream) = world().await;
    for (said, status, code) in [
        (
            crate::upstream::ok("hello"),
            502,
            Some("upstream_protocol_error"),
        ),
        (
            b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno".to_vec(),
            403,
            None,
        ),
    ] {
        let mut client = Client::open(&world).await;
        let asked = section(1, false, &extended("websocket", "13").headers);
        within("sending", client.peer.send(asked)).await.unwrap();
        let (mut server, _) = upstream.asked().await;
        server.wire.send(said).await.unwrap();
        let answer = crate::http2::client::response(&client.finish(1).await);
        assert_eq!(
            (answer.status, answer.egret_error().as_deref()),
            (status, code)
        );
    }
}
