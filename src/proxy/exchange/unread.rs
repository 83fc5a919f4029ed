//! The rest of a request's body that was not read when its answer was ready.
//!
//! In HTTP/1.1 the next request begins where the body ends. A body that was not read to its end makes
//! the connection useless after the answer, and a client that is not told sends its next request into
//! it. So what is small and here is read and thrown away; else the answer announces the close (RFC
//! 9112 sections 9.3 and 9.6).

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::proxy::runtime::sync::lock;

/// How much of a body is read for the sake of the connection, and how long that may take: the rest
/// of what a client sends in one go.
const MOST: u64 = 64 * 1024;
const SOON: Duration = Duration::from_millis(50);

/// The body of the request that an HTTP/1.1 connection serves.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// There is none, or it was read to its end.
    #[default]
    Whole,
    /// It is being read, or was given up before its end.
    Partial,
    /// It was given up, and can be read on.
    Left(Incoming),
}

impl Unread {
    /// A body begins to be read.
    pub fn begin(&self) {
        *lock(&self.0) = State::Partial;
    }

    /// It was read to its end.
    pub fn end(&self) {
        *lock(&self.0) = State::Whole;
    }

    /// It is given up. Kept only while the request has no answer.
    pub fn leave(&self, incoming: Incoming) {
        let mut state = lock(&self.0);
        if matches!(*state, State::Partial) {
            *state = State::Left(incoming);
        }
    }

    /// The answer is ready. Whether the body is at its end, so that the connection can serve another
    /// request.
    pub async fn settle(&self) -> bool {
        let state = mem::take(&mut *lock(&self.0));
        match state {
            State::Whole => true,
            State::Partial => false,
            State::Left(rest) => Box::pin(ends_soon(rest)).await,
        }
    }
}

/// Reads and throws away. In turns with the connection, which hands over one piece at a time.
async fn ends_soon(mut rest: Incoming) -> bool {
    let mut left = MOST;
    if rest.size_hint().lower() > left {
        return false;
    }
    let read = async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
            let Ok(frame) = frame else { return false };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(after) = left.checked_sub(length) else {
                return false;
            };
            left = after;
        }
        true
    };
    timeout(SOON, read).await.unwrap_or(false)
}
