//! Long answers: scrubbed as they arrive, and held back only from where a value could begin.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use crate::client::{Tunnel, request};
use crate::coded::{chunked, chunks, gzip_pieces, gzip_so_far, noise};
use crate::leak::{assert_absent, forms};
use crate::upstream::Step;
use crate::within;
use crate::world::{SLUG, VALUE, one_upstream};

const USE: &str = "X-Api-Key: <<pat>>";
const EVENT_STREAM: &str = "Content-Type: text/event-stream\r\nCache-Control: no-store";

/// The head of a chunked answer, and its body so far.
#[derive(Default)]
pub struct Stream {
    received: Vec<u8>,
}

impl Stream {
    /// Waits until the decoded body satisfies `enough`, and returns it.
    pub async fn until(
        &mut self,
        tunnel: &mut Tunnel,
        what: &str,
        open: impl Fn(&[u8]) -> Vec<u8>,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Vec<u8> {
        within(what, async {
            loop {
                let text = open(&self.body());
                if enough(&text) {
                    return text;
                }
                let n = tunnel.wire.io.read_buf(&mut self.received).await;
                let so_far = String::from_utf8_lossy(&self.received).into_owned();
                assert!(n.is_ok_and(|n| n > 0), "ended before {what}: {so_far}");
            }
        })
        .await
    }

    /// The content of the complete chunks so far.
    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") else {
            return body;
        };
        let mut rest = &self.received[end + 4..];
        while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
            let line = std::str::from_utf8(&rest[..at]).expect("a chunk size");
            let size = usize::from_str_radix(line, 16).expect("a chunk size");
            rest = &rest[at + 2..];
            if rest.len() < size + 2 {
                break;
            }
            body.extend_from_slice(&rest[..size]);
            rest = &rest[size + 2..];
        }
        body
    }

    fn head(&self) -> String {
        let end = memchr::memmem::find(&self.received, b"\r\n\r\n").expect("a head");
        String::from_utf8_lossy(&self.received[..end]).to_lowercase()
    }
}

