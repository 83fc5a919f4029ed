//! The guard in front of the HTTP/1 parser: it reads each request head before hyper does.
//!
//! Three things have to happen on the raw bytes, because afterwards it is too late:
//!
//! * Real clients (curl, Go, PHP, Java) put `<<slug>>` raw into the request line. The `http`
//!   crate's `Uri` refuses `<` and `>`, so hyper would answer 400 before any of our code runs. The
//!   guard writes them as `%3C` and `%3E`, which is what RFC 3986 section 2.1 says they should
//!   have been.
//! * Heads whose framing cannot be trusted (RFC 9112 sections 2.2, 5.1, 5.2, 6.1 and 6.3: bare LF,
//!   folded lines, space before the colon, several lengths, a length beside a transfer coding) are
//!   refused here. hyper would repair some of them silently, and a peer that reads them differently
//!   is what request smuggling needs.
//! * A head that cannot be served is replaced by a harmless one, so that the service can still
//!   answer with a problem document instead of a bare status line.
//!
//! hyper parses the same bytes again, and must find the same requests in them. So the guard follows the
//! framing itself, chunked bodies too ([`Chunked`]), and hands on one message at a time: a head is
//! passed on once no earlier request is in flight any more, and what follows a CONNECT only once that
//! is refused. At that moment hyper has nothing left of an earlier message, or it has bytes that
//! the guard did not take for a head: then the request has no [`HeadNote`], or one that does not agree
//! with it, and the service refuses it.
//!
//! [`HeadNote`]: crate::proxy::runtime::signal::HeadNote

mod deadline;
mod end;
mod interim;

use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::error::{Code, Refusal};
use crate::proxy::inbound::chunked::{Chunked, Malformed, Progress};
use crate::proxy::inbound::half_closed::HalfClosed;
use crate::proxy::inbound::head_check::{self, Checked, Framing};
use crate::proxy::inbound::linger::{self, Linger};
use crate::proxy::runtime::idle::IdleTimer;
use crate::proxy::runtime::limits::HeadLimits;
use crate::proxy::runtime::signal::{HeadSignal, RawHead, Untaken};

/// What a head ends with. Made once: to prepare the search takes longer than a search.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));

/// What hyper gets to parse instead of a head that is refused.
const REFUSED_HEAD: &[u8] =
    b"GET /refused HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";

/// How much is read from the socket at once while a head is awaited.
const READ_SIZE: usize = 8 * 1024;

/// The guard's position in the stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a head.
    Head,
    /// So many bytes of body remain.
    Body(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// After a CONNECT: the bytes belong to the tunnel, or are a head if the CONNECT is refused.
    Connect,
    /// Another protocol, after an upgrade.
    Upgraded,
    /// The framing of a body is wrong. Whoever reads it finds that it ends too early.
    Broken,
    /// A head was refused: nothing that follows can be trusted to be anything.
    Refused,
}

/// A head on its way to the parser.
enum Passing {
    /// None.
    Nothing,
    /// What is left of the one that takes the place of a refused head.
    Refused(&'static [u8]),
    /// A checked one, of which so many bytes were passed on.
    Checked(RawHeadMut, usize),
}

/// A checked head. The service gets it once the parser has all of it, so that nothing is shared.
struct RawHeadMut {
    bytes: BytesMut,
    lines: usize,
    has_capitals: bool,
}

/// A byte stream whose request heads are checked and normalised before they are read from it.
pub struct HeadGuard<S> {
    io: S,
    limits: HeadLimits,
    signal: HeadSignal,
    _untaken: Untaken,
    state: State,
    /// Raw bytes read from the socket and not yet released.
    raw: BytesMut,
    passing: Passing,
    /// How far `raw` was searched for the end of the head.
    searched: usize,
    /// Set for the deadline, or for one that has moved away since.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the first bytes of the head that is not whole yet had come.
    head_since: Option<Instant>,
    /// Bounds how long the client may take to read what is written.
    stalled_write: IdleTimer,
    linger: Option<Linger>,
    half_closed: Option<HalfClosed>,
    /// A head has come, so that the client knows this connection for one that works.
    has_asked: bool,
    /// Since when it is known that another process has taken over.
    leaving_since: Option<Instant>,
    /// The client has ended its side.
    has_ended: bool,
    /// The request in flight came with HTTP/1.1, which has interim responses.
    has_interim: bool,
    /// Part of its answer was written.
    is_answered: bool,
    /// The library may have written part of what it has to write.
    is_writing: bool,
    /// What is left of interim answers that are being written.
    interim: Bytes,
}

impl<S> HeadGuard<S> {
    /// Wraps `io`. `early` are bytes that were read from it already.
    pub fn new(io: S, early: BytesMut, limits: HeadLimits, signal: HeadSignal) -> Self {
        Self {
            io,
            limits,
            _untaken: Untaken(signal.clone()),
            signal,
            state: State::Head,
            raw: early,
            passing: Passing::Nothing,
            searched: 0,
            timer: None,
            head_since: None,
            stalled_write: IdleTimer::new(limits.idle_timeout),
            linger: None,
            half_closed: None,
            has_asked: false,
            leaving_since: None,
            has_ended: false,
            has_interim: false,
            is_answered: false,
            is_writing: false,
            interim: Bytes::new(),
        }
    }

