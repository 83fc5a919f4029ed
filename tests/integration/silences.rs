//! How long what may be silent, and that silent clients shut nobody out.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use crate::client::{Wanted, assert_refused, basic, request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::{Wire, WireError};
use crate::world::{HOST, World, one_upstream_with};
use crate::{eventually, within, within_secs};

/// Long enough to tell a limit of a second from one of a minute.
const PAUSE: Duration = Duration::from_millis(2_500);

fn head_of(kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n")
        .into_bytes()
}

async fn with(limits: &[(&str, &str)]) -> (World, Stub) {
    let mut builder = World::builder();
    for (key, value) in limits {
        builder = builder.set(key, *value);
    }
    one_upstream_with(builder).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_an_answer_is_not_a_silence_in_it() {
    let (world, stub) = with(&[("upstream.idle_timeout", "1s")]).await;
    stub.steps(vec![Step::Pause(PAUSE), Step::Send(ok("thought"))]);
    let answer = world.tunnel().await.get("/x", &[]).await;
    assert_eq!(answer.text(), "thought");
    let (world, stub) = with(&[("upstream.first_byte_timeout", "1s")]).await;
    stub.steps(vec![Step::Hang]);
    let answer = within_secs(10, "a refusal", world.tunnel().await.get("/x", &[])).await;
    assert_refused(&answer, "upstream_timeout");
    assert!(answer.text().contains("upstream.first_byte_timeout"));
    stub.steps(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha".to_vec()),
        Step::Pause(PAUSE),
        Step::Send(b"lf".to_vec()),
    ]);
    assert_eq!(world.tunnel().await.get("/x", &[]).await.text(), "half");
}

async fn logged(world: &World, what: &str) {
    eventually(what, || world.log().contains(what).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_has_a_limit_of_its_own() {
    let (world, stub) = with(&[("upstream.idle_timeout", "1s")]).await;
    for (kind, is_stream) in [
        ("text/event-stream", true),
        ("application/json;stream=watch", true),
        ("application/grpc", true),
        ("text/plain", false),
    ] {
        stub.steps(vec![
            Step::Send([&head_of(kind)[..], b"4\r\none\n\r\n"].concat()),
            Step::Pause(PAUSE),
            Step::Send(b"4\r\ntwo\n\r\n0\r\n\r\n".to_vec()),
        ]);
        let mut wire = world.tunnel().await.wire;
        wire.send(request("GET", "/x", &[], ""))
            .await
            .expect("send");
        match within("an answer", wire.response(false)).await {
            Ok(answer) => assert!(is_stream && answer.text() == "one\ntwo\n", "{kind}"),
            Err(WireError::Truncated { .. }) => assert!(!is_stream, "{kind}"),
            Err(other) => panic!("{kind}: {other}"),
        }
    }
    logged(&world, "upstream.idle_timeout").await;
    let (world, stub) = with(&[("upstream.stream_timeout", "1s")]).await;
    stub.steps(vec![Step::Send(head_of("text/event-stream")), Step::Hang]);
    let mut wire = world.tunnel().await.wire;
    wire.send(request("GET", "/x", &[], ""))
        .await
        .expect("send");
    let cut = within_secs(10, "the end", wire.response(false)).await;
    assert!(cut.is_err(), "{cut:?}");
    logged(&world, "upstream.stream_timeout").await;
}

/// An upstream that began its answer early and reads the upload to its end before it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_moves_is_life_for_its_answer() {
    let (world, stub) = with(&[("upstream.idle_timeout", "1s")]).await;
    stub.at_head(Some(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha".to_vec()),
        Step::Pause(PAUSE + Duration::from_secs(1)),
        Step::Send(b"lf".to_vec()),
    ]));
    let mut wire = world.tunnel().await.wire;
    let kind = "Content-Type: image/png";
    let head = request("POST", "/x", &[kind, "Content-Length: 1000000"], "");
    wire.send(head).await.expect("send");
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        wire.io.write_all(b"piece").await.expect("send");
        wire.io.flush().await.expect("send");
        sleep(Duration::from_millis(200)).await;
    }
    match within("an answer", wire.response(false)).await {
        Ok(answer) => assert_eq!(answer.text(), "half"),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_shown_no_token_is_not_waited_for() {
    let (world, _stub) = with(&[("proxy.header_timeout", "1s")]).await;
    let mut silent = world.dial().await;
    let mut refused = world.dial().await;
    let head = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n");
    refused.send(&head).await.expect("send");
    let answer = refused.connect_response().await.expect("an answer");
    assert_refused(&answer, "proxy_auth_required");
    // One that has is.
    let mut known = world.dial().await;
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let loopback = request("GET", "/x", &[&who], "");
    let loopback = loopback.replace("GET /x", &format!("GET http://{HOST}/x"));
    known.send(&loopback).await.expect("send");
    known.response(false).await.expect("an answer");
    within_secs(8, "the silent one to be closed", silent.until_closed()).await;
    within_secs(8, "the refused one to be closed", refused.until_closed()).await;
    sleep(PAUSE).await;
    known.send(&loopback).await.expect("send");
    known.response(false).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_clients_shut_nobody_out_for_long_and_probes_never() {
    let (world, stub) = with(&[("proxy.header_timeout", "3s")]).await;
    let mut world = world;
    world.configure("proxy.max_connections", 8);
    world.stop().await;
    world.restart().await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(world.dial().await);
    }
    // Two workers accept: the last of them has its place a moment after it was accepted.
    sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        let turned_away = Wanted::new(&world)
            .connect(&world)
            .await
            .expect_err("no place");
        assert_refused(&turned_away, "overloaded");
    }
    let mut probes = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpStream::connect(world.admin).await;
        probes.push(Wire::new(socket.expect("the admin listener")));
        if probes.len() % 20 == 0 {
            let probe = within_secs(2, "a probe", world.admin_get("/readyz")).await;
            assert_eq!(probe, Some(200));
        }
    }
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.tunnel().await.get("/x", &[]).await.status, 200);
    stub.take_one();
    assert_eq!(world.admin_get("/healthz").await, Some(200));
    assert!(world.log().contains("limits"));
}
