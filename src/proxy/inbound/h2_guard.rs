//! Reads the fields of each HTTP/2 request before the library does, for what that has no way to do.
//!
//! **Targets.** The library cuts a target at `#`, and the request would go elsewhere without a word. It
//! ends the connection, with all of its streams, at a byte that is not UTF-8, and resets the stream
//! without a reason at other characters that RFC 3986 does not allow. So the bytes that make a target
//! one to be refused are replaced by [`PATH_MARK`] and [`QUERY_MARK`], which the library lets pass and
//! [`check`] refuses with a code. Each takes the place of one byte: what both sides remember of the
//! fields of a connection has to keep its size (RFC 7541 section 4.1).
//!
//! **`Expect: 100-continue`.** Clients wait for an interim answer before they send the body, and the
//! library sends none. It is written here, between two frames of the library's, when the request has its
//! body read ([`leave`](crate::proxy::exchange::leave)). The library does not say which stream a request
//! came on, so such a request gets a field with its number, which is taken off again where the body begins.
//!
//! What is not to be changed passes through where it was read. Frames that begin a request are held until
//! all of its fields have come, as the library would hold them.

mod frame;
mod outgoing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::Uri;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Code, Refusal};
use crate::policy::location::LONGEST_TARGET;
use crate::proxy::exchange::leave::{Leaves, STREAM};
use crate::proxy::inbound::h2_guard::frame::{FRAME_HEAD, FrameHead};
use crate::proxy::inbound::h2_guard::outgoing::Outgoing;
use crate::proxy::inbound::hpack::{self, Text};
use crate::proxy::inbound::write_out::poll_write_out;

/// What the library allows in a path and a query, and this proxy does not.
const PATH_MARK: u8 = b'"';
const QUERY_MARK: u8 = b'`';

/// The length of the client's preface (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// The longest frame that a client may send, because nothing else was agreed.
const LONGEST_FRAME: usize = 16 * 1024;
/// Types and flags of frames (RFC 9113 section 6).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// `:status: 100`, in the static table's name and without a place in the other (RFC 7541 section 6.2.2).
const CONTINUE: &[u8] = b"\x08\x03100";
/// How much is read at once while fields are awaited.
const READ_SIZE: usize = 8 * 1024;

/// Refuses a target that was marked, or that a client has written with the same characters.
pub fn check(target: &Uri) -> Result<(), Refusal> {
    let query = target.query().unwrap_or_default();
    if memchr(PATH_MARK, target.path().as_bytes()).is_none()
        && memchr(QUERY_MARK, query.as_bytes()).is_none()
    {
        return Ok(());
    }
    let length = target.path_and_query().map_or(0, |all| all.as_str().len());
    if length == LONGEST_TARGET {
        let detail = format!("the request target is longer than {LONGEST_TARGET} bytes");
        return Err(Refusal::new(Code::TargetTooLong, detail));
    }
    Err(Refusal::new(
        Code::RequestMalformed,
        "the request target holds a `#`, a quote, a backtick, an angle bracket, white space or a byte \
         that is not UTF-8; such a character that is data is sent percent-encoded",
    ))
}

/// The same target with marks, if it has to be refused.
fn marked(target: &[u8]) -> Option<Vec<u8>> {
    let is_too_long = target.len() > LONGEST_TARGET;
    // Where it is cut, the last character may be.
    let keeps_utf8 = !is_too_long && std::str::from_utf8(target).is_ok();
    let is_bad = |byte: u8| {
        matches!(byte, 0..=b' ' | b'#' | b'"' | b'<' | b'>' | b'`' | 0x7f)
            || byte > 0x7f && !keeps_utf8
    };
    if !is_too_long && !target.iter().copied().any(is_bad) {
        return None;
    }
    let mut marked = target[..target.len().min(LONGEST_TARGET)].to_vec();
    let mut mark = PATH_MARK;
    for byte in &mut marked {
        if is_bad(*byte) {
            *byte = mark;
        } else if *byte == b'?' {
            mark = QUERY_MARK;
        }
    }
    if is_too_long && let Some(last) = marked.last_mut() {
        *last = mark;
    }
    // The library takes a path for one by its first byte, and a second one carries the mark.
    if let [first, second, ..] = &mut marked[..]
        && *first == PATH_MARK
    {
        (*first, *second) = (b'/', PATH_MARK);
    }
    Some(marked)
}

