//! The order of events in a streamed body: each use is recorded before the value is sent, and the
//! body is searched without being buffered as a whole.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::request;
use crate::coded::{chunked, chunks, noise};
use crate::load::own_kib;
use crate::pki::{Flaw, Pki};
use crate::upstream::{Step, Stub, ok};
use crate::world::{HOST, SLUG, VALUE, World, parse_ledger};
use crate::{eventually, within, within_secs};

const EVERYWHERE: &[&str] = &["--host", HOST, "--in", "header", "--in", "body"];

/// The part of [`VALUE`] that is the same in the encoding of every body type.
const NEEDLE: &[u8] = VALUE.as_bytes().split_at(24).0;

/// An upstream that counts the value in what it reads, and stores nothing else.
#[derive(Clone, Default)]
struct Sink {
    read: Arc<AtomicU64>,
    /// How often the value arrived.
    values: Arc<AtomicU64>,
    /// The ledger file, and its content when the value first arrived.
    ledger: Arc<Mutex<Option<PathBuf>>>,
    at_value: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Sink {
    async fn listen(&self, pki: &Pki) -> std::net::SocketAddr {
        let tls = TlsAcceptor::from(pki.server_config(&[HOST], Flaw::None));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let sink = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (sink, tls) = (sink.clone(), tls.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(socket).await {
                        sink.swallow(stream).await;
                    }
                });
            }
        });
        addr
    }

    /// Answers whenever a chunked body ends.
    async fn swallow(&self, mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
        let mut tail: Vec<u8> = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            let n = match stream.read(&mut piece).await {
                Ok(n) if n > 0 => n,
                _ => return,
            };
            self.read.fetch_add(n as u64, Ordering::SeqCst);
            tail.extend_from_slice(&piece[..n]);
            let found = memchr::memmem::find_iter(&tail, NEEDLE).count() as u64;
            if found > 0 {
                let ledger = self.ledger.lock().unwrap().clone();
                let lines = ledger.and_then(|path| std::fs::read(path).ok());
                self.at_value
                    .lock()
                    .unwrap()
                    .get_or_insert(lines.unwrap_or_default());
                self.values.fetch_add(found, Ordering::SeqCst);
            }
            if tail.ends_with(b"\r\n0\r\n\r\n") {
                tail.clear();
                if stream.write_all(&ok("done")).await.is_err() {
                    return;
                }
            }
            // A value or an end that spans two reads is found, and no value is counted twice.
            let last = memchr::memmem::rfind(&tail, NEEDLE).map_or(0, |at| at + NEEDLE.len());
            let keep = (tail.len() - last).min(NEEDLE.len() - 1);
            tail.drain(..tail.len() - keep);
        }
    }
}

async fn sink_world(buffer: &str) -> (World, Sink) {
    let builder = World::builder()
        .set("body.buffer", buffer)
        .set("body.spool", "0B")
        .set("log.level", "info");
    let sink = Sink::default();
    let addr = sink.listen(builder.pki()).await;
    let world = builder.route(&format!("{HOST}:443"), addr).start().await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    *sink.ledger.lock().unwrap() = Some(world.ledger_path());
    (world, sink)
}

fn head(media_type: &str) -> Vec<u8> {
    let media_type = format!("Content-Type: {media_type}");
    let lines = [media_type.as_str(), "Transfer-Encoding: chunked"];
    request("POST", "/x", &lines, "").into_bytes()
}

