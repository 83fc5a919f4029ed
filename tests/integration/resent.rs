//! A connection that was kept and closes at the moment of its next use: what may be sent twice is
//! sent again once, and nothing else is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::{assert_refused, basic, request};
use crate::http2::client::{Client, Request};
use crate::http2::upstream::Reply;
use crate::pki::Flaw;
use crate::upstream::{Stub, ok};
use crate::wire::Wire;
use crate::within;
use crate::world::{HOST, World};

const TRIES: usize = 25;

type Seen = Arc<Mutex<Vec<String>>>;

/// An upstream each of whose connections answers one request, and is closed once the first byte of
/// the second is there: the rest is not read, so that the kernel sends a reset.
async fn closing(tls: Option<TlsAcceptor>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("an address");
    let seen = Seen::default();
    let record = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tls, record) = (tls.clone(), record.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve_one(socket, &record).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(socket).await {
                            serve_one(stream, &record).await;
                        }
                    }
                }
            });
        }
    });
    (addr, seen)
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(io: S, seen: &Seen) {
    let mut wire = Wire::new(io);
    let Ok(request) = wire.request_head().await else {
        return;
    };
    let _ = wire.body(&request.framing).await;
    let line = format!("{} {}", request.method, request.target);
    seen.lock().unwrap().push(line);
    let answer = match request.method.as_str() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec(),
        _ => ok("ok"),
    };
    if wire.send(answer).await.is_ok() {
        let _ = wire.io.read_u8().await;
    }
}

/// Asks with each method in turn.
async fn ask_all<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    to: impl Fn(&str, &str) -> String,
    seen: &Seen,
) {
    let mut ask = async |method: &str, body: &str| {
        wire.send(to(method, body)).await.expect("send");
        within("an answer", wire.response(method == "HEAD"))
            .await
            .expect("an answer")
    };
    ask("GET", "").await;
    for n in 0..TRIES {
        for (method, body) in [
            ("GET", ""),
            ("HEAD", ""),
            ("OPTIONS", ""),
            ("PUT", "a body"),
            ("DELETE", ""),
            ("PROPFIND", "a body"),
            ("QUERY", "a body"),
        ] {
            let answer = ask(method, body).await;
            assert_eq!(answer.status, 200, "{method} {n}: {}", answer.text());
        }
    }
    let before = seen.lock().unwrap().len();
    for _ in 0..TRIES {
        assert_refused(&ask("POST", "a body").await, "upstream_protocol_error");
        // There is a connection to be used again.
        assert_eq!(ask("GET", "").await.status, 200);
    }
    let seen = seen.lock().unwrap();
    let posts = seen[before..]
        .iter()
        .filter(|line| line.starts_with("POST"));
    assert_eq!(posts.count(), 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harmless_request_is_sent_again_inside_tls() {
    let builder = World::builder();
    let tls = builder.pki().server_config(&[HOST], Flaw::None);
    let (addr, seen) = closing(Some(TlsAcceptor::from(tls))).await;
    let world = builder.route(&format!("{HOST}:443"), addr).start().await;
    let mut wire = world.tunnel().await.wire;
    let to = |method: &str, body: &str| request(method, "/x", &["Content-Type: text/plain"], body);
    ask_all(&mut wire, to, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harmless_request_is_sent_again_without_tls() {
    let (addr, seen) = closing(None).await;
    let world = World::builder()
        .route(&format!("{HOST}:80"), addr)
        .start()
        .await;
    let mut wire = world.dial().await;
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let to = |method: &str, body: &str| {
        let raw = request(method, "/x", &[&who, "Content-Type: text/plain"], body);
        raw.replacen(" /x", &format!(" http://{HOST}/x"), 1)
    };
    ask_all(&mut wire, to, &seen).await;
}

/// A shared connection of HTTP/2 that ends without a word.
#[tokio::test]
async fn a_harmless_request_is_sent_again_over_http2() {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    // Each connection answers its first request and ends at its second.
    stub.serve_http2(|id, _| async move {
        let answer = crate::http2::upstream::parsed(&ok("ok")).await;
        match id {
            1 => vec![Reply::Answer(answer, Vec::new())],
            _ => vec![Reply::Close],
        }
    });
    let mut client = Client::open(&world).await;
    let get = Request::new("GET", "/x");
    let post = Request::new("POST", "/x").data("a body");
    for _ in 0..TRIES {
        assert_eq!(client.response(&get).await.status, 200);
    }
    stub.take();
    assert_refused(&client.response(&post).await, "upstream_protocol_error");
    assert_eq!(stub.take().len(), 1);
    // With nothing that was there before, one failure is the answer.
    stub.serve_http2(|_, _| async { vec![Reply::Close] });
    assert_refused(&client.response(&get).await, "upstream_protocol_error");
    assert_eq!(stub.take().len(), 1);
}