/// The fields of a request, from one or more frames.
struct Section<'a> {
    /// The first frame's head.
    head: FrameHead,
    /// What is in front of the fields.
    priority: &'a [u8],
    fields: Cow<'a, [u8]>,
    /// The length of all frames.
    length: usize,
}

/// What has come of a section.
enum Came<'a> {
    Whole(Section<'a>),
    /// More is to come.
    Part,
    /// It is longer than is held, or is none. The library refuses it.
    Odd,
}

impl<'a> Section<'a> {
    /// Reads the frames that `bytes` begin with, the first of which has this head.
    fn read(head: FrameHead, bytes: &'a [u8], most: usize) -> Came<'a> {
        let mut length = FRAME_HEAD + head.length;
        let Some(payload) = bytes.get(FRAME_HEAD..length) else {
            return Came::Part;
        };
        let Some((priority, fields)) = without_padding(head, payload) else {
            return Came::Odd;
        };
        let mut fields = Cow::Borrowed(fields);
        let mut is_whole = head.has(END_HEADERS);
        while !is_whole {
            let Some(next) = FrameHead::read(&bytes[length..]) else {
                return Came::Part;
            };
            let end = length + FRAME_HEAD + next.length;
            if next.kind != CONTINUATION || next.stream != head.stream || end > most {
                return Came::Odd;
            }
            let Some(more) = bytes.get(length + FRAME_HEAD..end) else {
                return Came::Part;
            };
            fields.to_mut().extend_from_slice(more);
            length = end;
            is_whole = next.has(END_HEADERS);
        }
        Came::Whole(Self {
            head,
            priority,
            fields,
            length,
        })
    }

    /// The section with a target that is refused, if this one has to be.
    fn refused(&self, text: &Text) -> Option<Vec<u8>> {
        let marked = marked(&text.read(&self.fields)?)?;
        let mut payload = self.priority.to_vec();
        payload.extend_from_slice(&self.fields[..text.span.start]);
        hpack::write(&marked, &mut payload);
        payload.extend_from_slice(&self.fields[text.span.end..]);
        Some(self.frames(&payload))
    }

    /// The section with the number of its stream, in a field that no table remembers (RFC 7541 section
    /// 6.2.2).
    fn numbered(&self) -> Vec<u8> {
        let number = u32::from_be_bytes(self.head.stream).to_string();
        let mut payload = [self.priority, &self.fields, &[0]].concat();
        hpack::write(STREAM.as_str().as_bytes(), &mut payload);
        hpack::write(number.as_bytes(), &mut payload);
        self.frames(&payload)
    }

    /// These fields, in as many frames as it takes.
    fn frames(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.head;
        frame.flags &= !(PADDED | END_HEADERS);
        let mut out = Vec::with_capacity(payload.len() + 2 * FRAME_HEAD);
        let mut pieces = payload.chunks(LONGEST_FRAME).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                frame.flags |= END_HEADERS;
            }
            frame.write(piece, &mut out);
            (frame.kind, frame.flags) = (CONTINUATION, 0);
        }
        out
    }
}

/// The priority in a HEADERS frame, and its fields (RFC 9113 section 6.2).
fn without_padding(head: FrameHead, payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut payload = payload;
    if head.has(PADDED) {
        let (padding, rest) = payload.split_first()?;
        payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    payload.split_at_checked(if head.has(PRIORITY) { 5 } else { 0 })
}

/// The place in the stream of frames.
struct Walk {
    /// What is left of the preface or a frame that passes as it is.
    left: usize,
    /// The most bytes of a section that are held.
    most: usize,
    /// None once a block could not be read. The library ends such a connection.
    fields: Option<hpack::Reader>,
    /// Whether a client has ever waited for a 100 (Continue).
    has_waited: bool,
}

/// How the walk goes on behind what may pass.
enum Next {
    /// There is nothing more.
    End,
    /// At the beginning of a section of which more has to come.
    Part,
    /// At a section of this length, in place of which this is to be read.
    Changed(usize, Vec<u8>),
}

impl Walk {
    /// How many of these bytes may pass, and what follows them.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Next) {
        let mut at = 0;
        loop {
            let pass = self.left.min(bytes.len() - at);
            self.left -= pass;
            at += pass;
            let rest = &bytes[at..];
            if rest.is_empty() {
                return (at, Next::End);
            }
            let Some(head) = FrameHead::read(rest) else {
                return (at, Next::Part);
            };
            self.left = FRAME_HEAD + head.length;
            if head.kind != HEADERS || head.length > LONGEST_FRAME {
                continue;
            }
            match Section::read(head, rest, self.most) {
                Came::Odd => self.fields = None,
                Came::Part => {
                    self.left = 0;
                    return (at, Next::Part);
                }
                Came::Whole(section) => {
                    self.left = section.length;
                    if let Some(changed) = self.look(&section) {
                        self.left = 0;
                        return (at, Next::Changed(section.length, changed));
                    }
                }
            }
        }
    }

    /// What is to be read in place of a section: if its target has to be refused, or it waits for leave.
    fn look(&mut self, section: &Section<'_>) -> Option<Vec<u8>> {
        let Some(found) = self.fields.as_mut()?.read(&section.fields) else {
            self.fields = None;
            return None;
        };
        let refused = found.target.and_then(|target| section.refused(&target));
        if refused.is_some() || !found.expects_continue || section.head.has(END_STREAM) {
            return refused;
        }
        self.has_waited = true;
        Some(section.numbered())
    }
}