#[tokio::test]
async fn the_use_is_on_record_when_the_value_arrives_in_mid_stream() {
    let (world, sink) = sink_world("1KiB").await;
    for round in 0..10 {
        *sink.at_value.lock().unwrap() = None;
        let mut tunnel = world.tunnel().await;
        let first = [head("text/plain"), chunks(noise(10_000).as_bytes(), 4096)].concat();
        tunnel.wire.send(&first).await.expect("send");
        eventually("the beginning to arrive", || {
            (sink.read.swap(0, Ordering::SeqCst) > 0).then_some(())
        })
        .await;
        let uses = |lines: &[Value]| lines.iter().filter(|l| l["event"] == "use").count();
        assert_eq!(uses(&world.ledger()), round, "nothing is used yet");
        // The end is not sent yet: what arrives now arrives in the middle of the body.
        tunnel
            .wire
            .send(chunks(b"<<pat>> and on", 99))
            .await
            .expect("send");
        let at_value = eventually("the value", || sink.at_value.lock().unwrap().clone()).await;
        let lines = parse_ledger(&at_value);
        assert_eq!(
            uses(&lines),
            round + 1,
            "the value was sent before its use was on record: {lines:?}"
        );
        tunnel.wire.send(chunked(b"end", 9)).await.expect("send");
        let answer = within("an answer", tunnel.wire.response(false)).await;
        assert_eq!(answer.expect("an answer").status, 200);
        eventually("its result", || {
            let lines = world.ledger();
            let results = lines.iter().filter(|l| l["event"] == "result");
            (results.count() > round).then_some(())
        })
        .await;
    }
}

/// Large enough that buffering any part of it shows in memory.
const GIB: usize = 1024;

/// By how much the proxy's memory may grow while a body of any size passes, in KiB. Pieces that are
/// under way, and pages of the program that only a transfer touches, take some 9 MiB of it.
const RISE: u64 = 12 << 10;

