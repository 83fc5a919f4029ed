//! Requests over HTTP/2 get the same treatment as requests over HTTP/1.1.

use std::sync::Arc;

use tokio::sync::Notify;

use super::client::{Client, Request, response};
use super::frames;
use super::upstream::{Reply, parsed};
use crate::client::{Wanted, assert_refused};
use crate::upstream::{Step, Stub, ok};
use crate::wire::values;
use crate::world::{HOST, SLUG, VALUE, World};
use crate::{eventually, within};

const PLACES: &[&str] = &[
    "--host",
    HOST,
    "--in",
    "header",
    "--in",
    "header:cookie",
    "--in",
    "query",
    "--in",
    "path",
    "--in",
    "body",
];

/// A world whose upstream chooses among these protocols.
async fn world_speaking(protocols: &[&str]) -> (World, Stub) {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], protocols).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, PLACES).await;
    (world, stub)
}

fn uses(world: &World) -> usize {
    world
        .ledger()
        .iter()
        .filter(|line| line["event"] == "use")
        .count()
}

fn authorized(method: &str, path: &str) -> Request {
    Request::new(method, path).field("authorization", format!("Bearer <<{SLUG}>>"))
}

#[tokio::test]
async fn a_client_of_http2_gets_through_whatever_the_upstream_speaks() {
    for (protocols, spoken) in [
        (&["http/1.1"][..], "HTTP/1.1"),
        (&["h2", "http/1.1"], "HTTP/2"),
        (&["h2"], "HTTP/2"),
    ] {
        let (world, stub) = world_speaking(protocols).await;
        let mut client = Client::open(&world).await;
        let request = authorized("POST", "/a?k=%3C%3Cpat%3E%3E")
            .field("content-type", "application/json")
            .data(r#"{"k":"<<p"#)
            .data(r#"at>>"}"#);
        let answer = client.response(&request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("egret-request").is_some());
        assert!(answer.header("connection").is_none());
        let seen = stub.take_one();
        assert_eq!(seen.version, spoken);
        assert_eq!(seen.header("host").as_deref(), Some(HOST));
        assert_eq!(
            seen.header("authorization"),
            Some(format!("Bearer {VALUE}"))
        );
        let json: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(json["k"], VALUE);
        assert_eq!(uses(&world), 1);
    }
}

#[tokio::test]
async fn a_client_of_http1_reaches_an_upstream_that_speaks_http2_alone() {
    let (world, stub) = world_speaking(&["h2"]).await;
    let mut tunnel = Wanted::new(&world).open(&world).await.expect("a tunnel");
    for _ in 0..3 {
        let header = format!("Authorization: Bearer <<{SLUG}>>");
        let answer = tunnel.get("/x", &[&header]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let seen = stub.take_one();
        assert_eq!(seen.version, "HTTP/2");
        assert_eq!(
            seen.header("authorization"),
            Some(format!("Bearer {VALUE}"))
        );
    }
    let over_http2 = stub
        .connections()
        .iter()
        .filter(|c| !c.bytes.is_empty())
        .count();
    assert_eq!(over_http2, 1, "one connection for all");
}

#[tokio::test]
async fn a_client_that_offers_both_gets_http1_unless_the_order_is_turned_round() {
    for (alpn, expected) in [
        (&["http/1.1", "h2"][..], &b"http/1.1"[..]),
        (&["h2", "http/1.1"], b"h2"),
    ] {
        let alpn: Vec<toml::Value> = alpn.iter().map(|&p| p.into()).collect();
        let world = World::builder().set("proxy.alpn", alpn).start().await;
        let mut wanted = Wanted::new(&world);
        wanted.tls = Some(super::client::offering(&world, &["h2", "http/1.1"]).await);
        let tunnel = wanted.open(&world).await.expect("a tunnel");
        assert_eq!(tunnel.wire.io.get_ref().1.alpn_protocol(), Some(expected));
    }
}

#[tokio::test]
async fn many_requests_share_one_upstream_connection() {
    let (world, stub) = world_speaking(&["h2", "http/1.1"]).await;
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    stub.serve(move |_| {
        let held = held.clone();
        async move { vec![Step::Hold(held), Step::Send(ok("ok"))] }
    });
    let mut client = Client::open(&world).await;
    let mut streams = Vec::new();
    for n in 0..20 {
        streams.push(client.start(&authorized("GET", &format!("/{n}"))).await);
    }
    stub.until_requests(20).await;
    gate.notify_waiters();
    for id in streams {
        assert_eq!(response(&client.finish(id).await).status, 200);
    }
    let connections: std::collections::HashSet<usize> = stub
        .take()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn an_upstream_that_takes_few_streams_gets_more_connections() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.allow_streams(2);
    let mut client = Client::open(&world).await;
    // The upstream's settings arrive with the first exchange.
    assert_eq!(
        client.response(&authorized("GET", "/first")).await.status,
        200
    );
    assert_eq!(
        client.response(&authorized("GET", "/second")).await.status,
        200
    );
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    stub.serve(move |_| {
        let held = held.clone();
        async move { vec![Step::Hold(held), Step::Send(ok("ok"))] }
    });
    stub.take();
    let mut streams = Vec::new();
    for n in 0..6 {
        streams.push(client.start(&authorized("GET", &format!("/{n}"))).await);
    }
    stub.until_requests(6).await;
    gate.notify_waiters();
    for id in streams {
        assert_eq!(response(&client.finish(id).await).status, 200);
    }
}

#[tokio::test]
async fn cookie_crumbs_are_one_cookie() {
    let (world, stub) = world_speaking(&["http/1.1"]).await;
    let mut client = Client::open(&world).await;
    let request = Request::new("GET", "/")
        .field("cookie", "a=b")
        .field("x", "y")
        .field("cookie", format!("sid=<<{SLUG}>>"));
    assert_eq!(client.response(&request).await.status, 200);
    let seen = stub.take_one();
    let cookies = values(&seen.headers, "cookie");
    assert_eq!(cookies, [format!("a=b; sid={VALUE}").as_bytes()]);
    assert_eq!(seen.headers[0].0.to_ascii_lowercase(), "host");
}

#[tokio::test]
async fn trailers_go_both_ways_and_are_searched() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|_, _| async {
        let trailers = vec![
            ("grpc-status".to_owned(), b"0".to_vec()),
            ("x-echo".to_owned(), VALUE.into()),
        ];
        vec![Reply::Answer(parsed(&ok("hello")).await, trailers)]
    });
    let mut client = Client::open(&world).await;
    let request = authorized("POST", "/")
        .field("te", "trailers")
        .field("content-type", "text/plain")
        .data("body")
        .trailer("x-token", &format!("<<{SLUG}>>"));
    let message = client.exchange(&request).await;
    assert_eq!(response(&message).status, 200, "{message:?}");
    let trailers: Vec<(&str, &[u8])> = message
        .trailers
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .collect();
    assert_eq!(
        trailers,
        [("grpc-status", &b"0"[..]), ("x-echo", b"<<pat>>")]
    );
    let seen = stub.take_one();
    assert_eq!(seen.header("te").as_deref(), Some("trailers"));
    assert_eq!(seen.header("x-token").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn known_trailers_reach_an_upstream_of_http1() {
    let (world, stub) = world_speaking(&["http/1.1"]).await;
    let mut client = Client::open(&world).await;
    let request = Request::new("POST", "/")
        .field("content-type", "text/plain")
        .data("body")
        .trailer("x-token", &format!("<<{SLUG}>>"));
    assert_eq!(client.response(&request).await.status, 200);
    assert_eq!(
        stub.take_one().header("trailer").as_deref(),
        Some("x-token")
    );
    let bytes = stub.bytes();
    let sent = format!("x-token: {VALUE}\r\n");
    assert!(memchr::memmem::find(&bytes, sent.as_bytes()).is_some());
}

#[tokio::test]
async fn an_answer_is_scrubbed_frame_by_frame() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|id, _| async move {
        let head = vec![
            (":status".to_owned(), b"200".to_vec()),
            ("x-echo".to_owned(), VALUE.into()),
            ("content-type".to_owned(), b"text/plain".to_vec()),
        ];
        let head = frames::section(id, false, &head);
        let body = frames::data(id, true, format!("[{VALUE}]").as_bytes(), 1);
        vec![Reply::Bytes(head), Reply::Bytes(body)]
    });
    let mut client = Client::open(&world).await;
    let answer = client.response(&authorized("GET", "/")).await;
    assert_eq!(answer.header("x-echo").as_deref(), Some("<<pat>>"));
    assert_eq!(answer.text(), "[<<pat>>]");
}

#[tokio::test]
async fn what_names_another_host_goes_nowhere() {
    let (world, stub) = world_speaking(&["h2", "http/1.1"]).await;
    let mut client = Client::open(&world).await;
    let elsewhere = authorized("GET", "/").pseudo(":authority", "evil.example.test");
    assert_refused(&client.response(&elsewhere).await, "destination_mismatch");
    let both = authorized("GET", "/").field("host", "evil.example.test");
    assert_refused(&client.response(&both).await, "destination_mismatch");
    let port = authorized("GET", "/").pseudo(":authority", format!("{HOST}:8443"));
    assert_refused(&client.response(&port).await, "destination_mismatch");
    let named = authorized("GET", "/").pseudo(":authority", format!("{HOST}:443"));
    assert_eq!(client.response(&named).await.status, 200);
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn refusals_are_answers_and_leave_the_connection_alone() {
    let (world, stub) = world_speaking(&["h2"]).await;
    let mut client = Client::open(&world).await;
    let unknown = Request::new("GET", "/").field("x-key", "<<nobody>>");
    assert_refused(&client.response(&unknown).await, "credential_not_found");
    // Clients end a stream on which content comes for HEAD (RFC 9110 section 9.3.2).
    let head = Request::new("HEAD", "/").field("x-key", "<<nobody>>");
    let refused = client.response(&head).await;
    assert_eq!(refused.status, 424);
    assert_eq!(
        refused.egret_error().as_deref(),
        Some("credential_not_found")
    );
    assert!(refused.body.is_empty(), "{}", refused.text());
    world.run(&["credential", "revoke", SLUG]).await.ok();
    let revoked = client.response(&authorized("GET", "/")).await;
    assert_refused(&revoked, "credential_not_found");
    assert!(stub.take().is_empty());
    assert_eq!(client.response(&Request::new("GET", "/")).await.status, 200);
}

#[tokio::test]
async fn a_stream_that_the_upstream_refuses_goes_on_another_connection() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|_, request| async move {
        match request.connection {
            1 => vec![Reply::Reset(frames::REFUSED_STREAM)],
            2 => vec![Reply::Goaway(0, frames::NO_ERROR), Reply::Close],
            _ => vec![Reply::Answer(parsed(&ok("third")).await, Vec::new())],
        }
    });
    let mut client = Client::open(&world).await;
    let answer = client.response(&authorized("GET", "/")).await;
    assert_eq!(answer.text(), "third");
    assert_eq!(stub.take().len(), 3);
    assert_eq!(uses(&world), 1, "one use, on record once");
}

