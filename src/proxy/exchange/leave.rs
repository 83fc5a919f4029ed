//! Leave to send a body over HTTP/2 (`Expect: 100-continue`, RFC 9110 section 10.1.1).
//!
//! The library sends no interim answers, so the connection writes them itself, between two frames of the
//! library's. It is told here which streams have leave: those whose bodies are being read.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use http::{HeaderName, Request};

use crate::proxy::runtime::sync::lock;

/// The number of a stream as frames have it.
pub type Stream = [u8; 4];

/// The number of its stream, in a request that waits for leave. A client's own such field comes before
/// it, and fields of this family are never passed on.
pub const STREAM: HeaderName = HeaderName::from_static("egret-stream");

/// Most streams that wait to be told. A connection has no more requests on their way.
const MOST: usize = 128;

/// What the requests of a connection have given leave to.
#[derive(Debug, Default)]
pub struct Leaves(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    streams: Vec<Stream>,
    connection: Option<Waker>,
}

impl Leaves {
    /// Has the connection woken by the next leave.
    pub fn awaited_by(&self, cx: &Context<'_>) {
        let waker = &mut lock(&self.0).connection;
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The streams whose clients are to be told now.
    pub fn take(&self) -> Vec<Stream> {
        std::mem::take(&mut lock(&self.0).streams)
    }
}

/// Leave for one request, as an extension of it.
#[derive(Clone, Debug)]
pub struct Leave {
    leaves: Arc<Leaves>,
    stream: Stream,
}

impl Leave {
    /// Has the body of a request that waits for leave give it when it is read.
    pub fn attach<B>(request: &mut Request<B>, leaves: &Arc<Leaves>) {
        let Some(number) = request.headers().get_all(STREAM).iter().next_back() else {
            return;
        };
        let number = number.to_str().ok().and_then(|number| number.parse().ok());
        request.headers_mut().remove(STREAM);
        if let Some(number) = number {
            request.extensions_mut().insert(Self {
                leaves: Arc::clone(leaves),
                stream: u32::to_be_bytes(number),
            });
        }
    }

    /// The body is wanted.
    pub fn give(self) {
        let mut given = lock(&self.leaves.0);
        if given.streams.len() < MOST {
            given.streams.push(self.stream);
        }
        if let Some(connection) = &given.connection {
            connection.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts_and_none_is_passed_on() {
        let leaves = Arc::new(Leaves::default());
        let mut request = Request::builder()
            .header(STREAM, "7")
            .header(STREAM, "259")
            .body(())
            .unwrap();
        Leave::attach(&mut request, &leaves);
        assert!(!request.headers().contains_key(STREAM));
        assert!(leaves.take().is_empty());
        let leave = request.extensions_mut().remove::<Leave>().unwrap();
        leave.give();
        assert_eq!(leaves.take(), [[0, 0, 1, 3]]);
        assert!(leaves.take().is_empty());
    }

    #[test]
    fn what_is_no_number_gives_no_leave() {
        for number in ["", "-1", "x", "4294967296"] {
            let mut request = Request::builder().header(STREAM, number).body(()).unwrap();
            Leave::attach(&mut request, &Arc::default());
            assert!(request.extensions().get::<Leave>().is_none(), "{number}");
        }
    }
}
