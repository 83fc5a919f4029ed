//! Streams flow: the end of a message is delivered before the next one is sent, whatever it ends with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::client::request;
use crate::coded::{chunked, chunks, gzip_pieces};
use crate::http2::client::{Client, Request};
use crate::http2::frames;
use crate::http2::upstream::Reply;
use crate::scrubbed_streams::{Stream, identity};
use crate::upstream::{Step, Stub};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

const USE: &str = "X-Api-Key: <<pat>>";

/// What a message may take on a machine that does other things too. Far below the second for which
/// what is suspicious waits.
const SOON: Duration = Duration::from_millis(400);

/// Messages that the upstream sends one by one, each once the one before has arrived.
async fn messages_flow(head: &str, messages: &[Vec<u8>], coded: bool) {
    let (world, stub) = one_upstream().await;
    let gate = Arc::new(Notify::new());
    let head = format!("HTTP/1.1 200 OK\r\n{head}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut steps = vec![Step::Send(head.into_bytes())];
    let plain: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let sent = if coded {
        gzip_pieces(&plain)
    } else {
        messages.to_vec()
    };
    for message in &sent {
        steps.push(Step::Send(chunks(message, message.len())));
        steps.push(Step::Hold(gate.clone()));
    }
    stub.steps(steps);
    let mut tunnel = world.tunnel().await;
    tunnel
        .wire
        .send(request("GET", "/watch", &[USE], ""))
        .await
        .expect("send");
    let mut stream = Stream::default();
    let (mut slow, mut expected) = (Vec::new(), Vec::new());
    for (number, message) in messages.iter().enumerate() {
        expected.extend_from_slice(message);
        let began = Instant::now();
        let enough = |text: &[u8]| text.len() >= expected.len();
        let text = stream
            .until(&mut tunnel, "the message", identity, enough)
            .await;
        assert_eq!(text, expected);
        if number > 0 && began.elapsed() > SOON {
            slow.push((message.last().copied(), began.elapsed()));
        }
        gate.notify_one();
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// One message for each last byte.
fn every_last_byte(message: impl Fn(u8) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..=255).map(message).collect()
}

fn envelope(flags: u8, message: &[u8]) -> Vec<u8> {
    [&[flags][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

#[tokio::test]
async fn a_message_arrives_before_the_next_one_whatever_its_last_byte() {
    let bare = every_last_byte(|last| [b"some message ", &[last][..]].concat());
    messages_flow("Content-Type: application/octet-stream", &bare, false).await;
    let coded = "Content-Type: text/plain\r\nContent-Encoding: gzip";
    messages_flow(coded, &bare, true).await;
    let framed = every_last_byte(|last| {
        let object = [b"k8s\0 object ", &[last][..]].concat();
        [&(object.len() as u32).to_be_bytes()[..], &object].concat()
    });
    let watch = "Content-Type: application/vnd.kubernetes.protobuf;stream=watch";
    messages_flow(watch, &framed, false).await;
    let connect = every_last_byte(|last| envelope(0, &[b"reply ", &[last][..]].concat()));
    messages_flow("Content-Type: application/connect+proto", &connect, false).await;
}

#[tokio::test]
async fn lines_and_events_arrive_when_they_end() {
    for (media_type, end) in [
        ("application/json", "\n"),
        ("application/x-ndjson", "\r\n"),
        ("text/event-stream", "\n\n"),
    ] {
        // Every printable byte before the end, the beginnings of the value and of its forms too.
        let lines: Vec<Vec<u8>> = (b' '..=b'~')
            .map(|byte| format!("data: {}{end}", char::from(byte)).into_bytes())
            .collect();
        messages_flow(&format!("Content-Type: {media_type}"), &lines, false).await;
    }
}

#[tokio::test]
async fn the_rest_of_a_value_whose_beginning_was_let_go_is_masked() {
    let (world, stub) = one_upstream().await;
    let gate = Arc::new(Notify::new());
    let (first, rest) = VALUE.split_at(3);
    let (middle, end) = rest.split_at(9);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    stub.steps(vec![
        Step::Send(head.as_bytes().to_vec()),
        Step::Send(chunks(format!("echo {first}").as_bytes(), 99)),
        Step::Hold(gate.clone()),
        Step::Send(chunks(middle.as_bytes(), 99)),
        Step::Hold(gate.clone()),
        Step::Send(crate::coded::chunked(format!("{end}!").as_bytes(), 99)),
    ]);
    let mut tunnel = world.tunnel().await;
    tunnel
        .wire
        .send(request("GET", "/x", &[USE], ""))
        .await
        .expect("send");
    let mut stream = Stream::default();
    for so_far in [
        format!("echo {first}"),
        format!("echo {first}{}", "*".repeat(middle.len())),
        format!("echo {first}{}<<pat>>!", "*".repeat(middle.len())),
    ] {
        let enough = |text: &[u8]| text.len() >= so_far.len();
        let text = stream
            .until(&mut tunnel, "the piece", identity, enough)
            .await;
        assert_eq!(String::from_utf8_lossy(&text), so_far);
        gate.notify_one();
    }
    let line = world
        .ledger_line("a scrubbed line", |line| line["event"] == "scrubbed")
        .await;
    assert_eq!(line["slug"], SLUG);
    let places = line["locations"].to_string();
    assert!(
        places.contains("body (partial)") && places.contains("body (raw)"),
        "{line}"
    );
}

/// A world whose upstream speaks HTTP/2, and a client that does.
async fn over_http2() -> (World, Stub, Client) {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world
        .save(SLUG, VALUE, &["--host", HOST, "--in", "header"])
        .await;
    let client = Client::open(&world).await;
    (world, stub, client)
}

fn grpc_call() -> Request {
    Request::new("POST", "/echo.Echo/Chat")
        .field("content-type", "application/grpc")
        .field("grpc-accept-encoding", "identity, snappy, gzip")
        .field("te", "trailers")
        .field("x-api-key", "<<pat>>")
}

/// The head of an answer whose messages follow.
fn grpc_head(stream: u32, encoding: &str) -> Reply {
    let fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", encoding),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.into()));
    Reply::Bytes(frames::section(stream, false, &fields.to_vec()))
}

fn grpc_message(stream: u32, message: &[u8]) -> Reply {
    Reply::Bytes(frames::data(stream, false, message, frames::MAX_PAYLOAD))
}

fn grpc_end(stream: u32) -> Reply {
    let status = ("grpc-status".to_owned(), b"0".to_vec());
    Reply::Bytes(frames::section(stream, true, &vec![status]))
}

#[tokio::test]
async fn a_grpc_conversation_in_turn_flows_whatever_its_messages_end_with() {
    let (_world, stub, mut client) = over_http2().await;
    let replies = every_last_byte(|last| envelope(0, &[b"reply ", &[last][..]].concat()));
    let gate = Arc::new(Notify::new());
    let (sent, turn) = (replies.clone(), gate.clone());
    stub.serve_http2(move |stream, _| {
        let mut steps = vec![grpc_head(stream, "identity")];
        for message in &sent {
            steps.extend([grpc_message(stream, message), Reply::Hold(turn.clone())]);
        }
        steps.push(grpc_end(stream));
        async { steps }
    });
    let stream = client.start(&grpc_call()).await;
    let (mut slow, mut expected) = (Vec::new(), Vec::new());
    for (number, reply) in replies.iter().enumerate() {
        expected.extend_from_slice(reply);
        let began = Instant::now();
        let arriving = async {
            let so_far =
                |client: &Client| client.peer.streams.get(&stream).map_or(0, |m| m.body.len());
            while so_far(&client) < expected.len() {
                client.peer.advance().await.expect("a frame");
            }
        };
        within("a reply", arriving).await;
        assert_eq!(client.peer.streams[&stream].body, expected);
        if number > 0 && began.elapsed() > SOON {
            slow.push((reply.last().copied(), began.elapsed()));
        }
        gate.notify_one();
    }
    assert!(slow.is_empty(), "{slow:?}");
    let message = client.finish(stream).await;
    assert!(message.ended && message.reset.is_none(), "{message:?}");
    let offered = stub.take_one().header("grpc-accept-encoding");
    assert_eq!(offered.as_deref(), Some("identity, gzip"));
}

#[tokio::test]
async fn a_value_in_a_compressed_message_is_masked_and_the_message_opened() {
    let (_world, stub, mut client) = over_http2().await;
    let text = format!("\n\x1echo {VALUE}");
    let masked = format!("\n\x1echo {}", "*".repeat(VALUE.len()));
    for coding in ["gzip", "deflate"] {
        let sent = [
            envelope(1, &crate::coded::close(coding, text.as_bytes())),
            envelope(0, text.as_bytes()),
        ]
        .concat();
        stub.serve_http2(move |stream, _| {
            let steps = vec![
                grpc_head(stream, coding),
                grpc_message(stream, &sent[..9]),
                grpc_message(stream, &sent[9..]),
                grpc_end(stream),
            ];
            async { steps }
        });
        let answer = client.response(&grpc_call()).await;
        assert_eq!(
            answer.body,
            envelope(0, masked.as_bytes()).repeat(2),
            "{coding}"
        );
    }
    // What cannot be opened does not arrive, and neither does what was kept back of it.
    for coding in ["snappy", "gzip"] {
        stub.serve_http2(move |stream, _| {
            let message = envelope(1, b"what this is cannot be known");
            let steps = vec![
                grpc_head(stream, coding),
                grpc_message(stream, &message),
                grpc_end(stream),
            ];
            async { steps }
        });
        let message = client.exchange(&grpc_call()).await;
        assert!(
            message.reset.is_some() && message.body.is_empty(),
            "{coding}: {message:?}"
        );
    }
}

#[tokio::test]
async fn a_compressed_message_of_a_connect_stream_is_opened() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let text = format!("{{\"echo\":\"{}\"}}", VALUE.replace('"', "\\\""));
    let masked = format!("{{\"echo\":\"{}\"}}", "*".repeat(text.len() - 11));
    let body = [
        envelope(1, &crate::coded::close("gzip", text.as_bytes())),
        envelope(3, &crate::coded::close("gzip", b"{}")),
    ]
    .concat();
    for size in [1, 7, 4096] {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\n\
                    Connect-Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
        stub.answer([head.as_bytes(), &chunked(&body, size)].concat());
        let got = tunnel.get("/x", &[USE]).await;
        let expected = [envelope(0, masked.as_bytes()), envelope(2, b"{}")].concat();
        assert_eq!(got.text(), String::from_utf8_lossy(&expected));
    }
}

#[tokio::test]
async fn transfer_codings_are_undone_or_refused() {
    let (world, stub) = one_upstream().await;
    let coded = crate::coded::close("gzip", format!("echo {VALUE}").as_bytes());
    let twice = crate::coded::close("gzip", &crate::coded::close("br", VALUE.as_bytes()));
    for (lines, body, expected) in [
        (
            "Transfer-Encoding: gzip, chunked",
            chunked(&coded, 9),
            "echo <<pat>>",
        ),
        (
            "Transfer-Encoding: x-gzip\r\nTransfer-Encoding: chunked",
            chunked(&coded, 99),
            "echo <<pat>>",
        ),
        ("Transfer-Encoding: gzip", coded.clone(), "echo <<pat>>"),
        (
            "Content-Encoding: br\r\nTransfer-Encoding: gzip, chunked",
            chunked(&twice, 9),
            "<<pat>>",
        ),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        stub.steps(vec![
            Step::Send([head.as_bytes(), &body].concat()),
            Step::Close,
        ]);
        let got = world.tunnel().await.get("/x", &[USE]).await;
        assert_eq!(
            (got.status, got.text().as_str()),
            (200, expected),
            "{lines}"
        );
        assert_eq!(got.header("content-encoding"), None);
    }
    for coding in ["compress, chunked", "gzip;q=1, chunked", "secret-coding"] {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n");
        stub.steps(vec![
            Step::Send([head.as_bytes(), b"0\r\n\r\n"].concat()),
            Step::Close,
        ]);
        for headers in [&[][..], &[USE]] {
            let got = world.tunnel().await.get("/x", headers).await;
            crate::client::assert_refused(&got, "response_unscannable");
        }
    }
}

#[tokio::test]
async fn what_is_not_text_keeps_its_length() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let body = format!("\u{1}\u{1c}{VALUE}\u{2}rest");
    let masked = body.replace(VALUE, &"*".repeat(VALUE.len()));
    for media_type in [
        "application/proto",
        "application/x-protobuf",
        "application/vnd.kubernetes.protobuf",
        "application/cbor",
        "application/msgpack",
        "application/vnd.apache.thrift.binary",
        "application/octet-stream",
        "image/png",
    ] {
        let large = body.repeat(3000);
        for text in [&body, &large] {
            stub.answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ));
            let got = tunnel.get("/x", &[USE]).await;
            let times = text.len() / body.len();
            assert!(got.text() == masked.repeat(times), "{media_type}");
            assert_eq!(
                got.framing,
                crate::wire::Framing::Length(text.len() as u64),
                "{media_type}"
            );
        }
    }
}
