//! Where one request of a connection ends and the next one begins.
//!
//! A reverse proxy in front of this listener sends requests of several people over one connection. If
//! it and the HTTP library read a head differently, the end of one person's request is the beginning
//! of another's (request smuggling). The library repairs some such heads in silence: it drops a
//! `Content-Length` beside a `Transfer-Encoding`, and takes a bare LF for the end of a line. So the
//! proxy's [`HeadGuard`] reads each head first here, too (RFC 9112 sections 2.2, 3.2, 5.2 and 6.3).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Method, Request};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;

use super::problem::{AdminProblem, Trouble};
use crate::error::{Code, Refusal};
use crate::proxy::inbound::agreement;
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::runtime::limits::{HEADERS_ON_STACK, HeadLimits};
use crate::proxy::runtime::signal::{HeadSignal, InFlight};

/// Time for the head of a request, also of the next one on the same connection.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take none of what is written to it.
const STALLED: Duration = Duration::from_secs(30);
/// Largest head of a request. A cookie and a token are small.
const MAX_HEAD: usize = 32 * 1024;
/// What the library needs for a head: three times its size, if all of it had to be percent-encoded.
pub(super) const BUFFER: usize = 3 * MAX_HEAD;

/// The connection, as the library may read it.
pub(super) fn guarded(stream: TcpStream, signal: &HeadSignal) -> HeadGuard<TcpStream> {
    let limits = HeadLimits {
        bytes: MAX_HEAD,
        headers: HEADERS_ON_STACK,
        head_timeout: HEAD_TIMEOUT,
        first_timeout: HEAD_TIMEOUT,
        idle_timeout: STALLED,
        // A page that was left has to give its stream back at once: a user has few of them.
        serves_half_closed: false,
    };
    HeadGuard::new(stream, BytesMut::new(), limits, signal.clone())
}

/// What the guard found out about the request that the library has read. What it holds is to be kept
/// until the answer is written: the next head waits for that.
pub(super) fn read<B>(
    signal: &HeadSignal,
    request: &Request<B>,
) -> (Option<InFlight>, Result<(), AdminProblem>) {
    if *request.method() == Method::CONNECT {
        // No tunnel begins here: what follows is a head again.
        signal.connect_refused();
    }
    let Some(note) = signal.take() else {
        return (None, Err(malformed(&agreement::out_of_step())));
    };
    let refused = match note.refusal {
        Some(refusal) => Err(malformed(&refusal)),
        None => {
            agreement::check(note.head.as_ref(), request).map_err(|refusal| malformed(&refusal))
        }
    };
    (Some(note.in_flight), refused)
}

/// What is wrong with the framing of the body that a handler has just read, if anything is. To the
/// handler it looked like a connection that broke off.
pub(super) fn broken(signal: &HeadSignal) -> Option<AdminProblem> {
    let reason = signal.broken_framing()?;
    Some(AdminProblem::because(
        Trouble::Malformed,
        format!("The body cannot be read: {reason}."),
    ))
}

fn malformed(refusal: &Refusal) -> AdminProblem {
    let detail = match refusal.code {
        Code::HeadersTooLarge => format!(
            "The head of a request has at most {} KiB and {HEADERS_ON_STACK} lines.",
            MAX_HEAD / 1024
        ),
        _ => format!("It is no HTTP/1.1 that is read here: {}.", refusal.detail),
    };
    AdminProblem::because(Trouble::Malformed, detail)
}

/// The body of an answer, with the request that is on its way until all of it is written.
pub(super) struct Owed {
    pub(super) body: Body,
    pub(super) in_flight: Option<InFlight>,
}

impl http_body::Body for Owed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(in_flight) = &self.in_flight {
            in_flight.moved();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
