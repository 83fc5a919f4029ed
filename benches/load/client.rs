//! The client side: connections through a proxy or straight to the origin, and HTTP/1.1 written
//! and read by hand, so that the client costs as little as it can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::pki;
use crate::target::{HOST, Route};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
/// Most of a body that is kept.
const KEPT: usize = 64 * 1024;

/// Something to speak HTTP over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// TLS towards one target.
#[derive(Clone)]
pub struct Connectors {
    /// HTTP/1.1, a full handshake each time.
    pub full: TlsConnector,
    /// HTTP/1.1, resuming where the server lets it.
    pub resuming: TlsConnector,
    /// HTTP/2.
    pub h2: TlsConnector,
}

impl Connectors {
    /// Trusting `roots` and nobody else.
    pub fn new(roots: Arc<rustls::RootCertStore>) -> Result<Self> {
        let connector = |alpn: &[u8], resumes: bool| -> Result<TlsConnector> {
            let mut config = ClientConfig::builder_with_provider(pki::provider())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            if !resumes {
                config.resumption = Resumption::disabled();
            }
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            full: connector(b"http/1.1", false)?,
            resuming: connector(b"http/1.1", true)?,
            h2: connector(b"h2", false)?,
        })
    }
}

/// An answer; at most [`KEPT`] bytes of its body.
pub struct Answer {
    pub status: u16,
    pub length: u64,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Holds the answer to being what was asked for.
    pub fn check(&self, proof: &[u8]) -> Result<()> {
        let is_right = self.status == 200 && memmem::find(&self.body, proof).is_some();
        let shown = || String::from_utf8_lossy(&self.body[..self.body.len().min(160)]).into_owned();
        ensure!(is_right, "status {}: {}", self.status, shown());
        Ok(())
    }
}

/// A connection that requests can be made on, one after the other.
pub struct Connection {
    io: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Connection {
    /// Over TLS to `host`, through the route's proxy if it has one.
    pub async fn tls(route: &Route, host: &str, connector: &TlsConnector) -> Result<Self> {
        let dialled = async {
            let tcp = tunnel(route, host, route.ports.tls).await?;
            let name = ServerName::try_from(host.to_owned())?;
            Ok::<_, anyhow::Error>(connector.connect(name, tcp).await?)
        };
        let stream = timeout(DEADLINE, dialled).await.context("connecting")??;
        Ok(Self::over(Box::new(stream)))
    }

    /// In the clear: to the proxy for absolute-form requests, else to the origin.
    pub async fn plain(route: &Route) -> Result<Self> {
        Ok(Self::over(Box::new(dial(route, route.ports.plain).await?)))
    }

    /// In the clear, to an address.
    pub async fn to(address: SocketAddr) -> Result<Self> {
        let dialled = timeout(DEADLINE, TcpStream::connect(address)).await;
        let stream = dialled.context("connecting")??;
        stream.set_nodelay(true)?;
        Ok(Self::over(Box::new(stream)))
    }

    fn over(io: Box<dyn Stream>) -> Self {
        let buffer = BytesMut::with_capacity(16 * 1024);
        Self { io, buffer }
    }

    /// Gives up what the buffer holds, for a connection that only waits.
    pub fn shrink(&mut self) {
        self.buffer = BytesMut::new();
    }

    /// Sends bytes as they are. Some may stay here until something is waited for.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(DEADLINE, self.io.write_all(bytes))
            .await
            .context("writing")??;
        Ok(())
    }

    /// Sends what lies in buffers on the way, before anything is waited for. TLS keeps what the socket
    /// would not take at once, also when that is because the task has had its turn: a few of many
    /// clients in one task would wait for the answer to a request that never left.
    async fn flush(&mut self) -> Result<()> {
        timeout(DEADLINE, self.io.flush())
            .await
            .context("writing")??;
        Ok(())
    }

