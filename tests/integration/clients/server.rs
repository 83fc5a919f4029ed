//! Servers of the programs' own kind: processes that say their port, and TLS in front of them.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::{Flaw, Pki};
use crate::within;

/// A server on loopback, without TLS. It is killed with this value.
pub struct Server {
    _process: Child,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts a server that says its port in a line: alone, or after `127.0.0.1:`.
    pub async fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: {command:?}"));
        let mut lines = BufReader::new(process.stdout.take().expect("stdout")).lines();
        let port = within("the port of a server", async {
            loop {
                let line = lines.next_line().await.expect("read");
                if let Some(port) = port(&line.expect("a server that goes on")) {
                    return port;
                }
            }
        });
        let addr = SocketAddr::from(([127, 0, 0, 1], port.await));
        // A server that nothing reads from stops when its pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            _process: process,
            addr,
        }
    }
}

fn port(line: &str) -> Option<u16> {
    let Some((_, after)) = line.split_once("127.0.0.1:") else {
        // Other lines may begin with a number too: a date, in a log.
        return line.trim().parse().ok();
    };
    let is_other = |c: char| !c.is_ascii_digit();
    let end = after.find(is_other).unwrap_or(after.len());
    after[..end].parse().ok()
}

/// TLS in front of a server, which speaks the first of these protocols that the client offers too.
pub struct Front {
    pub addr: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Front {
    pub async fn of(server: &Server, pki: &Pki, name: &str, protocols: &[&str]) -> Self {
        let mut config = (*pki.server_config(&[name], Flaw::None)).clone();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let (server, sent) = (server.addr, Arc::new(Mutex::new(Vec::new())));
        let record = sent.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, record) = (acceptor.clone(), record.clone());
                tokio::spawn(async move {
                    if let Ok(outside) = acceptor.accept(socket).await {
                        relay(outside, server, record).await;
                    }
                });
            }
        });
        Self { addr, sent }
    }

    /// Every byte that was sent to the server.
    pub fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }
}

async fn relay(outside: TlsStream<TcpStream>, server: SocketAddr, record: Arc<Mutex<Vec<u8>>>) {
    let inside = TcpStream::connect(server).await.expect("the server");
    // Conversations in turn would wait for delayed acknowledgements.
    for socket in [outside.get_ref().0, &inside] {
        socket.set_nodelay(true).expect("nodelay");
    }
    let (mut from_proxy, mut to_proxy) = tokio::io::split(outside);
    let (mut from_server, mut to_server) = inside.into_split();
    let back = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_proxy).await;
        let _ = to_proxy.shutdown().await;
    };
    let forth = async {
        let mut piece = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from_proxy.read(&mut piece).await {
            record.lock().unwrap().extend_from_slice(&piece[..n]);
            if to_server.write_all(&piece[..n]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    tokio::join!(back, forth);
}
