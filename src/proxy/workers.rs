//! The threads that serve connections.
//!
//! Each has a runtime of its own, and a connection stays with the thread it was given to, as do the
//! upstream connections that its requests open: nothing on the path of a request is handed from one
//! thread to another, and no core waits for what another one holds.
//!
//! The kernel could hand out connections itself (`SO_REUSEPORT`), but only by chance, so that of
//! thirty connections one core may get twenty; and it would let any process of the same user listen
//! beside Egret and collect tokens. So one task accepts, and gives each connection to the thread that
//! has the fewest.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lock;

/// Threads of a worker for calls that block, such as the resolver's.
const BLOCKING: usize = 64;
/// How long a worker may take to end when it is told to. It can be busy with one piece of a body.
const END: Duration = Duration::from_secs(5);

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// How many workers a server has: one for each core that it may use.
pub fn count() -> usize {
    // Asked once: the answer is read from a dozen files.
    static COUNT: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *COUNT
}

/// The threads that serve connections. They end with this value.
pub struct Workers {
    workers: Vec<Worker>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    stop: CancellationToken,
}

struct Worker {
    handle: Handle,
    /// Connections that were given to it and have not ended.
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts [`count`] threads, each of which calls `on_park` before it goes to sleep.
    pub fn start(on_park: fn()) -> io::Result<Self> {
        // Made first, so that an error ends what was started before it.
        let mut all = Self {
            workers: Vec::new(),
            threads: Mutex::default(),
            stop: CancellationToken::new(),
        };
        for index in 0..count() {
            let (worker, thread) = Worker::start(index, all.stop.clone(), on_park)?;
            all.workers.push(worker);
            lock(&all.threads).push(thread);
        }
        Ok(all)
    }

    /// The runtimes.
    pub fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(|worker| &worker.handle)
    }

    /// Runs what `serve` makes on the worker with the fewest connections. It counts as a connection
    /// until the [`Load`] is dropped.
    pub fn spawn<F>(&self, tasks: &TaskTracker, serve: impl FnOnce(Load) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let load = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(load) else {
            return;
        };
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let served = serve(Load(Arc::clone(&worker.connections)));
        tasks.spawn_on(served, &worker.handle);
    }

    /// Ends the threads and what still runs on them, and waits for that. Blocks.
    pub fn end(&self) {
        self.stop.cancel();
        for thread in lock(&self.threads).drain(..) {
            // A panic of the runtime itself was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Worker {
    fn start(
        index: usize,
        stop: CancellationToken,
        on_park: fn(),
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .on_thread_park(on_park)
            .build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                INDEX.set(index);
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(END);
            })?;
        let worker = Self {
            handle,
            connections: Arc::default(),
        };
        Ok((worker, thread))
    }
}

/// Counts a connection among those of its worker.
pub struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of each for each worker, so that no two of them wait for each other. Other threads share the
/// first one's.
pub struct PerWorker<T>(Box<[T]>);

impl<T: Default> Default for PerWorker<T> {
    fn default() -> Self {
        Self((0..count()).map(|_| T::default()).collect())
    }
}

impl<T> PerWorker<T> {
    /// The calling thread's.
    pub fn own(&self) -> &T {
        &self.0[INDEX.get() % self.0.len()]
    }

    /// Everybody's.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn connections_go_to_the_worker_with_the_fewest() {
        let workers = Workers::start(|| {}).unwrap();
        let tasks = TaskTracker::new();
        let mut held = Vec::new();
        for _ in 0..3 * count() {
            let (send, receive) = oneshot::channel();
            workers.spawn(&tasks, |load| async move {
                let _ = send.send((INDEX.get(), load));
            });
            held.push(receive.await.unwrap());
        }
        for index in 0..count() {
            let of_this = held.iter().filter(|(worker, _)| *worker == index).count();
            assert_eq!(of_this, 3);
        }
        held.retain(|(worker, _)| *worker != 0);
        let (send, receive) = oneshot::channel();
        workers.spawn(&tasks, |_load| async move {
            let _ = send.send(INDEX.get());
        });
        assert_eq!(receive.await, Ok(0));
        tokio::task::spawn_blocking(move || workers.end())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_its_worker() {
        let workers = Workers::start(|| {}).unwrap();
        let tasks = TaskTracker::new();
        let (started, has_started) = oneshot::channel();
        let (_never, wait) = oneshot::channel::<()>();
        workers.spawn(&tasks, |load| async move {
            let _ = started.send(());
            let _ = wait.await;
            drop(load);
        });
        has_started.await.unwrap();
        tasks.close();
        tokio::task::spawn_blocking(move || workers.end())
            .await
            .unwrap();
        tasks.wait().await;
    }

    #[test]
    fn each_worker_has_its_own() {
        let each = PerWorker::<AtomicUsize>::default();
        each.own().store(7, Ordering::Relaxed);
        assert_eq!(each.all().count(), count());
        let sum: usize = each.all().map(|own| own.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 7);
    }
}
