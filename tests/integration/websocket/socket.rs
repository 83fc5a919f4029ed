//! Both ends of a WebSocket, written by hand: an upstream that accepts connections, and frames as
//! bytes.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::request;
use crate::pki::{Flaw, Pki};
use crate::wire::{Framing, Request, Response, Wire};
use crate::within;
use crate::world::World;

/// The key of RFC 6455's example, and the `Sec-WebSocket-Accept` for it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// FIN: the last frame of its message.
pub const FIN: u8 = 0x80;

/// Any transport.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One end of a connection.
pub struct Socket {
    pub wire: Wire<Box<dyn Io>>,
    /// Whether this end masks what it sends.
    masks: bool,
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN and opcode.
    pub first: u8,
    pub mask: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

impl Socket {
    pub fn client(io: impl Io + 'static) -> Self {
        Self {
            wire: Wire::new(Box::new(io)),
            masks: true,
        }
    }

    /// Sends one frame.
    pub async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let bytes = frame(first, payload.as_ref(), self.masks);
        within("sending a frame", self.wire.send(bytes))
            .await
            .expect("send a frame");
    }

    /// Sends a text message in one frame.
    pub async fn text(&mut self, text: &str) {
        self.send(FIN | TEXT, text).await;
    }

    /// Sends a close frame.
    pub async fn close(&mut self, code: u16, reason: &str) {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.send(FIN | CLOSE, payload).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", self.read()).await
    }

    async fn read(&mut self) -> Option<Frame> {
        let head = self.exact(2).await?;
        let len = match head[1] & 0x7f {
            126 => big_endian(&self.exact(2).await?),
            127 => big_endian(&self.exact(8).await?),
            len => usize::from(len),
        };
        let mask = match head[1] & 0x80 {
            0 => None,
            _ => Some(self.exact(4).await?.try_into().expect("four bytes")),
        };
        let mut payload = self.exact(len).await?;
        if let Some(mask) = mask {
            apply(&mut payload, mask);
        }
        Some(Frame {
            first: head[0],
            mask,
            payload,
        })
    }

    async fn exact(&mut self, len: usize) -> Option<Vec<u8>> {
        self.wire.body(&Framing::Length(len as u64)).await.ok()
    }

    /// The opcode and the payload of the next message, assembled.
    ///
    /// # Panics
    /// When another frame arrives.
    pub async fn message(&mut self) -> (u8, Vec<u8>) {
        let mut first = self.expect().await;
        assert!(matches!(first.first & 0x0f, TEXT | BINARY), "{first:?}");
        let opcode = first.first & 0x0f;
        let mut ended = first.first & FIN != 0;
        while !ended {
            let next = self.expect().await;
            assert_eq!(next.first & 0x0f, CONTINUATION, "{next:?}");
            ended = next.first & FIN != 0;
            first.payload.extend(next.payload);
        }
        (opcode, first.payload)
    }

    /// The next message as text.
    pub async fn next_text(&mut self) -> String {
        let (opcode, payload) = self.message().await;
        assert_eq!(opcode, TEXT);
        String::from_utf8(payload).expect("UTF-8")
    }

    /// The next frame, which has to arrive.
    pub async fn expect(&mut self) -> Frame {
        self.next().await.expect("a frame, not the end")
    }