pub fn identity(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

/// Each event is delivered before the next is sent: the upstream waits for the test.
async fn events_arrive(content_encoding: Option<&str>, accept: &str, recoded: bool) {
    let (world, stub) = one_upstream().await;
    let events = [
        format!("data: one {VALUE}\n\n"),
        "data: two\n\n".to_owned(),
        format!("data: s3cr3t+Can\ndata: {VALUE}\n\n"),
    ];
    let clean = [
        "data: one <<pat>>\n\n",
        "data: two\n\n",
        "data: s3cr3t+Can\ndata: <<pat>>\n\n",
    ];
    let plain: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    let pieces = match content_encoding {
        Some(_) => gzip_pieces(&plain),
        None => plain.iter().map(|piece| piece.to_vec()).collect(),
    };
    let coding = content_encoding
        .map(|coding| format!("\r\nContent-Encoding: {coding}"))
        .unwrap_or_default();
    let head =
        format!("HTTP/1.1 200 OK\r\n{EVENT_STREAM}{coding}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let gate = Arc::new(Notify::new());
    let mut steps = vec![Step::Send(head.into_bytes())];
    for piece in &pieces {
        steps.push(Step::Send(chunks(piece, piece.len())));
        steps.push(Step::Hold(gate.clone()));
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    stub.steps(steps);
    let mut tunnel = world.tunnel().await;
    let raw = request("GET", "/events", &[USE, accept], "");
    tunnel.wire.send(raw).await.expect("send");
    let mut stream = Stream {
        received: Vec::new(),
    };
    let open = if recoded { gzip_so_far } else { identity };
    for n in 1..=clean.len() {
        let expected = clean[..n].concat();
        let what = format!("event {n}");
        let text = stream
            .until(&mut tunnel, &what, open, |text| {
                text.len() >= expected.len()
            })
            .await;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        gate.notify_one();
    }
    assert_eq!(stream.head().contains("content-encoding: gzip"), recoded);
    assert!(stream.head().contains("content-type: text/event-stream"));
    let ended = async {
        while !stream.received.ends_with(b"\r\n0\r\n\r\n") {
            let n = tunnel.wire.io.read_buf(&mut stream.received).await;
            assert!(n.expect("read") > 0, "no clean end");
        }
    };
    within("the end of the stream", ended).await;
    assert_absent("the stream", &stream.received, &forms(VALUE.as_bytes()));
    // The tunnel and the upstream connection stay usable.
    stub.answer(crate::upstream::ok(VALUE));
    assert_eq!(tunnel.get("/x", &[USE]).await.text(), "<<pat>>");
    assert_eq!(stub.connections().len(), 1);
}

#[tokio::test]
async fn an_event_is_delivered_while_the_stream_stays_open() {
    events_arrive(None, "Accept: text/event-stream", false).await;
}

#[tokio::test]
async fn a_coded_event_is_delivered_while_the_stream_stays_open() {
    events_arrive(Some("gzip"), "Accept: text/event-stream", false).await;
}

#[tokio::test]
async fn a_coded_event_is_delivered_in_its_coding_to_a_client_that_insists() {
    events_arrive(Some("gzip"), "Accept-Encoding: gzip, identity;q=0", true).await;
}

#[tokio::test]
async fn what_could_begin_a_value_is_held_back_and_let_go_when_it_does_not() {
    let (world, stub) = one_upstream().await;
    let gate = Arc::new(Notify::new());
    let (half, _) = VALUE.split_at(VALUE.len() / 2);
    let head = format!("HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stub.steps(vec![
        Step::Send(head.into_bytes()),
        Step::Send(chunks(format!("whole. {half}").as_bytes(), 99)),
        Step::Hold(gate.clone()),
        Step::Send(chunked(b" is not all of it", 99)),
    ]);
    let mut tunnel = world.tunnel().await;
    let raw = request("GET", "/events", &[USE], "");
    tunnel.wire.send(raw).await.expect("send");
    let mut stream = Stream {
        received: Vec::new(),
    };
    let text = stream
        .until(&mut tunnel, "the beginning", identity, |text| {
            text.len() >= 6
        })
        .await;
    assert!(text.starts_with(b"whole."), "{text:?}");
    assert!(
        !text.ends_with(half.as_bytes()),
        "half of a value was passed on"
    );
    gate.notify_one();
    let whole = format!("whole. {half} is not all of it");
    let text = stream
        .until(&mut tunnel, "the rest", identity, |text| {
            text.len() >= whole.len()
        })
        .await;
    assert_eq!(String::from_utf8_lossy(&text), whole);
}

#[tokio::test]
async fn a_long_answer_is_scrubbed_at_both_ends_and_in_the_middle() {
    let (world, stub) = one_upstream().await;
    let filler = noise(1_500_000);
    let text = format!("{VALUE}{filler}{VALUE}{VALUE}{filler}{VALUE}");
    let clean = format!("<<pat>>{filler}<<pat>><<pat>>{filler}<<pat>>");
    let mut tunnel = world.tunnel().await;
    let sized = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let in_chunks = [head.as_bytes(), &chunked(text.as_bytes(), 7001)].concat();
    let until_close = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{text}");
    for steps in [
        vec![Step::Send(sized.into_bytes())],
        vec![Step::Send(in_chunks)],
        vec![Step::Send(until_close.into_bytes()), Step::Close],
    ] {
        stub.steps(steps);
        let got = tunnel.get("/x", &[USE]).await;
        assert_eq!(got.body.len(), clean.len());
        assert!(
            got.body == clean.as_bytes(),
            "the answer was scrubbed wrong"
        );
    }
}

#[tokio::test]
async fn an_echo_is_on_record_although_the_client_leaves_before_the_end() {
    let (world, stub) = one_upstream().await;
    let head = format!("HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stub.steps(vec![
        Step::Send(head.into_bytes()),
        Step::Send(chunks(format!("data: {VALUE}\n\n").as_bytes(), 99)),
        Step::Hang,
    ]);
    let mut tunnel = world.tunnel().await;
    let raw = request("GET", "/events", &[USE], "");
    tunnel.wire.send(raw).await.expect("send");
    let mut stream = Stream {
        received: Vec::new(),
    };
    stream
        .until(&mut tunnel, "the event", identity, |text| {
            text == b"data: <<pat>>\n\n"
        })
        .await;
    drop(tunnel);
    let result = world
        .ledger_line("a result", |line| line["event"] == "result")
        .await;
    assert_eq!(result["outcome"], "client_gone", "{result}");
    let line = world
        .ledger_line("a scrubbed line", |line| line["event"] == "scrubbed")
        .await;
    assert_eq!(line["slug"], SLUG);
    assert_eq!(line["request"], result["request"]);
}
