//! The threads that serve connections.
//!
//! Each has a runtime of its own, and a connection stays with the thread it was given to, as do the
//! upstream connections that its requests open: nothing on the path of a request is handed from one
//! thread to another, and no core waits for what another one holds.
//!
//! The kernel could hand out connections itself (`SO_REUSEPORT`), but only by chance, so that of
//! thirty connections one core may get twenty; and it would let any process of the same user listen
//! beside Egret and collect tokens. So the workers share one socket. Whichever is awake accepts, and
//! keeps what it has accepted, unless another one has fewer connections and gets it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::proxy::runtime::sync::lock;

/// Threads of a worker for calls that block, such as the resolver's.
const BLOCKING: usize = 64;
/// How long a worker may take to end when it is told to. It can be busy with one piece of a body.
const END: Duration = Duration::from_secs(5);

/// How many workers accept. Each of them is woken by each new connection, which on a machine of many
/// cores would cost more than to be handed one.
const ACCEPTORS: usize = 4;

thread_local! {
    /// Which worker this thread is, if it is one.
    static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
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

    /// The runtimes of those that accept connections.
    pub fn acceptors(&self) -> impl Iterator<Item = &Handle> {
        self.handles().take(ACCEPTORS)
    }

    /// Chooses who is to have a connection that the calling worker has accepted: itself, unless
    /// another has fewer. It counts as a connection until the [`Load`] is dropped.
    pub fn choose(&self) -> Chosen<'_> {
        let fewest = self.workers.iter().min_by_key(|worker| worker.count());
        let fewest = fewest.expect("a server has at least one worker");
        let own = INDEX.get().and_then(|index| self.workers.get(index));
        let own = own.filter(|own| own.count() <= fewest.count());
        let worker = own.unwrap_or(fewest);
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Chosen {
            is_caller: own.is_some(),
            load: Load(Arc::clone(&worker.connections)),
            handle: &worker.handle,
        }
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

/// Who is to have a connection.
pub struct Chosen<'a> {
    /// The calling worker itself.
    pub is_caller: bool,
    /// Counts the connection as the chosen one's.
    pub load: Load,
    /// The chosen one's runtime.
    pub handle: &'a Handle,
}

impl Worker {
    fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

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
                INDEX.set(Some(index));
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
        &self.0[INDEX.get().unwrap_or_default() % self.0.len()]
    }

    /// Everybody's.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio_util::task::TaskTracker;

    use super::*;

    fn index_of(workers: &Workers, chosen: &Chosen<'_>) -> usize {
        let mut handles = workers.handles();
        let found = handles.position(|handle| handle.id() == chosen.handle.id());
        found.unwrap()
    }

    async fn end(workers: Arc<Workers>) {
        tokio::task::spawn_blocking(move || workers.end())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn connections_from_elsewhere_go_to_the_worker_with_the_fewest() {
        let workers = Arc::new(Workers::start(|| {}).unwrap());
        let mut held = Vec::new();
        for _ in 0..3 * count() {
            let chosen = workers.choose();
            assert!(!chosen.is_caller);
            held.push((index_of(&workers, &chosen), chosen.load));
        }
        for index in 0..count() {
            let of_this = held.iter().filter(|(worker, _)| *worker == index).count();
            assert_eq!(of_this, 3);
        }
        held.retain(|(worker, _)| *worker != 0);
        assert_eq!(index_of(&workers, &workers.choose()), 0);
        end(workers).await;
    }

    #[tokio::test]
    async fn a_worker_keeps_what_it_accepts_unless_another_has_fewer() {
        let workers = Arc::new(Workers::start(|| {}).unwrap());
        let chosen = Arc::clone(&workers);
        let accepting = workers.handles().next().unwrap().spawn(async move {
            // All are held to the end, so that they count.
            let choices = (0..10 * count()).map(|_| chosen.choose());
            let choices: Vec<_> = choices.collect();
            let kept = choices.iter().filter(|choice| choice.is_caller).count();
            let counts = chosen.workers.iter().map(Worker::count);
            (kept, choices[0].is_caller, counts.collect::<Vec<_>>())
        });
        let (kept, keeps_when_equal, counts) = accepting.await.unwrap();
        assert_eq!((kept, counts), (10, vec![10; count()]));
        assert!(keeps_when_equal);
        end(workers).await;
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_its_worker() {
        let workers = Arc::new(Workers::start(|| {}).unwrap());
        let tasks = TaskTracker::new();
        let (started, has_started) = oneshot::channel();
        let (_never, wait) = oneshot::channel::<()>();
        let Chosen { load, handle, .. } = workers.choose();
        let served = async move {
            let _ = started.send(());
            let _ = wait.await;
            drop(load);
        };
        tasks.spawn_on(served, handle);
        has_started.await.unwrap();
        tasks.close();
        end(Arc::clone(&workers)).await;
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
