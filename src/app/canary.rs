//! The built-in upstream of `egret health --deep`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::proxy::exchange::canary::{ARRIVED, ECHO, FIELD};

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Binds it, on loopback.
pub(super) async fn bind() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers one connection after the other: whoever connects to it past the proxy holds up nothing but
/// other checks, and not for long.
pub(super) async fn run(listener: Arc<TcpListener>) {
    loop {
        match listener.accept().await {
            // Whoever asked finds out by itself.
            Ok((stream, _)) => drop(timeout(PATIENCE, answer(stream)).await),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Says what arrived, as a digest, which nobody replaces, and as it is, which the proxy has to.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Ok(());
        }
        head.push(stream.read_u8().await?);
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    if request.parse(&head).is_err() {
        return Ok(());
    }
    let mut fields = request.headers.iter();
    let value = fields.find(|field| field.name.eq_ignore_ascii_case(FIELD));
    let value = value.map_or(&b""[..], |field| field.value);
    let digest = digest(&SHA256, value);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let mut body = format!("{ARRIVED}{}\n{ECHO}", digits.collect::<String>()).into_bytes();
    body.extend_from_slice(value);
    body.push(b'\n');
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