    /// The code and reason of the close frame that has to arrive next.
    pub async fn closed(&mut self) -> (u16, String) {
        let frame = self.expect().await;
        assert_eq!(frame.first, FIN | CLOSE, "{frame:?}");
        let code = frame
            .payload
            .first_chunk()
            .map_or(0, |code| u16::from_be_bytes(*code));
        let reason = frame.payload.get(2..).unwrap_or_default();
        (code, String::from_utf8(reason.to_vec()).expect("UTF-8"))
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The bytes of a frame.
pub fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut out = head(first, payload.len() as u64, masked);
    let mut payload = payload.to_vec();
    if masked {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        out.extend(mask);
        apply(&mut payload, mask);
    }
    out.extend(payload);
    out
}

/// The header of a frame, without the mask.
pub fn head(first: u8, len: u64, masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut out = vec![first];
    match len {
        0..=125 => out.push(bit | len as u8),
        126..=0xffff => {
            out.push(bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(bit | 127);
            out.extend(len.to_be_bytes());
        }
    }
    out
}

impl Socket {
    /// Echoes every message and answers pings until the peer closes; returns the messages.
    pub async fn echo(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        let mut open = (0, Vec::new());
        loop {
            let frame = self.expect().await;
            match frame.first & 0x0f {
                PING => self.send(FIN | PONG, &frame.payload).await,
                PONG => {}
                CLOSE => {
                    self.send(FIN | CLOSE, &frame.payload).await;
                    return messages;
                }
                opcode => {
                    if opcode != CONTINUATION {
                        open.0 = opcode;
                    }
                    open.1.extend(frame.payload);
                    if frame.first & FIN != 0 {
                        let whole = std::mem::take(&mut open);
                        self.send(FIN | whole.0, &whole.1).await;
                        messages.push(whole);
                    }
                }
            }
        }
    }
}

/// An upstream that gives its connections to the test.
pub struct Upstream {
    pub addr: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Upstream {
    pub async fn tls(pki: &Pki, name: &str) -> Self {
        let config = pki.server_config(&[name], Flaw::None);
        Self::listen(Some(TlsAcceptor::from(config))).await
    }

    pub async fn plain() -> Self {
        Self::listen(None).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self {
            addr: listener.local_addr().expect("an address"),
            listener,
            tls,
        }
    }

    /// Takes the next connection and reads the request on it.
    pub async fn asked(&self) -> (Socket, Request) {
        within("a connection at the upstream", async {
            let (socket, _) = self.listener.accept().await.expect("accept");
            socket.set_nodelay(true).expect("nodelay");
            let io: Box<dyn Io> = match &self.tls {
                None => Box::new(socket),
                Some(tls) => Box::new(tls.accept(socket).await.expect("TLS")),
            };
            let mut wire = Wire::new(io);
            let request = wire.request_head().await.expect("a request");
            (Socket { wire, masks: false }, request)
        })
        .await
    }

    /// The same, and accepts the handshake.
    pub async fn accept(&self) -> (Socket, Request) {
        let (mut socket, request) = self.asked().await;
        let key = request.header("sec-websocket-key").expect("a key");
        let yes = switching("").replace(ACCEPT, &accept(&key));
        socket.wire.send(yes).await.expect("send the answer");
        (socket, request)
    }
}

/// RFC 6455 section 4.2.2.
fn accept(key: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// The valid answer to [`handshake`].
pub fn switching(extra: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n{extra}\r\n"
    )
}

/// A valid opening handshake.
pub fn handshake(target: &str, headers: &[&str]) -> String {
    let key = format!("Sec-WebSocket-Key: {KEY}");
    let own = [
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        &key,
    ];
    request("GET", target, &[&own, headers].concat(), "")
}

/// Sends a handshake on `client` while `upstream` accepts it.
pub async fn agree(
    client: &mut Socket,
    upstream: &Upstream,
    request: &str,
) -> (Socket, Request, Response) {
    client.wire.send(request).await.expect("send a handshake");
    let (server, request) = upstream.accept().await;
    let answer = within("the answer to a handshake", client.wire.response(false)).await;
    let answer = answer.expect("an answer to a handshake");
    assert_eq!(answer.status, 101, "{answer:#?}\n{}", answer.text());
    (server, request, answer)
}

/// A client inside a tunnel with TLS.
pub async fn tunnelled(world: &World) -> Socket {
    let tunnel = world.tunnel().await;
    Socket::client(tunnel.wire.into_io())
}

/// A connection to the proxy, without a tunnel.
pub async fn bare(world: &World) -> Socket {
    let socket = TcpStream::connect(world.proxy).await.expect("connect");
    socket.set_nodelay(true).expect("nodelay");
    Socket::client(socket)
}

/// A value in base64.
pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
