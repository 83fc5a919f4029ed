//! The bounds on a hostile HTTP/2 client (RFC 9113 section 10.5).

use super::client::{Client, Request};
use super::frames;
use crate::upstream::Stub;
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream_with};

async fn world() -> (World, Stub) {
    one_upstream_with(World::builder().set("proxy.max_header_bytes", "16KiB")).await
}

/// Asserts that the server still works, whether or not it ended the connection.
async fn serves_on(world: &World) {
    let mut client = Client::open(world).await;
    let request = Request::new("GET", "/").field("x-key", format!("<<{SLUG}>>"));
    assert_eq!(client.response(&request).await.status, 200);
}

fn get() -> Request {
    Request::new("GET", "/").field("x-key", format!("<<{SLUG}>>"))
}

#[tokio::test]
async fn malformed_heads_reach_no_upstream() {
    let (world, stub) = world().await;
    let malformed = [
        get().field("X-Upper", "1"),
        get().field("transfer-encoding", "chunked"),
        get().field("connection", "close"),
        get().field("te", "gzip"),
        get().field("x-injected", "1\r\nx-more: 2"),
        get().field("x-nul", "a\0b"),
        get().field(":path", "/again"),
        get().field("content-length", "5").data("sixsix"),
        get().field("content-length", "7").data("sixsix"),
        get().pseudo(":path", "/<<pat>>"),
        get().pseudo(":method", "G T"),
    ];
    for request in malformed {
        let mut client = Client::open(&world).await;
        let message = client.exchange(&request).await;
        let refused = message.field("egret-error").is_some();
        let malformed = matches!(message.field(":status").as_deref(), Some("400" | "431"));
        let reset = message.reset == Some(frames::PROTOCOL_ERROR);
        let ended = client.peer.goaway == Some(frames::PROTOCOL_ERROR);
        assert!(
            refused || malformed || reset || ended,
            "{request:?}: {message:?}"
        );
    }
    assert!(stub.bytes().is_empty());
    serves_on(&world).await;
}

#[tokio::test]
async fn a_target_that_cannot_be_sent_is_refused_for_its_stream_alone() {
    let (world, stub) = world().await;
    let mut client = Client::open(&world).await;
    let long = format!("/{}", "a".repeat(70_000));
    for (target, code) in [
        (&b"/a#b"[..], "request_malformed"),
        (b"/a?b#c", "request_malformed"),
        (b"/a`b", "request_malformed"),
        (b"/a?b=`", "request_malformed"),
        (b"/a\"b", "request_malformed"),
        (b"/a?b=\"c\"", "request_malformed"),
        (b"/a\xff", "request_malformed"),
        (b"/a?b=\xc3", "request_malformed"),
        (b"/a b", "request_malformed"),
        (b"/<<pat>>", "request_malformed"),
        (long.as_bytes(), "target_too_long"),
    ] {
        let shown = String::from_utf8_lossy(&target[..target.len().min(20)]);
        let message = client.exchange(&get().pseudo(":path", target)).await;
        let got = message.field("egret-error");
        assert_eq!(got.as_deref(), Some(code), "{shown}: {message:?}");
        assert!(stub.take().is_empty(), "{shown}");
        assert_eq!(client.response(&get()).await.status, 200, "{shown}");
        assert_eq!(stub.take_one().target, "/");
    }
    let fine = get().pseudo(":path", "/%23?a='b'&c=[d]|{e}^~");
    assert_eq!(client.response(&fine).await.status, 200);
    assert_eq!(stub.take_one().target, "/%23?a='b'&c=[d]|{e}^~");
}

#[tokio::test]
async fn a_head_has_a_largest_size_and_most_lines() {
    let (world, stub) = world().await;
    let mut client = Client::open(&world).await;
    let long = get().field("x-long", vec![b'a'; 20 * 1024]);
    let message = client.exchange(&long).await;
    assert_eq!(
        message.field(":status").as_deref(),
        Some("431"),
        "{message:?}"
    );
    let mut many = get();
    for n in 0..200 {
        many = many.field(&format!("x-{n}"), "");
    }
    let message = client.exchange(&many).await;
    assert_eq!(
        message.field(":status").as_deref(),
        Some("431"),
        "{message:?}"
    );
    assert!(stub.take().is_empty());
    serves_on(&world).await;
}

