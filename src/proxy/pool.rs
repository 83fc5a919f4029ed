//! Idle upstream connections, kept for the next request to the same destination.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, timeout};

use super::body::OutBody;
use super::lock;
use crate::policy::destination::Destination;

/// Most idle connections to one destination.
const PER_DESTINATION: usize = 256;
/// Most idle connections in all: each is a file descriptor.
const TOTAL: usize = 2_048;
/// How long an idle connection is kept. Most servers close theirs after 60 s or more, Node after 5;
/// one that closed earlier is noticed when its end arrives.
const IDLE_LIFE: Duration = Duration::from_secs(55);
/// How long a connection that just finished may take to say that it is ready again.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// An HTTP/1.1 connection that takes one request at a time.
pub type Sender = SendRequest<OutBody>;

/// Idle connections by destination. All were made with one TLS configuration: a pool belongs to an
/// [`super::upstream::Upstream`] and goes with it when the configuration is reloaded.
#[derive(Default)]
pub struct Pool {
    idle: DashMap<Destination, Mutex<VecDeque<Idle>>>,
    count: AtomicUsize,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// The connection used last among those still usable.
    pub async fn checkout(&self, destination: &Destination) -> Option<Sender> {
        while let Some(mut sender) = self.pop(destination) {
            if sender.is_closed() {
                continue;
            }
            if sender.is_ready()
                || matches!(timeout(READY_TIMEOUT, sender.ready()).await, Ok(Ok(())))
            {
                return Some(sender);
            }
        }
        None
    }

    fn pop(&self, destination: &Destination) -> Option<Sender> {
        let queue = self.idle.get(destination)?;
        let idle = lock(&queue).pop_back()?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(idle.sender)
    }

    /// Keeps a connection whose last exchange ended well.
    pub fn put(&self, destination: &Destination, sender: Sender) {
        if sender.is_closed() || self.count.load(Ordering::Relaxed) >= TOTAL {
            return;
        }
        let queue = match self.idle.get(destination) {
            Some(queue) => queue,
            None => self
                .idle
                .entry(destination.clone())
                .or_default()
                .downgrade(),
        };
        let mut queue = lock(&queue);
        if queue.len() < PER_DESTINATION {
            let since = Instant::now();
            queue.push_back(Idle { sender, since });
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops connections that were idle for too long or were closed by the other side.
    pub fn sweep(&self) {
        self.idle.retain(|_, queue| {
            let mut queue = lock(queue);
            let before = queue.len();
            queue.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_LIFE);
            self.count
                .fetch_sub(before - queue.len(), Ordering::Relaxed);
            !queue.is_empty()
        });
    }
}
