//! Idle upstream connections, kept for the next request to the same destination.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::policy::destination::Destination;
use crate::proxy::outbound::http1::Connection;
use crate::proxy::runtime::sync::lock;
use crate::proxy::runtime::workers::{self, PerWorker};

/// Most idle connections of a worker to one destination.
const PER_DESTINATION: usize = 256;
/// Most idle connections in all: each is a file descriptor.
const TOTAL: usize = 2_048;
/// Most destinations that a worker remembers. A hostile client can name any number.
const DESTINATIONS: usize = 4_096;
/// How long an idle connection is kept. Most servers close theirs after 60 s or more, Node after 5;
/// one that closed earlier is noticed when its end arrives.
const IDLE_LIFE: Duration = Duration::from_secs(55);
/// How long a connection that just finished may take to say that it is ready again.
const READY_TIMEOUT: Duration = Duration::from_millis(50);

/// Idle connections by destination. All were made with one TLS configuration: a pool belongs to an
/// [`crate::proxy::outbound::upstream::Upstream`] and goes with it when the configuration is reloaded.
///
/// Each worker has its own, because a connection's events arrive at the worker that opened it. One that
/// has none to a destination borrows from the others: to be told by another thread is slower than to
/// be told by one's own, but much faster than to open a connection.
#[derive(Default)]
pub struct Pool(PerWorker<Mutex<HostPools>>);

#[derive(Default)]
struct HostPools {
    by_destination: HashMap<Destination, Arc<HostPool>>,
    count: Arc<AtomicUsize>,
}

/// A worker's idle connections to one destination. A request takes its connection from here and
/// brings it back.
pub struct HostPool {
    idle: Mutex<VecDeque<Kept>>,
    /// This worker has opened one itself.
    is_stocked: AtomicBool,
    /// Idle connections of this worker, whatever their destination.
    count: Arc<AtomicUsize>,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The calling worker's connections to a destination.
    pub fn host_pool(&self, destination: &Destination) -> Arc<HostPool> {
        let mut shelves = lock(self.0.own());
        if let Some(host_pool) = shelves.by_destination.get(destination) {
            return Arc::clone(host_pool);
        }
        let host_pool = Arc::new(HostPool {
            idle: Mutex::default(),
            is_stocked: AtomicBool::new(false),
            count: Arc::clone(&shelves.count),
        });
        if shelves.by_destination.len() >= DESTINATIONS {
            shelves.sweep();
        }
        // One too many is not remembered, and closes what is brought back to it.
        if shelves.by_destination.len() < DESTINATIONS {
            let kept = Arc::clone(&host_pool);
            shelves.by_destination.insert(destination.clone(), kept);
        }
        host_pool
    }

    /// A connection to a destination, and the shelf that it is to be brought back to. Without one:
    /// the shelf for one that is opened.
    pub async fn take(
        &self,
        destination: &Destination,
    ) -> Result<(Connection, Arc<HostPool>), Arc<HostPool>> {
        let own = self.host_pool(destination);
        if let Some(connection) = own.take().await {
            return Ok((connection, own));
        }
        if !own.is_stocked.swap(true, Ordering::Relaxed) {
            for shelves in self.0.all() {
                let host_pool = lock(shelves).by_destination.get(destination).cloned();
                if let Some(host_pool) = host_pool
                    && let Some(connection) = host_pool.take().await
                {
                    own.is_stocked.store(false, Ordering::Relaxed);
                    return Ok((connection, host_pool));
                }
            }
        }
        Err(own)
    }

    /// Drops connections that were idle for too long or were closed by the other side.
    pub fn sweep(&self) {
        self.0.all().for_each(|shelves| lock(shelves).sweep());
    }
}

impl HostPools {
    fn sweep(&mut self) {
        self.by_destination.retain(|_, host_pool| {
            host_pool.sweep();
            !lock(&host_pool.idle).is_empty() || Arc::strong_count(host_pool) > 1
        });
    }
}

impl HostPool {
    /// The connection used last among those still usable.
    pub async fn take(&self) -> Option<Connection> {
        while let Some(connection) = self.pop() {
            if let Some(connection) = usable(connection).await {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self) -> Option<Connection> {
        let kept = lock(&self.idle).pop_back()?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(kept.connection)
    }

    /// Keeps a connection whose last exchange ended well.
    pub fn put(&self, mut connection: Connection) {
        connection.rest();
        let is_full = self.count.load(Ordering::Relaxed) >= TOTAL / workers::count();
        if is_full || connection.sender().is_closed() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() < PER_DESTINATION {
            let since = Instant::now();
            idle.push_back(Kept { connection, since });
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sweep(&self) {
        let mut idle = lock(&self.idle);
        let before = idle.len();
        idle.retain_mut(|kept| kept.since.elapsed() < IDLE_LIFE && kept.connection.is_open());
        let dropped = before - idle.len();
        self.count.fetch_sub(dropped, Ordering::Relaxed);
    }
}

/// The connection, if it is open and takes a request.
pub async fn usable(mut connection: Connection) -> Option<Connection> {
    let is_usable = connection.is_open()
        && (connection.sender().is_ready()
            || matches!(timeout(READY_TIMEOUT, connection.ready()).await, Ok(true)));
    is_usable.then_some(connection)
}

impl Drop for HostPool {
    fn drop(&mut self) {
        let left = lock(&self.idle).len();
        self.count.fetch_sub(left, Ordering::Relaxed);
    }
}