/// A byte stream in HTTP/2 whose requests are looked at before they are read from it.
pub struct H2Guard<S> {
    io: S,
    walk: Walk,
    /// Read, and not given out yet.
    held: BytesMut,
    /// How many of these may be given out.
    cleared: usize,
    outgoing: Outgoing,
    leaves: Arc<Leaves>,
    /// Interim answers that are being written.
    interim: BytesMut,
}

impl<S> H2Guard<S> {
    /// Wraps `io`, of which nothing was read. `most` bytes of the fields of a request are held.
    pub fn new(io: S, most: usize, leaves: Arc<Leaves>) -> Self {
        Self {
            io,
            walk: Walk {
                left: PREFACE,
                most,
                fields: Some(hpack::Reader::default()),
                has_waited: false,
            },
            held: BytesMut::new(),
            cleared: 0,
            outgoing: Outgoing::default(),
            leaves,
            interim: BytesMut::new(),
        }
    }

    /// Puts what is to be read in place of a section there. What is in front of it was given out, or may
    /// be.
    fn replace(&mut self, next: Next) {
        if let Next::Changed(length, changed) = next {
            let rest = self.held.split_off(self.cleared + length);
            self.held.truncate(self.cleared);
            self.held.extend_from_slice(&changed);
            self.held.extend_from_slice(&rest);
            self.cleared += changed.len();
        }
    }

    fn give_out(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.cleared.min(out.remaining());
        out.put_slice(&self.held[..count]);
        self.held.advance(count);
        self.cleared -= count;
        if self.held.is_empty() {
            // An idle connection holds none.
            self.held = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> H2Guard<S> {
    /// Reads into the buffer of who asks, and takes back what must not pass yet.
    fn poll_direct(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        let (passed, next) = self.walk.advance(&out.filled()[before..]);
        if !matches!(next, Next::End) {
            let end = before + passed;
            self.held.extend_from_slice(&out.filled()[end..]);
            out.set_filled(end);
            self.replace(next);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more of what is held. At the end of the stream all of it passes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            self.cleared = self.held.len();
        }
        self.held.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for H2Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let before = out.filled().len();
        loop {
            if guard.walk.has_waited {
                guard.leaves.awaited_by(cx);
            }
            if guard.held.is_empty() {
                ready!(guard.poll_direct(cx, out))?;
                if out.filled().len() > before || guard.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            if guard.cleared == 0 {
                let (passed, next) = guard.walk.advance(&guard.held);
                guard.cleared = passed;
                guard.replace(next);
            }
            if guard.cleared > 0 {
                guard.give_out(out);
                return Poll::Ready(Ok(()));
            }
            ready!(guard.poll_fill(cx))?;
        }
    }
}

impl<S: AsyncWrite + Unpin> H2Guard<S> {
    /// Writes the interim answers that are due, if this is a place for them.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.walk.has_waited && self.outgoing.is_between_frames() {
            for stream in self.leaves.take() {
                let head = FrameHead {
                    length: CONTINUE.len(),
                    kind: HEADERS,
                    flags: END_HEADERS,
                    stream,
                };
                let mut frame = Vec::new();
                head.write(CONTINUE, &mut frame);
                self.interim.extend_from_slice(&frame);
            }
        }
        poll_write_out(&mut self.io, &mut self.interim, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for H2Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.outgoing.wrote(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bytes))?;
        let mut left = written;
        for slice in bytes {
            let count = left.min(slice.len());
            self.outgoing.wrote(&slice[..count]);
            left -= count;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