#[tokio::test]
async fn a_stream_that_fails_is_not_sent_twice() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|_, _| async { vec![Reply::Reset(frames::CANCEL)] });
    let mut client = Client::open(&world).await;
    let answer = client.response(&authorized("POST", "/")).await;
    assert_refused(&answer, "upstream_protocol_error");
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_in_order_is_replaced() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|id, _| async move {
        let answer = parsed(&ok("ok")).await;
        vec![
            Reply::Goaway(id, frames::NO_ERROR),
            Reply::Answer(answer, Vec::new()),
        ]
    });
    let mut client = Client::open(&world).await;
    for _ in 0..4 {
        assert_eq!(client.response(&authorized("GET", "/")).await.status, 200);
    }
    assert_eq!(stub.take().len(), 4);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_frees_it_upstream() {
    let (world, stub) = world_speaking(&["h2"]).await;
    stub.serve_http2(|_, _| std::future::pending());
    let mut client = Client::open(&world).await;
    let id = client.start(&authorized("GET", "/")).await;
    stub.until_requests(1).await;
    let gone = frames::reset(id, frames::CANCEL);
    client.peer.send(gone).await.expect("reset");
    let results = eventually("the result of a request whose client left", || {
        let lines = world.ledger();
        let mut results = lines.into_iter().filter(|line| line["event"] == "result");
        results.next()
    })
    .await;
    assert_eq!(results["outcome"], "client_gone");
    // The connection stays usable.
    stub.serve_http2(|_, _| async { vec![Reply::Answer(parsed(&ok("on")).await, Vec::new())] });
    assert_eq!(client.response(&authorized("GET", "/")).await.text(), "on");
}

