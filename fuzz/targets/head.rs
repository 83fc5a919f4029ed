//! The guard in front of the HTTP/1 parser: in what it lets pass, other parsers find the same heads,
//! after bodies of either framing, and what comes out does not depend on the pieces. Input: cuts,
//! connection.

#![no_main]

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use egret_fuzz::pieces;
use egret_fuzz::proxy::inbound::head_check::{self, Framing};
use egret_fuzz::proxy::inbound::head_guard::HeadGuard;
use egret_fuzz::proxy::runtime::limits::HeadLimits;
use egret_fuzz::proxy::runtime::signal::HeadSignal;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

const MAX_HEADERS: usize = 20;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

fuzz_target!(|data: &[u8]| {
    let [cuts, stream @ ..] = data else { return };
    if let Some(end) = stream.windows(4).position(|w| w == b"\r\n\r\n") {
        compare(&stream[..end + 4]);
    }
    let _entered = RUNTIME.enter();
    let whole = guarded(&[stream]);
    walk(&whole);
    let cut = guarded(&pieces(stream, *cuts));
    assert_eq!(whole, cut, "{}", stream.escape_ascii());
});

/// One head, as the guard and as httparse read it.
fn compare(head: &[u8]) {
    let Ok(head_check::Checked { framing, .. }) = head_check::check(head, MAX_HEADERS) else {
        return;
    };
    let normal = head_check::normalise_request_line(BytesMut::from(head));
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    assert_eq!(
        request.parse(&normal),
        Ok(httparse::Status::Complete(normal.len()))
    );
    assert!(request.headers.iter().all(|h| !h.name.ends_with(' ')));
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|h| h.name.eq_ignore_ascii_case(name));
        named.map(|h| h.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(values("host").len() <= 1 && lengths.len() <= 1 && codings.len() <= 1);
    let expected = match (request.method, lengths.first(), codings.first()) {
        (Some("CONNECT"), ..) => Framing::Tunnel,
        (_, None, None) => Framing::Length(0),
        (_, Some(length), None) => {
            let text = std::str::from_utf8(length).expect("digits");
            Framing::Length(text.parse().expect("a number"))
        }
        (_, None, Some(_)) => Framing::Chunked,
        (_, Some(_), Some(_)) => panic!("both a length and a coding"),
    };
    assert_eq!(framing, expected);
}

/// What the guard lets pass.
#[derive(Debug, PartialEq, Eq)]
struct Guarded {
    /// All of it.
    passed: Vec<u8>,
    /// The heads in it; none for one that was refused.
    heads: Vec<Option<Vec<u8>>>,
}

fn guarded(pieces: &[&[u8]]) -> Guarded {
    let limits = HeadLimits {
        bytes: 2048,
        headers: MAX_HEADERS,
        head_timeout: Duration::from_secs(60),
        first_timeout: std::time::Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        serves_half_closed: true,
    };
    let signal = HeadSignal::default();
    let io = Pieces(pieces.iter().map(|piece| piece.to_vec()).collect());
    let mut guard = HeadGuard::new(io, BytesMut::new(), limits, signal.clone());
    let (mut passed, mut heads) = (Vec::new(), Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut space = [0; 512];
        let mut read = ReadBuf::new(&mut space);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => break,
            Poll::Ready(Ok(())) => passed.extend_from_slice(read.filled()),
            other => panic!("{other:?} from a source that is always ready"),
        }
        // Each request is answered at once: the guard waits at the end for answers that are due.
        while let Some(note) = signal.take() {
            assert_eq!(note.refusal.is_some(), note.head.is_none());
            heads.push(note.head.map(|head| head.bytes.to_vec()));
        }
    }
    Guarded { passed, heads }
}

/// Reads what passed as another server would, message by message: it has to find these heads, and
/// nothing else.
fn walk(guarded: &Guarded) {
    let mut rest = &guarded.passed[..];
    for head in &guarded.heads {
        let Some(head) = head else {
            assert!(rest.starts_with(b"GET /refused HTTP/1.1\r\n"));
            return;
        };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(rest);
        assert_eq!(parsed, Ok(httparse::Status::Complete(head.len())));
        assert_eq!(&rest[..head.len()], &head[..]);
        let value = |name: &str| {
            let mut headers = request.headers.iter();
            headers
                .find(|h| h.name.eq_ignore_ascii_case(name))
                .map(|h| h.value)
        };
        let length = value("content-length").and_then(|value| std::str::from_utf8(value).ok());
        let after = &rest[head.len()..];
        rest = match length {
            _ if request.method == Some("CONNECT") => &[],
            _ if value("transfer-encoding").is_some() => after_chunks(after),
            None => after,
            Some(length) => {
                let length = length.parse().unwrap_or(u64::MAX);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                after.get(length..).unwrap_or_default()
            }
        };
    }
    assert!(
        rest.is_empty(),
        "bytes without a head: {}",
        rest.escape_ascii()
    );
}

/// What follows a chunked body; nothing if it has no end.
fn after_chunks(mut rest: &[u8]) -> &[u8] {
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) {
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            return match httparse::parse_headers(&rest[line..], &mut trailers) {
                Ok(httparse::Status::Complete((end, _))) => &rest[line + end..],
                _ => &[],
            };
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(after) = rest[line..].get(size..) else {
            return &[];
        };
        let Some(next) = after.strip_prefix(b"\r\n") else {
            return &[];
        };
        rest = next;
    }
    &[]
}

/// A connection on which everything has arrived, in these pieces.
struct Pieces(std::collections::VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let fits = piece.len().min(out.remaining());
            out.put_slice(&piece[..fits]);
            if fits < piece.len() {
                piece.drain(..fits);
                self.0.push_front(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The guard writes interim responses only, and none to a client whose requests were answered.
impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        panic!("{} was written", bytes.escape_ascii())
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
