//! An upstream's answer, and the connection that it comes on.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;

use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::out_body::Transfer;
use crate::proxy::outbound::bound::Bound;
use crate::proxy::outbound::h1_pool::HostPool;
use crate::proxy::outbound::h2_pool::Stream;
use crate::proxy::outbound::http1::Connection;
use crate::proxy::outbound::http2::Arriving;
use crate::proxy::outbound::leftover::Leftover;

/// An upstream's answer together with what has to happen when it ends.
pub struct Answer {
    /// Head and body as they came.
    pub response: Response<Arriving>,
    /// The connection it comes on.
    pub lease: Lease,
    /// How the upload got on, if it was one that streams.
    pub transfer: Option<Arc<Transfer>>,
    /// What is known about the request.
    pub awaited: Awaited,
}

/// The connection that an answer comes on.
pub enum Lease {
    /// HTTP/1.1: this exchange's alone. It goes back to the pool only through
    /// [`Lease::give_back`]; dropped on any other path it is closed, because its position in
    /// the stream of messages is unknown.
    Exclusive {
        /// The connection.
        connection: Connection,
        /// Where it belongs.
        home: Home,
    },
    /// HTTP/2: one of many. It counts among its connection's streams until it is dropped; one that
    /// has not ended by then is reset, and no other with it.
    Shared(Stream),
}

/// Where a connection goes once its exchange is over.
pub enum Home {
    /// To those that all share.
    Pool(Arc<HostPool>),
    /// To the client connection that it belongs to.
    Bound(Arc<Bound>),
    /// It is closed.
    None,
}

impl Lease {
    /// Polls what comes on the connection, see [`Connection::poll_with`].
    pub fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match self {
            Self::Exclusive { connection, .. } => connection.poll_with(cx, poll),
            // Driven by a task of its own, on behalf of all.
            Self::Shared(_) => poll(cx),
        }
    }

    /// What is left of the connection once the library has read an answer that changes the protocol.
    pub async fn into_leftover(self) -> Option<Leftover> {
        match self {
            Self::Exclusive { mut connection, .. } => connection.leftover().await,
            Self::Shared(_) => None,
        }
    }

    /// The connection serves no other exchange after this one.
    pub fn close_after(&mut self) {
        if let Self::Exclusive { home, .. } = self {
            *home = Home::None;
        }
    }

    /// The exchange is over on both sides.
    pub fn give_back(self) {
        match self {
            Self::Exclusive {
                connection,
                home: Home::Pool(host_pool),
            } => host_pool.put(connection),
            Self::Exclusive {
                connection,
                home: Home::Bound(bound),
            } => bound.put(connection),
            Self::Exclusive {
                connection,
                home: Home::None,
            } => drop(connection),
            Self::Shared(stream) => drop(stream),
        }
    }
}