#[tokio::test]
async fn a_refusal_in_mid_stream_resets_the_upstream_and_answers() {
    let builder = World::builder()
        .set("body.buffer", "1KiB")
        .set("body.spool", "0B");
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, PLACES).await;
    let mut client = Client::open(&world).await;
    let mut request = Request::new("POST", "/").field("content-type", "text/plain");
    for _ in 0..8 {
        request = request.data(vec![b'x'; 4096]);
    }
    let request = request.data("<<nobody>>").data(vec![b'y'; 4096]);
    assert_refused(&client.response(&request).await, "credential_not_found");
    assert!(stub.take().is_empty(), "the upstream saw a clean end");
}

#[tokio::test]
async fn without_tls_prior_knowledge_is_enough() {
    let (world, stub) = World::plain_upstream().await;
    let host = format!("http://{HOST}");
    world.save(SLUG, VALUE, &["--host", &host]).await;
    let mut wanted = Wanted::new(&world);
    wanted.authority = format!("{HOST}:80");
    let socket = wanted.connect(&world).await.expect("a tunnel");
    let mut peer = super::peer::Peer::new(socket);
    let request = authorized("GET", "/").pseudo(":scheme", "http");
    let hello = [
        frames::PREFACE.to_vec(),
        frames::settings(&[]),
        frames::section(1, true, &request.headers),
    ];
    // In small segments, as from a slow network.
    for piece in hello.concat().chunks(7) {
        peer.send(piece).await.expect("send");
    }
    within("an answer", async {
        while !peer.streams.get(&1).is_some_and(|message| message.ended) {
            peer.advance().await.expect("a frame");
        }
    })
    .await;
    assert_eq!(response(&peer.streams[&1]).status, 200);
    let seen = stub.take_one();
    assert_eq!(seen.version, "HTTP/2");
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {VALUE}"))
    );
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one_before_it_sends_its_body() {
    let (world, stub) = world_speaking(&["http/1.1"]).await;
    let mut client = Client::open(&world).await;
    for round in 0..3 {
        let request = Request::new("POST", "/x")
            .field("content-type", "text/plain")
            .field("expect", "100-continue");
        let id = client.begin(&request).await;
        let from = client.peer.received.len();
        within("a 100", async {
            let is_here = |received: &[u8]| {
                let text = String::from_utf8_lossy(received);
                text.contains(":status: 100")
            };
            while !is_here(&client.peer.received[from..]) {
                client.peer.advance().await.expect("a frame");
            }
        })
        .await;
        assert!(stub.take().is_empty(), "the body has to be looked at first");
        let body = format!("{round} <<{SLUG}>>");
        let data = frames::data(id, true, body.as_bytes(), frames::MAX_PAYLOAD);
        within("sending", client.peer.send(data))
            .await
            .expect("send");
        let message = client.finish(id).await;
        assert_eq!(message.field(":status").as_deref(), Some("200"));
        let seen = stub.take_one();
        assert_eq!(seen.body, format!("{round} {VALUE}").as_bytes());
        assert_eq!(seen.header("expect"), None);
    }
}

/// Where the body passes as it comes, the question is the upstream's to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_answers_the_head_spares_the_upload() {
    let (world, stub) = world_speaking(&["http/1.1"]).await;
    let mut client = Client::open(&world).await;
    for status in ["307 Elsewhere", "401 Who", "413 Too Much"] {
        let early = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
        stub.at_head(Some(vec![Step::Send(early.into_bytes()), Step::Hang]));
        let request = Request::new("POST", "/x")
            .field("content-type", "image/png")
            .field("x-key", format!("<<{SLUG}>>"))
            .field("expect", "100-continue");
        let from = client.peer.received.len();
        let id = client.begin(&request).await;
        let message = client.finish(id).await;
        assert_eq!(message.field(":status").as_deref(), Some(&status[..3]));
        assert_eq!(message.body, b"no");
        let received = String::from_utf8_lossy(&client.peer.received[from..]).into_owned();
        assert!(!received.contains(":status: 100"), "{received}");
        let seen = stub.take_one();
        assert_eq!(seen.header("expect").as_deref(), Some("100-continue"));
        assert_eq!(seen.header("egret-stream"), None);
    }
}