    /// The stream and whatever was read from it but not passed on. For the change from HTTP to a
    /// tunnel.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.raw)
    }

    /// Looks for a whole head in `raw` and turns it into `checked`. False: more bytes are needed.
    fn check_head(&mut self) -> bool {
        // RFC 9112 section 2.2: ignore at least one empty line before a request line.
        while self.raw.starts_with(b"\r\n") {
            self.raw.advance(2);
            self.searched = 0;
        }
        let from = self.searched.saturating_sub(3);
        let Some(end) = HEAD_END.find(&self.raw[from..]) else {
            return self.check_unfinished(from);
        };
        let end = from + end + 4;
        if end > self.limits.bytes {
            self.refuse(too_large(self.limits.bytes));
            return true;
        }
        let head = if end == self.raw.len() {
            mem::take(&mut self.raw)
        } else {
            self.raw.split_to(end)
        };
        self.searched = 0;
        self.has_asked = true;
        self.head_since = None;
        self.half_closed = None;
        match head_check::check(&head, self.limits.headers) {
            Ok(Checked {
                framing,
                lines,
                has_capitals,
                is_http11,
            }) => {
                self.has_interim = is_http11;
                self.is_answered = false;
                self.state = match framing {
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::Chunked(Chunked::begin()),
                    Framing::Tunnel => State::Connect,
                };
                let head = RawHeadMut {
                    bytes: head_check::normalise_request_line(head),
                    lines,
                    has_capitals,
                };
                self.passing = Passing::Checked(head, 0);
            }
            Err(refusal) => self.refuse(refusal),
        }
        true
    }

