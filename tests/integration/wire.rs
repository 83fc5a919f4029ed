//! HTTP/1.1 read strictly and independently of the library under test.
//!
//! The proxy is built on hyper, and a test that parsed with hyper would share its faults. This
//! reader accepts CRLF only, keeps every header in order with its exact bytes, and tells a complete
//! body from a truncated one.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Header fields in order, names as sent.
pub type Headers = Vec<(String, Vec<u8>)>;

/// How a message's body was delimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A request as an upstream received it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// Which of the stub's connections it came on, from 1.
    pub connection: usize,
}

/// An answer as a client received it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub version: String,
    pub headers: Headers,
    pub framing: Framing,
    pub body: Vec<u8>,
}

/// Why a message could not be read.
#[derive(Debug)]
pub enum WireError {
    /// The peer ended the connection before the first byte of a message.
    Closed,
    /// The peer ended the connection inside a message; holds the body so far.
    Truncated { why: String, body: Vec<u8> },
    /// The bytes are not HTTP.
    Malformed(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "closed before a message began"),
            Self::Truncated { why, body } => {
                write!(f, "cut off ({why}) after {} body bytes", body.len())
            }
            Self::Malformed(why) => write!(f, "not HTTP: {why}"),
        }
    }
}

/// All values of one header, case-insensitively.
pub fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a [u8]> {
    headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_slice())
        .collect()
}

fn text_value(headers: &Headers, name: &str) -> Option<String> {
    values(headers, name)
        .first()
        .map(|v| String::from_utf8_lossy(v).into_owned())
}

impl Request {
    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        text_value(&self.headers, name)
    }

    /// The target up to the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The part of the target after the first `?`.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, q)| q)
    }
}

impl Response {
    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        text_value(&self.headers, name)
    }

    /// The proxy's error code, if this is the proxy's own answer.
    pub fn egret_error(&self) -> Option<String> {
        self.header("egret-error")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!("{e}: {:?}", String::from_utf8_lossy(&self.body));
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One side of an HTTP/1.1 connection.
pub struct Wire<S> {
    pub io: S,
    buffer: Vec<u8>,
    /// Everything ever read, for leak checks.
    pub received: Vec<u8>,
}

/// The longest line, and the largest head, that a peer may send.
const MAX_HEAD: usize = 4 << 20;

impl<S> Wire<S> {
    pub fn new(io: S) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Bytes read from the peer that belong to no message yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// The transport, provided nothing unread would be lost with the buffer.
    pub fn into_io(self) -> S {
        assert!(
            self.buffer.is_empty(),
            "bytes after the head: {:?}",
            self.buffer
        );
        self.io
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await?;
        self.io.flush().await
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads one answer. `to_head` says that it answers a HEAD request. Informational answers (1xx
    /// other than 101) are skipped.
    pub async fn response(&mut self, to_head: bool) -> Result<Response, WireError> {
        loop {
            let (start, headers) = self.head().await?;
            let mut parts = start.splitn(3, ' ');
            let version = parts.next().unwrap_or_default().to_owned();
            if !version.starts_with("HTTP/1.") {
                return Err(WireError::Malformed(format!("status line {start:?}")));
            }
            let status: u16 = parts
                .next()
                .and_then(|s| s.parse().ok())
                .ok_or_else(|| WireError::Malformed(format!("status line {start:?}")))?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let framing = if to_head || status == 101 || status == 204 || status == 304 {
                Framing::None
            } else {
                framing(&headers, Framing::UntilClose)?
            };
            let body = self.body(&framing).await?;
            return Ok(Response {
                status,
                version,
                headers,
                framing,
                body,
            });
        }
    }

    /// Reads the answer to a CONNECT: a 2xx has no body, whatever its headers say.
    pub async fn connect_response(&mut self) -> Result<Response, WireError> {
        let (start, headers) = self.head().await?;
        let status: u16 = start
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| WireError::Malformed(format!("status line {start:?}")))?;
        let framing = match status {
            200..=299 => Framing::None,
            _ => framing(&headers, Framing::UntilClose)?,
        };
        let body = self.body(&framing).await?;
        Ok(Response {
            status,
            version: start.split(' ').next().unwrap_or_default().to_owned(),
            headers,
            framing,
            body,
        })
    }

    /// Reads a request's head. The body is left on the wire.
    pub async fn request_head(&mut self) -> Result<Request, WireError> {
        let (start, headers) = self.head().await?;
        let parts: Vec<&str> = start.split(' ').collect();
        let &[method, target, version] = parts.as_slice() else {
            return Err(WireError::Malformed(format!("request line {start:?}")));
        };
        if version != "HTTP/1.1" && version != "HTTP/1.0" {
            return Err(WireError::Malformed(format!("version {version:?}")));
        }
        let framing = framing(&headers, Framing::None)?;
        Ok(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers,
            framing,
            body: Vec::new(),
            connection: 0,
        })
    }

    pub async fn head(&mut self) -> Result<(String, Headers), WireError> {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(WireError::Malformed("endless head".into()));
            }
            self.fill(&[]).await?;
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        parse_head(&head[..end])
    }

    /// Reads a body.
    pub async fn body(&mut self, framing: &Framing) -> Result<Vec<u8>, WireError> {
        let mut body = Vec::new();
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                let length = usize::try_from(*length).expect("a length that fits memory");
                while self.buffer.len() < length {
                    let so_far = self.buffer.clone();
                    self.fill(&so_far).await?;
                }
                body = self.buffer.drain(..length).collect();
            }
            Framing::Chunked => loop {
                let line = self.line(&body).await?;
                let digits = line.split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(digits, 16)
                    .map_err(|_| WireError::Malformed(format!("chunk size {line:?}")))?;
                if size == 0 {
                    while !self.line(&body).await?.is_empty() {}
                    break;
                }
                while self.buffer.len() < size + 2 {
                    self.fill(&body).await?;
                }
                body.extend(self.buffer.drain(..size));
                if self.buffer.drain(..2).as_slice() != b"\r\n" {
                    return Err(WireError::Malformed("no CRLF after a chunk".into()));
                }
            },
            Framing::UntilClose => loop {
                match self.read_more().await {
                    Ok(0) => {
                        body = std::mem::take(&mut self.buffer);
                        break;
                    }
                    Ok(_) => {}
                    Err(e) => {
                        return Err(WireError::Truncated {
                            why: e.to_string(),
                            body: std::mem::take(&mut self.buffer),
                        });
                    }
                }
            },
        }
        Ok(body)
    }

    async fn line(&mut self, body: &[u8]) -> Result<String, WireError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return ascii(&line[..at]);
            }
            self.fill(body).await?;
        }
    }

    /// Reads more, or fails with the reason; `body` is the message's body so far.
    async fn fill(&mut self, body: &[u8]) -> Result<(), WireError> {
        let why = match self.read_more().await {
            Ok(0) => "end of stream".to_owned(),
            Ok(_) => return Ok(()),
            Err(e) => e.to_string(),
        };
        if self.buffer.is_empty() && body.is_empty() {
            Err(WireError::Closed)
        } else {
            Err(WireError::Truncated {
                why,
                body: body.to_vec(),
            })
        }
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        let before = self.buffer.len();
        self.buffer.reserve(16 * 1024);
        let n = self.io.read_buf(&mut self.buffer).await?;
        self.received.extend_from_slice(&self.buffer[before..]);
        Ok(n)
    }

    /// Reads until the peer ends the connection, cleanly or not; the bytes that came.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        while matches!(self.read_more().await, Ok(n) if n > 0) {}
        std::mem::take(&mut self.buffer)
    }
}

