//! An HTTP/2 client in a tunnel through the proxy.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::frames::{self, INITIAL_WINDOW_SIZE, WIDE};
use super::peer::{Message, Peer};
use crate::client::{Wanted, trusting};
use crate::wire::{Framing, Headers, Response};
use crate::within;
use crate::world::{HOST, World};

/// A client with a connection of its own.
pub struct Client {
    pub peer: Peer<TlsStream<TcpStream>>,
    next: u32,
}

/// A request to send.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Pseudo-header fields first.
    pub headers: Headers,
    /// Payloads of DATA frames.
    pub body: Vec<Vec<u8>>,
    pub trailers: Headers,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        let mut request = Self::default();
        for (name, value) in [
            (":method", method),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", path),
        ] {
            request.headers.push((name.to_owned(), value.into()));
        }
        request
    }

    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces the value of a pseudo-header field.
    pub fn pseudo(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let field = self.headers.iter_mut().find(|(n, _)| n == name);
        field.expect("a pseudo-header field").1 = value.as_ref().to_vec();
        self
    }

    pub fn data(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body.push(bytes.into());
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.into()));
        self
    }
}

/// A TLS configuration that trusts the world's proxy and offers these protocols.
pub async fn offering(world: &World, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let config = trusting(&world.ca_pem().await);
    let mut config = rustls::ClientConfig::clone(&config);
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

impl Client {
    /// A connection in a tunnel to [`HOST`].
    pub async fn open(world: &World) -> Self {
        let opened = Self::try_open(world, Wanted::new(world)).await;
        opened.unwrap_or_else(|answer| panic!("no tunnel: {answer:?}"))
    }

    /// A connection in the given tunnel, or the answer that refused its CONNECT.
    pub async fn try_open(world: &World, mut wanted: Wanted) -> Result<Self, Response> {
        wanted.tls = Some(offering(world, &["h2"]).await);
        let tunnel = wanted.open(world).await?;
        let io = tunnel.wire.into_io();
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut peer = Peer::new(io);
        let settings = frames::settings(&[(frames::ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, WIDE)]);
        let wide = frames::window_update(0, WIDE - 65_535);
        let hello = [frames::PREFACE, &settings, &wide].concat();
        within("the preface", peer.send(hello)).await.expect("send");
        // Until the proxy has enlarged its windows, a body larger than the initial ones is an
        // error.
        within("the proxy's windows", async {
            while peer.window == 65_535 {
                peer.advance().await.expect("a frame");
            }
        })
        .await;
        Ok(Self { peer, next: 1 })
    }

    /// Sends a request unchanged, and returns its stream.
    pub async fn start(&mut self, request: &Request) -> u32 {
        let id = self.next;
        self.next += 2;
        let has_body = !request.body.is_empty();
        let has_trailers = !request.trailers.is_empty();
        let mut bytes = frames::section(id, !has_body && !has_trailers, &request.headers);
        for (at, part) in request.body.iter().enumerate() {
            let is_last = at + 1 == request.body.len() && !has_trailers;
            bytes.extend(frames::data(id, is_last, part, frames::MAX_PAYLOAD));
        }
        if has_trailers {
            bytes.extend(frames::section(id, true, &request.trailers));
        }
        // A refusal may come, and the connection close, before a large request is written.
        let _ = within("sending a request", self.peer.io.write_all(&bytes)).await;
        let _ = self.peer.io.flush().await;
        id
    }

    /// Sends the head of a request whose body is to follow, and returns its stream.
    pub async fn begin(&mut self, request: &Request) -> u32 {
        let id = self.next;
        self.next += 2;
        let head = frames::section(id, false, &request.headers);
        within("sending a head", self.peer.send(head))
            .await
            .expect("send");
        id
    }

    /// Reads until the stream ends, is reset, or the connection ends; returns its message.
    pub async fn finish(&mut self, id: u32) -> Message {
        let reading = async {
            loop {
                if let Some(message) = self.peer.streams.get(&id)
                    && (message.ended || message.reset.is_some())
                {
                    return message.clone();
                }
                if self.peer.advance().await.is_err() {
                    return self.peer.streams.get(&id).cloned().unwrap_or_default();
                }
            }
        };
        within("an answer over HTTP/2", reading).await
    }

    pub async fn exchange(&mut self, request: &Request) -> Message {
        let id = self.start(request).await;
        self.finish(id).await
    }

    /// Sends a request and returns its complete answer.
    pub async fn response(&mut self, request: &Request) -> Response {
        let message = self.exchange(request).await;
        assert!(message.ended, "not answered in full: {message:?}");
        response(&message)
    }
}

/// Converts a message to an answer.
pub fn response(message: &Message) -> Response {
    let status = message.field(":status").unwrap_or_default();
    let fields = message.headers.iter().filter(|(n, _)| !n.starts_with(':'));
    Response {
        status: status.parse().unwrap_or_default(),
        version: "HTTP/2".to_owned(),
        headers: fields.cloned().collect(),
        framing: Framing::None,
        body: message.body.clone(),
    }
}