    /// A whole request and its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        let exchanged = async {
            self.io.write_all(request).await?;
            self.answer().await
        };
        timeout(DEADLINE, exchanged)
            .await
            .context("waiting for the answer")?
    }

    /// Whatever comes next, as it comes.
    pub async fn receive(&mut self) -> Result<BytesMut> {
        self.flush().await?;
        if self.buffer.is_empty() {
            timeout(DEADLINE, self.fill()).await.context("reading")??;
        }
        Ok(self.buffer.split())
    }

    /// Reads an answer to its end.
    pub async fn answer(&mut self) -> Result<Answer> {
        self.flush().await?;
        let (mut answer, framing) = loop {
            if let Some(parsed) = parse(&mut self.buffer)? {
                break parsed;
            }
            self.fill().await?;
        };
        match framing {
            Framing::Length(length) => self.take(length, &mut answer).await?,
            Framing::Chunked => loop {
                let size = self.chunk_size().await?;
                self.take(size, &mut answer).await?;
                self.skip_line().await?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(answer)
    }

    async fn take(&mut self, length: u64, answer: &mut Answer) -> Result<()> {
        let mut left = length;
        answer.length += length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let here = (self.buffer.len() as u64).min(left) as usize;
            let room = KEPT.saturating_sub(answer.body.len()).min(here);
            answer.body.extend_from_slice(&self.buffer[..room]);
            self.buffer.advance(here);
            left -= here as u64;
        }
        Ok(())
    }

    async fn chunk_size(&mut self) -> Result<u64> {
        let end = self.line_end().await?;
        let line = std::str::from_utf8(&self.buffer[..end])?.trim();
        let size = u64::from_str_radix(line, 16).context("a chunk size")?;
        self.buffer.advance(end + 1);
        Ok(size)
    }

    async fn skip_line(&mut self) -> Result<()> {
        let end = self.line_end().await?;
        self.buffer.advance(end + 1);
        Ok(())
    }

    async fn line_end(&mut self) -> Result<usize> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                return Ok(end);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.buffer.capacity() - self.buffer.len() < 4 * 1024 {
            self.buffer.reserve(64 * 1024);
        }
        ensure!(
            self.io.read_buf(&mut self.buffer).await? > 0,
            "the connection was closed"
        );
        Ok(())
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

/// The head of an answer, if all of it is here.
fn parse(buffer: &mut BytesMut) -> Result<Option<(Answer, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(buffer)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let mut all = response.headers.iter();
        let found = all.find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let framing = match (header("transfer-encoding"), header("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.trim().parse()?),
        (None, None) => bail!("an answer without a length"),
    };
    let answer = Answer {
        status: response.code.unwrap_or(0),
        length: 0,
        head: buffer[..end].to_vec(),
        body: Vec::new(),
    };
    buffer.advance(end);
    Ok(Some((answer, framing)))
}

async fn dial(route: &Route, port: u16) -> Result<TcpStream> {
    let direct = ([127, 0, 0, 1], port).into();
    let stream = TcpStream::connect(route.proxy.unwrap_or(direct)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that ends at `host`, for TLS to be spoken over.
pub async fn tunnel(route: &Route, host: &str, port: u16) -> Result<TcpStream> {
    let mut stream = dial(route, port).await?;
    if route.proxy.is_none() {
        return Ok(stream);
    }
    let authorization = route.authorization();
    let connect =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
    stream.write_all(connect.as_bytes()).await?;
    let mut answer = BytesMut::with_capacity(1024);
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(
            stream.read_buf(&mut answer).await? > 0,
            "CONNECT was not answered"
        );
    }
    let status = answer.get(9..12).unwrap_or_default();
    ensure!(
        status == b"200",
        "CONNECT: {}",
        String::from_utf8_lossy(status)
    );
    Ok(stream)
}

/// An HTTP/2 connection in a tunnel. It ends when the last sender is dropped.
pub async fn http2(route: &Route) -> Result<SendRequest<Empty<Bytes>>> {
    let tcp = tunnel(route, HOST, route.ports.tls).await?;
    let name = ServerName::try_from(HOST)?;
    let stream = route.connectors.h2.connect(name, tcp).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    ensure!(agreed, "h2 is not spoken");
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(sender)
}
