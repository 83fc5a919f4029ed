//! gRPC with its real client and server: metadata, streaming both ways, trailers.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::pki::{Flaw, Pki};
use crate::within;
use crate::world::{HOST, SLUG, World};

/// A value that gRPC's metadata can carry, long enough to be scrubbed.
const VALUE: &str = "grpc-s3cr3t-9f8e7d6c";

async fn server() -> (Child, SocketAddr) {
    let mut server = Command::new(installed("venv/bin/python"))
        .arg(program("grpc_server.py"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("start the gRPC server");
    let mut lines = BufReader::new(server.stdout.take().expect("stdout")).lines();
    let port = within("the gRPC server", lines.next_line()).await;
    let port = port
        .expect("read")
        .expect("a port")
        .parse()
        .expect("a port");
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Terminates TLS in front of the server, and records every byte.
async fn in_front_of(server: SocketAddr, pki: &Pki) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let mut config = (*pki.server_config(&[HOST], Flaw::None)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("an address");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, copy) = (acceptor.clone(), copy.clone());
            tokio::spawn(async move {
                let outside = acceptor.accept(socket).await.expect("TLS");
                let inside = TcpStream::connect(server).await.expect("the server");
                let (mut from_proxy, mut to_proxy) = tokio::io::split(outside);
                let (mut from_server, mut to_server) = inside.into_split();
                let back = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_proxy).await;
                });
                let mut piece = vec![0; 16 << 10];
                while let Ok(n @ 1..) = from_proxy.read(&mut piece).await {
                    copy.lock().unwrap().extend_from_slice(&piece[..n]);
                    if to_server.write_all(&piece[..n]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    (addr, seen)
}

#[tokio::test]
async fn unary_and_streaming_calls_with_a_placeholder_in_their_metadata() {
    needs!(Need::Python);
    let (_server, plain) = server().await;
    let builder = World::builder();
    let (addr, seen) = in_front_of(plain, builder.pki()).await;
    let world = builder.route(&format!("{HOST}:443"), addr).start().await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let (python, client) = (installed("venv/bin/python"), program("grpc_client.py"));
    let args = [
        "run",
        "--action",
        "grpc",
        "--",
        text(&python),
        &client,
        VALUE,
    ];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let uses = world.ledger().into_iter().filter(|l| l["event"] == "use");
    let uses: Vec<_> = uses.map(|l| l["path"].clone()).collect();
    assert_eq!(uses, ["/echo.Echo/Unary", "/echo.Echo/Stream"]);
    // The call with an unknown slug does not reach the server, not even with its placeholder.
    let seen = seen.lock().unwrap();
    assert!(memchr::memmem::find(&seen, b"hello").is_some());
    assert!(memchr::memmem::find(&seen, b"no-such-key").is_none());
}