    /// A head whose end has not come yet: is it already hopeless?
    fn check_unfinished(&mut self, from: usize) -> bool {
        self.searched = self.raw.len();
        if self.raw.len() > self.limits.bytes {
            self.refuse(too_large(self.limits.bytes));
            return true;
        }
        // A client that ends its lines with a bare LF would otherwise wait for us for ever, and so
        // would one that does not speak HTTP.
        match head_check::hopeless(&self.raw, from) {
            Some(refusal) => {
                self.refuse(refusal);
                true
            }
            None => false,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.state = State::Refused;
        self.raw.clear();
        self.passing = Passing::Refused(REFUSED_HEAD);
        self.signal.note(Some(Box::new(refusal)), None);
    }

    /// Whether the next bytes may go to the parser without a copy of them here.
    fn may_read_directly(&self, out: &ReadBuf<'_>) -> bool {
        let fits = match self.state {
            State::Chunked(_) | State::Upgraded => true,
            State::Body(left) => left >= out.remaining() as u64,
            State::Head | State::Connect | State::Broken | State::Refused => false,
        };
        fits && self.raw.is_empty()
    }

    /// Passes on what may be passed on; false if there is nothing.
    fn release(&mut self, out: &mut ReadBuf<'_>) -> bool {
        match mem::replace(&mut self.passing, Passing::Nothing) {
            Passing::Nothing => {}
            Passing::Refused(mut rest) => {
                move_bytes(&mut rest, out, usize::MAX);
                if !rest.is_empty() {
                    self.passing = Passing::Refused(rest);
                }
                return true;
            }
            Passing::Checked(head, passed) => {
                self.pass_on(head, passed, out);
                return true;
            }
        }
        let most = self.raw.len().min(out.remaining());
        let count = self.follow_framing(most);
        move_bytes(&mut self.raw, out, count) > 0
    }

    /// Passes on more of a head. With its last byte the service has a note of it.
    fn pass_on(&mut self, head: RawHeadMut, passed: usize, out: &mut ReadBuf<'_>) {
        let mut rest = &head.bytes[passed..];
        move_bytes(&mut rest, out, usize::MAX);
        if !rest.is_empty() {
            let passed = head.bytes.len() - rest.len();
            self.passing = Passing::Checked(head, passed);
            return;
        }
        let head = RawHead {
            bytes: head.bytes.freeze(),
            lines: head.lines,
            has_capitals: head.has_capitals,
        };
        self.signal.note(None, Some(head));
    }

    /// How many of the first `most` raw bytes belong to the current message, which is taken to have
    /// them from now on.
    fn follow_framing(&mut self, most: usize) -> usize {
        match &mut self.state {
            State::Body(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
                self.count_body(count);
                count
            }
            State::Chunked(chunked) => {
                let read = chunked.read(&self.raw[..most], self.limits.headers);
                self.follow_chunks(read)
            }
            State::Upgraded => most,
            State::Head | State::Connect | State::Broken | State::Refused => 0,
        }
    }

    /// How many of the bytes that were read from a chunked body belong to it.
    fn follow_chunks(&mut self, read: Result<Progress, Malformed>) -> usize {
        match read {
            Ok(Progress { taken, has_ended }) => {
                if has_ended {
                    self.state = State::Head;
                }
                taken
            }
            Err(Malformed { taken, reason }) => {
                self.state = State::Broken;
                self.signal.broken(reason);
                taken
            }
        }
    }

    /// Follows the framing of what was read without a copy, from `before` on. What is beyond the end
    /// of a chunked body comes back.
    fn follow_direct(&mut self, out: &mut ReadBuf<'_>, before: usize) {
        let read = &out.filled()[before..];
        match &mut self.state {
            State::Body(_) => self.count_body(read.len()),
            State::Chunked(chunked) => {
                let progress = chunked.read(read, self.limits.headers);
                let end = before + self.follow_chunks(progress);
                if self.state == State::Head {
                    self.raw.extend_from_slice(&out.filled()[end..]);
                }
                out.set_filled(end);
            }
            _ => {}
        }
    }

    fn count_body(&mut self, read: usize) {
        if let State::Body(left) = &mut self.state {
            *left -= read as u64;
        }
    }

    /// Moves on where that does not depend on the bytes.
    fn advance_state(&mut self) {
        match self.state {
            State::Body(0) => self.state = State::Head,
            State::Connect if self.signal.take_connect_refused() => self.state = State::Head,
            _ => {}
        }
        if self.state == State::Head && self.signal.is_upgraded() {
            self.state = State::Upgraded;
        }
    }

    /// After a refused CONNECT the next head is waited for, for a limited time. Hyper reads again when
    /// bytes come, and the deadline would not be set before that.
    fn resume_after_connect(&mut self, cx: &Context<'_>) {
        if self.state == State::Connect {
            self.advance_state();
            if self.state == State::Head {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Whether what has come has to wait for the end of a request: `cx` is woken at that end.
    fn is_withheld(&self, cx: &Context<'_>) -> bool {
        matches!(self.state, State::Head | State::Connect)
            && !self.raw.is_empty()
            && self.signal.is_busy_until_woken(cx)
    }

    fn has_written(&mut self) {
        self.is_answered = true;
        self.is_writing = true;
        if let Some(half_closed) = &mut self.half_closed {
            half_closed.progress();
        }
    }

    /// A client that does not read holds memory here and a connection upstream.
    fn bound_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled_write.reset();
            return written;
        }
        ready!(self.stalled_write.poll_expired(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> HeadGuard<S> {
    /// Reads on into `raw`. Through the stack, so that a connection that waits holds no buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        if self.raw.is_empty() {
            // Not what is left of a larger one.
            self.raw = BytesMut::new();
        }
        self.raw.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HeadGuard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            guard.advance_state();
            if guard.release(out) {
                return Poll::Ready(Ok(()));
            }
            match guard.state {
                // Not the end: hyper would take it for a client that has gone and not answer.
                State::Refused => {
                    let mut all = usize::MAX;
                    return linger::poll_discard(cx, &mut guard.io, &mut all).map(Ok);
                }
                State::Broken => return Poll::Ready(Ok(())),
                _ => {}
            }
            let is_withheld = guard.is_withheld(cx);
            if guard.state == State::Head
                && !guard.raw.is_empty()
                && !is_withheld
                && guard.check_head()
            {
                continue;
            }
            if guard.may_read_directly(out) {
                let before = out.filled().len();
                ready!(Pin::new(&mut guard.io).poll_read(cx, out))?;
                guard.follow_direct(out, before);
                return Poll::Ready(Ok(()));
            }
            if guard.has_ended {
                return guard.poll_end(cx).map(Ok);
            }
            if is_withheld && guard.raw.len() >= guard.limits.bytes {
                return Poll::Pending;
            }
            match guard.poll_fill(cx) {
                Poll::Ready(read) => guard.has_ended = read? == 0,
                Poll::Pending => {
                    ready!(guard.poll_deadline(cx));
                    // Past the deadline the connection ends here; a client that was only idle sees
                    // an orderly close and opens another.
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HeadGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.has_written();
        self.bound_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.has_written();
        self.bound_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.is_writing &= flushed.is_pending();
        if flushed.is_ready() {
            self.signal.flushed();
            self.resume_after_connect(cx);
        }
        self.bound_write(cx, flushed)
    }

    /// Who has not ended its side may be sending: the rest of a request that was answered early, or the
    /// next one.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        ready!(Pin::new(&mut guard.io).poll_shutdown(cx))?;
        guard.advance_state();
        if !guard.has_ended {
            ready!(guard.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Moves at most `most` bytes, and no more than fit.
fn move_bytes(from: &mut impl Buf, to: &mut ReadBuf<'_>, most: usize) -> usize {
    let bytes = from.chunk();
    let count = bytes.len().min(to.remaining()).min(most);
    to.put_slice(&bytes[..count]);
    from.advance(count);
    count
}

pub(in crate::proxy) fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        Code::HeadersTooLarge,
        format!("the request head is larger than {limit} bytes (proxy.max_header_bytes)"),
    )
}

#[cfg(test)]
mod tests;