#[tokio::test]
async fn continuations_without_end_end_the_connection() {
    let (world, stub) = world().await;
    let mut client = Client::open(&world).await;
    let head = frames::section(1, true, &get().headers);
    // The same HEADERS, without the end of the section.
    let mut open = head.clone();
    open[4] &= !frames::END_HEADERS;
    let _ = client.peer.send(open).await;
    let more = [
        0, 5, b'x', b'-', b'a', b'a', b'a', 4, b'b', b'b', b'b', b'b',
    ]
    .repeat(1000);
    let flood = async {
        let frame = frames::frame(frames::CONTINUATION, 0, 1, &more);
        for _ in 0..10_000 {
            if client.peer.send(&frame).await.is_err() {
                return;
            }
        }
        panic!("120 MB of continuations were taken");
    };
    within("the end of a flood", flood).await;
    assert!(stub.take().is_empty());
    serves_on(&world).await;
}

#[tokio::test]
async fn resetting_streams_at_once_ends_the_connection() {
    let (world, _stub) = world().await;
    let mut client = Client::open(&world).await;
    let (mut id, mut flood) = (1, Vec::new());
    for _ in 0..2_000 {
        flood.extend(frames::section(id, true, &get().headers));
        flood.extend(frames::reset(id, frames::CANCEL));
        id += 2;
    }
    let _ = client.peer.send(&flood).await;
    within("the end of the connection", async {
        while client.peer.advance().await.is_ok() {}
    })
    .await;
    // The connection may end before the frame with the error code arrives.
    let why = client.peer.goaway.unwrap_or(frames::ENHANCE_YOUR_CALM);
    assert_eq!(why, frames::ENHANCE_YOUR_CALM);
    serves_on(&world).await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_ended() {
    let builder = World::builder().set("proxy.idle_timeout", "1s");
    let (world, _stub) = one_upstream_with(builder).await;
    let mut client = Client::open(&world).await;
    assert_eq!(client.response(&get()).await.status, 200);
    within("the end of an idle connection", async {
        while client.peer.advance().await.is_ok() {}
    })
    .await;
    assert_eq!(client.peer.goaway, Some(frames::NO_ERROR));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_left() {
    let builder = World::builder()
        .set("proxy.idle_timeout", "1s")
        .set("upstream.first_byte_timeout", "1s")
        .set("upstream.stream_timeout", "1s")
        .set("upstream.websocket_timeout", "1s")
        .set("upstream.idle_timeout", "1s");
    let (world, stub) = one_upstream_with(builder).await;
    let mut client = Client::open(&world).await;
    // An initial window of 0 for every stream.
    let closed = frames::settings(&[(frames::INITIAL_WINDOW_SIZE, 0)]);
    client.peer.send(closed).await.expect("settings");
    let id = client.start(&get()).await;
    stub.until_requests(1).await;
    within("the end of a stalled connection", async {
        while client.peer.advance().await.is_ok() {}
    })
    .await;
    let message = &client.peer.streams[&id];
    assert!(!message.ended && message.body.is_empty(), "{message:?}");
    serves_on(&world).await;
}

/// A value in an HTTP/2 head is never put into the dynamic table that later requests share: an
/// attacker who adds text to a request could learn the value from its compressed length (RFC 7541
/// section 7.1).
#[tokio::test]
async fn values_are_never_indexed() {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let mut client = Client::open(&world).await;
    for _ in 0..3 {
        assert_eq!(client.response(&get()).await.status, 200);
    }
    // Huffman coding shortens text by about a quarter; an index would be a byte or two.
    let blocks = stub.connections().remove(0).blocks;
    assert_eq!(blocks.len(), 3);
    assert!(
        blocks.iter().all(|size| *size > VALUE.len() / 2),
        "{blocks:?}"
    );
}