/// Runs a transfer and returns the resident memory of the proxy before, and the most during it.
async fn watched(world: &World, transfer: impl Future<Output = ()>) -> (u64, u64) {
    let pid = world.pid();
    let before = own_kib(pid);
    let most = Arc::new(AtomicU64::new(before));
    let watch = tokio::spawn({
        let most = most.clone();
        async move {
            loop {
                most.fetch_max(own_kib(pid), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    transfer.await;
    watch.abort();
    (before, most.load(Ordering::SeqCst))
}

fn assert_flat(what: &str, (before, most): (u64, u64)) {
    println!("{what}: {before} KiB before, {most} KiB at most");
    assert!(
        most < before + RISE,
        "{before} KiB before, {most} KiB during {what}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_a_gibibyte_is_searched_in_constant_memory() {
    let (world, sink) = sink_world("1MiB").await;
    let filler = chunks(noise(1 << 20).as_bytes(), 16 << 10);
    let mut tunnel = world.tunnel().await;
    // One complete transfer first, so that one-time allocations are done.
    let warm_up = [
        head("application/json"),
        filler.repeat(8),
        chunked(b"<<pat>>", 99),
    ];
    assert_eq!(tunnel.roundtrip(warm_up.concat()).await.status, 200);
    sink.read.store(0, Ordering::SeqCst);
    let memory = watched(&world, async {
        let upload = async {
            tunnel.wire.send(head("application/json")).await?;
            for _ in 0..GIB {
                tunnel.wire.send(&filler).await?;
            }
            let last = chunked(b"\"<<pat>>\" and the end", 99);
            tunnel.wire.send(last).await
        };
        within_secs(300, "a large upload", upload)
            .await
            .expect("send");
        let answer = within("an answer", tunnel.wire.response(false)).await;
        assert_eq!(answer.expect("an answer").status, 200);
    })
    .await;
    assert!(sink.read.load(Ordering::SeqCst) > (GIB as u64) << 20);
    assert_eq!(sink.values.load(Ordering::SeqCst), 2, "one for each upload");
    assert_flat("an upload of 1 GiB", memory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_of_a_gibibyte_is_scrubbed_in_constant_memory() {
    let builder = World::builder().set("log.level", "info");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let piece = chunks(noise(1 << 20).as_bytes(), 16 << 10);
    stub.serve(move |request| {
        let pieces = if request.path() == "/warm-up" { 8 } else { GIB };
        let echo = chunked(format!("an echo: {VALUE}, the end.").as_bytes(), 99);
        let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let piece = piece.clone();
        async move {
            vec![
                Step::Send(begun),
                Step::Repeat(piece, pieces),
                Step::Send(echo),
            ]
        }
    });
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    let mut tunnel = world.tunnel().await;
    let mut download = async |path: &str| {
        let ask = request("GET", path, &["X-Api-Key: <<pat>>"], "");
        tunnel.wire.send(ask).await.expect("send");
        let (mut read, mut tail) = (0, Vec::new());
        let mut space = vec![0; 64 << 10];
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let n = tunnel.wire.io.read(&mut space).await.expect("read");
            assert!(n > 0, "the answer was cut off after {read} bytes");
            read += n;
            tail.extend_from_slice(&space[..n]);
            tail.drain(..tail.len().saturating_sub(200));
        }
        (read, String::from_utf8_lossy(&tail).into_owned())
    };
    download("/warm-up").await;
    let memory = watched(&world, async {
        let (read, tail) = within_secs(300, "a large download", download("/x")).await;
        assert!(read > GIB << 20);
        assert!(tail.contains("an echo: <<pat>>, the end."), "{tail}");
    })
    .await;
    assert_flat("a download of 1 GiB", memory);
}

/// Sends a streamed upload to an upstream that begins its answer, with such a header, before the
/// upload ends, and that echoes the value once it is used. Returns everything that the client
/// received.
async fn echoed_during_the_upload(value: &str, header: &str) -> String {
    let builder = World::builder()
        .set("body.buffer", "1KiB")
        .set("body.spool", "0B");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save("late", value, EVERYWHERE).await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let begun =
        format!("HTTP/1.1 200 OK\r\n{header}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst.\r\n");
    let echo = format!("an echo: {value}.");
    stub.at_head(Some(vec![
        Step::Send(begun.into_bytes()),
        Step::Hold(gate.clone()),
        Step::Send(chunked(echo.as_bytes(), 99)),
        Step::Hang,
    ]));
    let mut tunnel = world.tunnel().await;
    let first = [head("text/plain"), chunks(noise(5000).as_bytes(), 4096)].concat();
    tunnel.wire.send(&first).await.expect("send");
    let mut got = Vec::new();
    within("the answer to begin", async {
        // A refusal is acceptable too.
        while !got.ends_with(b"first.\r\n") && !got.ends_with(b"}") {
            assert!(tunnel.wire.io.read_buf(&mut got).await.expect("read") > 0);
        }
    })
    .await;
    if got.ends_with(b"first.\r\n") {
        let last = chunked(b"<<late>>", 99);
        tunnel.wire.send(last).await.expect("send");
        world
            .ledger_line("a use line, or a refusal", |line| {
                line["event"] == "use" || line["event"] == "denied"
            })
            .await;
        gate.notify_one();
        within("the echo", async {
            while !got.ends_with(b"\r\n0\r\n\r\n")
                && tunnel.wire.io.read_buf(&mut got).await.is_ok_and(|n| n > 0)
            {}
        })
        .await;
    }
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn a_value_used_after_the_answer_has_begun_is_scrubbed_too() {
    for value in ["q7#Zx9!", "a-value-that-is-long-enough"] {
        let got = echoed_during_the_upload(value, "Content-Type: text/plain").await;
        assert!(!got.contains(value), "{got}");
        assert!(got.contains("first"), "{got}");
    }
}

#[tokio::test]
async fn a_value_used_after_an_answer_that_cannot_be_opened_has_begun_does_not_come_back() {
    let value = "a-value-that-is-long-enough";
    let got = echoed_during_the_upload(value, "Content-Encoding: dcb").await;
    assert!(!got.contains(value), "{got}");
}

/// Clients that send everything before they read receive the refusal too.
#[tokio::test]
async fn a_refusal_early_in_a_large_upload_reaches_a_client_that_reads_late() {
    let (world, sink) = sink_world("1KiB").await;
    let filler = noise(8 << 20);
    for _ in 0..5 {
        let text = format!("{}<<nope>>{filler}", &filler[..5000]);
        let raw = [head("text/plain"), chunked(text.as_bytes(), 16 << 10)].concat();
        let answer = world.tunnel().await.roundtrip(raw).await;
        crate::client::assert_refused(&answer, "credential_not_found");
    }
    assert!(sink.read.load(Ordering::SeqCst) < 1 << 20);
}
