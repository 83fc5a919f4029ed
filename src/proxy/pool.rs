//! Idle upstream connections, kept for the next request to the same destination.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::lock;
use super::workers::{self, PerWorker};
use crate::policy::destination::Destination;

/// Most idle connections of a worker to one destination.
const PER_DESTINATION: usize = 256;
/// Most idle connections in all: each is a file descriptor.
const TOTAL: usize = 2_048;
/// How long an idle connection is kept. Most servers close theirs after 60 s or more, Node after 5;
/// one that closed earlier is noticed when its end arrives.
const IDLE_LIFE: Duration = Duration::from_secs(55);
/// How long a connection that just finished may take to say that it is ready again.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// Idle connections by destination. All were made with one TLS configuration: a pool belongs to an
/// [`super::upstream::Upstream`] and goes with it when the configuration is reloaded.
///
/// Each worker has its own, because a connection is driven by the worker that opened it.
#[derive(Default)]
pub struct Pool(PerWorker<Mutex<Idle>>);

#[derive(Default)]
struct Idle {
    connections: HashMap<Destination, VecDeque<Kept>>,
    count: usize,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The connection used last among those still usable.
    pub async fn checkout(&self, destination: &Destination) -> Option<Connection> {
        while let Some(mut connection) = self.pop(destination) {
            if !connection.is_open() {
                continue;
            }
            if connection.sender().is_ready()
                || matches!(timeout(READY_TIMEOUT, connection.ready()).await, Ok(true))
            {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self, destination: &Destination) -> Option<Connection> {
        lock(self.0.own()).pop(destination)
    }

    /// Keeps a connection whose last exchange ended well.
    pub fn put(&self, destination: &Destination, mut connection: Connection) {
        connection.rest();
        if !connection.sender().is_closed() {
            lock(self.0.own()).put(destination, connection);
        }
    }

    /// Drops connections that were idle for too long or were closed by the other side.
    pub fn sweep(&self) {
        self.0.all().for_each(|idle| lock(idle).sweep());
    }
}

impl Idle {
    fn pop(&mut self, destination: &Destination) -> Option<Connection> {
        let kept = self.connections.get_mut(destination)?.pop_back()?;
        self.count -= 1;
        Some(kept.connection)
    }

    fn put(&mut self, destination: &Destination, connection: Connection) {
        if self.count >= TOTAL / workers::count() {
            return;
        }
        let since = Instant::now();
        let kept = Kept { connection, since };
        match self.connections.get_mut(destination) {
            Some(queue) if queue.len() >= PER_DESTINATION => return,
            Some(queue) => queue.push_back(kept),
            None => {
                let queue = VecDeque::from([kept]);
                self.connections.insert(destination.clone(), queue);
            }
        }
        self.count += 1;
    }

    fn sweep(&mut self) {
        self.connections.retain(|_, queue| {
            queue.retain_mut(|kept| kept.since.elapsed() < IDLE_LIFE && kept.connection.is_open());
            !queue.is_empty()
        });
        self.count = self.connections.values().map(VecDeque::len).sum();
    }
}