fn ascii(bytes: &[u8]) -> Result<String, WireError> {
    if bytes
        .iter()
        .all(|b| (0x20..0x7f).contains(b) || *b == b'\t')
    {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    } else {
        Err(WireError::Malformed(format!(
            "{:?}",
            String::from_utf8_lossy(bytes)
        )))
    }
}

fn parse_head(head: &[u8]) -> Result<(String, Headers), WireError> {
    let mut lines = split_crlf(head).into_iter();
    let start = ascii(lines.next().unwrap_or_default())?;
    let mut headers = Vec::new();
    for line in lines {
        let bad =
            |why: &str| WireError::Malformed(format!("{why}: {:?}", String::from_utf8_lossy(line)));
        let colon = line
            .iter()
            .position(|b| *b == b':')
            .ok_or_else(|| bad("no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(bad("header name"));
        }
        if value
            .iter()
            .any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        {
            return Err(bad("control character in a header value"));
        }
        // Removes only the one optional space after the colon, so that other spaces of the value
        // are seen.
        let value = value.strip_prefix(b" ").unwrap_or(value);
        headers.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    Ok((start, headers))
}

fn split_crlf(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
        parts.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    parts.push(rest);
    parts
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// RFC 9112 section 6.3, refusing everything on which two readers could disagree.
fn framing(headers: &Headers, otherwise: Framing) -> Result<Framing, WireError> {
    let codings = values(headers, "transfer-encoding");
    let lengths = values(headers, "content-length");
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(otherwise),
        ([], [length]) => std::str::from_utf8(length)
            .ok()
            .and_then(|l| l.parse().ok())
            .map(Framing::Length)
            .ok_or_else(|| WireError::Malformed("content-length".into())),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err(WireError::Malformed(format!(
            "ambiguous framing: {codings:?} and {lengths:?}"
        ))),
    }
}
