//! What requests are for: an HTTP server that checks what reaches it.
//!
//! `GET /auth` answers 200 only to the real value; `POST /sink?expect=N` counts how often the value
//! stands in the body; `/bytes/N` sends N bytes; `/sse?events=N&ms=M` sends events that carry the
//! time at which they were written; `/echo` answers the request's body and the value with it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem::Finder;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::pki::{self, Authority};
use crate::target::{HOST, Ports, SECRET};

/// What `/auth` says when it has seen the value.
pub const PROOF: &[u8] = br#""ok":true"#;
const OK: &[u8] = br#"{"ok":true,"items":[1,2,3,4,5],"digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;

#[derive(Debug)]
struct OneLeaf(Arc<CertifiedKey>);

impl ResolvesServerCert for OneLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Serves until it is killed.
pub fn run(directory: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(directory))
}

async fn serve(directory: &Path) -> Result<()> {
    let leaf = Authority::load(directory, "origin-ca")?.leaf(&[HOST, &format!("*.{HOST}")])?;
    let acceptor = TlsAcceptor::from(Arc::new(pki::server_config(Arc::new(OneLeaf(leaf)))?));
    let tls = crate::target::listen()?;
    let plain = crate::target::listen()?;
    let ports = Ports {
        tls: tls.local_addr()?.port(),
        plain: plain.local_addr()?.port(),
    };
    ports.write(directory)?;
    let text = Arc::new(text());
    loop {
        let (stream, acceptor) = tokio::select! {
            accepted = tls.accept() => (accepted, Some(acceptor.clone())),
            accepted = plain.accept() => (accepted, None),
        };
        let Ok((stream, _)) = stream else { continue };
        let text = Arc::clone(&text);
        tokio::spawn(async move {
            // A client may end its connection as it likes.
            let _ = connection(stream, acceptor, text).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    text: Arc<Bytes>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return http1(stream, text).await;
    };
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return http1(stream, text).await;
    }
    let service = service_fn(move |request| answer(request, Arc::clone(&text)));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1_000)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin, text: Arc<Bytes>) -> Result<()> {
    let service = service_fn(move |request| answer(request, Arc::clone(&text)));
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    text: Arc<Bytes>,
) -> Result<Response<Reply>, hyper::Error> {
    let number = |key: &str| -> Option<u64> {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(k, _)| *k == key)
            .and_then(|(_, v)| v.parse().ok())
    };
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/auth" => {
            let sent = request.headers().get("authorization");
            let expected = [b"Bearer ", SECRET.as_bytes()].concat();
            if sent.is_some_and(|value| value.as_bytes() == expected) {
                json(StatusCode::OK, Bytes::from_static(OK))
            } else {
                json(
                    StatusCode::UNAUTHORIZED,
                    Bytes::from_static(br#"{"ok":false}"#),
                )
            }
        }
        "/open" => json(StatusCode::OK, Bytes::from_static(OK)),
        "/sink" => {
            let expected = number("expect");
            let (bytes, found) = count(request.into_body()).await?;
            let ok = expected.is_none_or(|expected| expected == found);
            let body = format!(r#"{{"ok":{ok},"bytes":{bytes},"found":{found}}}"#);
            json(StatusCode::OK, body.into())
        }
        "/echo" => {
            let body = format!(r#"{{"ok":true,"you_sent":"{SECRET}"}}"#);
            let mut reply = json(StatusCode::OK, body.into());
            reply
                .headers_mut()
                .insert("x-echo", SECRET.parse().expect("a header value"));
            reply
        }
        "/sse" => {
            let every = Duration::from_millis(number("ms").unwrap_or(10).max(1));
            let events = Reply::Events {
                left: number("events").unwrap_or(10),
                timer: Box::pin(tokio::time::interval(every)),
            };
            typed("text/event-stream", events)
        }
        path => match path.strip_prefix("/bytes/").and_then(|n| n.parse().ok()) {
            Some(left) => typed("text/plain", Reply::Text { left, text }),
            None => json(
                StatusCode::NOT_FOUND,
                Bytes::from_static(br#"{"ok":false}"#),
            ),
        },
    })
}

fn json(status: StatusCode, body: Bytes) -> Response<Reply> {
    let mut response = typed("application/json", Reply::Full(Some(body)));
    *response.status_mut() = status;
    response
}

fn typed(content_type: &'static str, body: Reply) -> Response<Reply> {
    let value = http::HeaderValue::from_static(content_type);
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", value);
    response
}

/// Bytes of a body, and how often the value stands in it, across frame boundaries too.
async fn count(mut body: Incoming) -> Result<(u64, u64), hyper::Error> {
    let finder = Finder::new(SECRET);
    let overlap = SECRET.len() - 1;
    let (mut bytes, mut found) = (0, 0);
    let mut seam: Vec<u8> = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        bytes += data.len() as u64;
        seam.extend_from_slice(&data[..data.len().min(overlap)]);
        found += (finder.find_iter(&seam).count() + finder.find_iter(&data).count()) as u64;
        if data.len() >= overlap {
            seam.clear();
            seam.extend_from_slice(&data[data.len() - overlap..]);
        } else {
            seam.drain(..seam.len().saturating_sub(overlap));
        }
    }
    Ok((bytes, found))
}

/// 64 KiB that look like prose with some markup, so that a scrubber finds something to consider.
fn text() -> Bytes {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"abcdefghijklmnopqrstuvwxyz <>{}\n"[(state >> 33) as usize % 32]
    };
    (0..65_536).map(letter).collect::<Vec<u8>>().into()
}

enum Reply {
    Full(Option<Bytes>),
    Text {
        left: u64,
        text: Arc<Bytes>,
    },
    Events {
        left: u64,
        timer: Pin<Box<tokio::time::Interval>>,
    },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = match &mut *self {
            Self::Full(bytes) => bytes.take(),
            Self::Text { left: 0, .. } | Self::Events { left: 0, .. } => None,
            Self::Text { left, text } => {
                let piece = (*left).min(text.len() as u64);
                *left -= piece;
                Some(text.slice(..piece as usize))
            }
            Self::Events { left, timer } => {
                ready!(timer.poll_tick(cx));
                *left -= 1;
                Some(Bytes::from(format!("data: {}\n\n", nanos())))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Text { left, .. } | Self::Events { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Text { left, .. } => SizeHint::with_exact(*left),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

/// The wall clock, which client and origin share.
pub fn nanos() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_nanos()
}
