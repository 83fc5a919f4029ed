//! An answer never vanishes: what came of it arrives, and then the client sees whether it was whole.

use std::time::Duration;

use crate::client::{Tunnel, Wanted, assert_refused, basic, request};
use crate::http2::client::{Client, Request, response};
use crate::http2::frames;
use crate::http2::upstream::Reply;
use crate::upstream::{Step, Stub, ok};
use crate::wire::{Response, Wire, WireError};
use crate::within;
use crate::world::{HOST, VALUE, World, one_upstream};

const TRIES: usize = 100;

/// Answers that end before their end, with what of their bodies comes.
const CUT: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nX-Mark: 1\r\nContent-Length: 100\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nX-Mark: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "HTTP/1.1 200 OK\r\nX-Mark: 1\r\nContent-Length: 900000\r\n\r\nhalf",
];

/// A tunnel of a client that can use no credential, so that answers are not searched for values.
async fn without_credentials(world: &World) -> Tunnel {
    let token = world.client("empty", "empty").await;
    let wanted = Wanted::new(world).authorized(basic("act-1", &token));
    world.tunnel_for(&wanted).await
}

/// Reads an answer that has to arrive in part.
async fn cut_off<S>(wire: &mut Wire<S>, ask: &str, what: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    wire.send(ask).await.expect("send");
    match within("an answer", wire.response(false)).await {
        Err(WireError::Truncated { body, .. }) => {
            let head = String::from_utf8_lossy(&wire.received).to_ascii_lowercase();
            assert!(head.contains("200 ok\r\nx-mark: 1\r\n"), "{what}: {head}");
            assert_eq!(body, b"half", "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_upstream_closed_arrives() {
    let (world, stub) = one_upstream().await;
    let empty = world.client("empty", "empty").await;
    for answer in CUT {
        // Together with the close, which is none that TLS knows of.
        stub.steps(vec![Step::Send(answer.into()), Step::Drop]);
        for _ in 0..TRIES / 10 {
            for header in ["X-Key: <<pat>>", "X-Key: none"] {
                let mut wire = world.tunnel().await.wire;
                cut_off(&mut wire, &request("GET", "/x", &[header], ""), answer).await;
            }
            let wanted = Wanted::new(&world).authorized(basic("act-1", &empty));
            let mut wire = world.tunnel_for(&wanted).await.wire;
            cut_off(&mut wire, &request("GET", "/x", &[], ""), answer).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_upstream_closed_arrives_without_tls() {
    let (world, stub) = World::plain_upstream().await;
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let raw = request("GET", "/x", &[&who], "");
    let raw = raw.replace("GET /x", &format!("GET http://{HOST}/x"));
    for saved in [false, true] {
        if saved {
            world.save("pat", VALUE, &["--host", HOST]).await;
        }
        for answer in CUT {
            for end in [Step::Drop, Step::Close] {
                stub.steps(vec![Step::Send(answer.into()), end]);
                for _ in 0..TRIES / 10 {
                    cut_off(&mut world.dial().await, &raw, answer).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_upstream_closed_arrives_over_http2() {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["http/1.1"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    for saved in [false, true] {
        if saved {
            world.save("pat", VALUE, &["--host", HOST]).await;
        }
        for answer in CUT {
            stub.steps(vec![Step::Send(answer.into()), Step::Drop]);
            let mut client = Client::open(&world).await;
            for _ in 0..TRIES / 10 {
                let message = client.exchange(&Request::new("GET", "/x")).await;
                assert_eq!(message.field("x-mark").as_deref(), Some("1"), "{answer}");
                assert_eq!(message.body, b"half", "{answer}");
                assert!(!message.ended && message.reset.is_some(), "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn a_whole_answer_without_close_notify_is_whole() {
    let (world, stub) = one_upstream().await;
    for answer in [
        &ok("whole")[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole",
    ] {
        stub.steps(vec![Step::Send(answer.into()), Step::Drop]);
        for header in ["X-Key: <<pat>>", "X-Key: none"] {
            let mut tunnel = world.tunnel().await;
            for _ in 0..TRIES / 10 {
                assert_eq!(tunnel.get("/x", &[header]).await.text(), "whole");
            }
        }
        let mut tunnel = without_credentials(&world).await;
        assert_eq!(tunnel.get("/x", &[]).await.text(), "whole");
        world.run(&["client", "remove", "empty"]).await.ok();
    }
    let failed =
        |line: &serde_json::Value| line["event"] == "result" && line["outcome"] == "failed";
    assert!(!world.ledger().iter().any(failed));
}

/// Sends an upload that the upstream does not read, and returns the answer.
async fn upload(mut tunnel: Tunnel, body: &str, kind: &str) -> Response {
    let raw = request("PUT", "/x", &["X-Key: <<pat>>", kind], body);
    let _ = within("sending", tunnel.wire.send(raw)).await;
    within("the early answer", tunnel.wire.response(false))
        .await
        .expect("the early answer")
}

/// The upstream answers the head and closes with the upload unread: its kernel sends a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_relayed() {
    let (world, stub) = one_upstream().await;
    let early = "HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope";
    stub.at_head(Some(vec![
        Step::Send(early.into()),
        Step::Pause(Duration::from_millis(5)),
        Step::Drop,
    ]));
    let body = crate::coded::noise(3 << 20);
    for n in 0..TRIES {
        let kind = ["Content-Type: image/png", "Content-Type: text/plain"][n % 2];
        let answer = upload(world.tunnel().await, &body, kind).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (413, "nope"),
            "{n}"
        );
        assert_eq!(stub.take().len(), 1, "it is never sent again");
    }
}

async fn http2_upstream() -> (World, Stub) {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save("pat", VALUE, &["--host", HOST]).await;
    (world, stub)
}

fn head(lines: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let lines = [&[(":status", "200")], lines].concat();
    let lines = lines.into_iter();
    lines.map(|(n, v)| (n.to_owned(), v.into())).collect()
}

#[tokio::test]
async fn a_reset_without_an_error_ends_no_answer() {
    let (world, stub) = http2_upstream().await;
    for length in [None, Some("100"), Some("900000")] {
        let lines: Vec<_> = length.iter().map(|n| ("content-length", *n)).collect();
        let fields = head(&lines);
        stub.serve_http2(move |id, _| {
            let part = [
                frames::section(id, false, &fields),
                frames::data(id, false, b"half", 100),
                frames::reset(id, frames::NO_ERROR),
            ];
            async move { vec![Reply::Bytes(part.concat())] }
        });
        let message = Client::open(&world)
            .await
            .exchange(&Request::new("GET", "/x").field("x-key", "<<pat>>"))
            .await;
        assert!(!message.ended, "{length:?}: {message:?}");
        assert_eq!(message.body, b"half");
        let mut wire = world.tunnel().await.wire;
        wire.send(request("GET", "/x", &["X-Key: <<pat>>"], ""))
            .await
            .expect("send");
        match within("an answer", wire.response(false)).await {
            Err(WireError::Truncated { body, .. }) => assert_eq!(body, b"half"),
            other => panic!("{length:?}: {other:?}"),
        }
    }
    let results: Vec<_> = world.ledger();
    let results = results.iter().filter(|line| line["event"] == "result");
    for line in results {
        assert_eq!(line["outcome"], "failed", "{line}");
        assert_eq!(line["code"], "upstream_protocol_error");
    }
}

#[tokio::test]
async fn lengths_of_an_answer_are_one_length() {
    let (world, stub) = http2_upstream().await;
    let answer_with = |lengths: &'static [&'static str]| {
        let lines: Vec<_> = lengths.iter().map(|n| ("content-length", *n)).collect();
        let fields = head(&lines);
        stub.serve_http2(move |id, _| {
            let whole = [
                frames::section(id, false, &fields),
                frames::data(id, true, b"whole", 100),
            ];
            async move { vec![Reply::Bytes(whole.concat())] }
        });
    };
    let mut tunnel = world.tunnel().await;
    let mut client = Client::open(&world).await;
    let get = Request::new("GET", "/x");
    for header in ["X-Key: <<pat>>", "X-Key: none"] {
        answer_with(&["5", "5"]);
        let answer = tunnel.get("/x", &[header]).await;
        assert_eq!(answer.text(), "whole");
        let message = client.exchange(&get).await;
        assert_eq!(
            response(&message).header("content-length").as_deref(),
            Some("5")
        );
        assert_eq!(
            message
                .headers
                .iter()
                .filter(|h| h.0 == "content-length")
                .count(),
            1
        );
        answer_with(&["5", "7"]);
        assert_refused(
            &tunnel.get("/x", &[header]).await,
            "upstream_protocol_error",
        );
        assert_refused(&client.response(&get).await, "upstream_protocol_error");
    }
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
    ] {
        stub.answer(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nwhole"));
        for header in ["X-Key: <<pat>>", "X-Key: none"] {
            assert_eq!(
                tunnel.get("/x", &[header]).await.text(),
                "whole",
                "{lengths}"
            );
        }
    }
}
