//! Accepts connections, as many as allowed, and has the workers serve them.

use crate::proxy::runtime::slot::ConnectionSlot;
use crate::proxy::runtime::slot::Slot;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::error::{Code, Refusal};
use crate::proxy::context::Proxy;
use crate::proxy::response::problem;
use crate::proxy::runtime::workers::{Load, Workers};

/// A connection that was accepted.
pub trait Accepted: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// The same without a runtime that waits for its events.
    type Socket: Send + 'static;

    /// Sets what each connection needs.
    fn prepare(&self) -> io::Result<()>;
    /// Takes it out of the runtime.
    fn detach(self) -> io::Result<Self::Socket>;
    /// Brings it into the runtime of the caller.
    fn attach(socket: Self::Socket) -> io::Result<Self>;
}

impl Accepted for TcpStream {
    type Socket = std::net::TcpStream;

    fn prepare(&self) -> io::Result<()> {
        // Small writes followed by waits: with Nagle each would cost 40 ms.
        self.set_nodelay(true)
    }

    fn detach(self) -> io::Result<Self::Socket> {
        self.into_std()
    }

    fn attach(socket: Self::Socket) -> io::Result<Self> {
        Self::from_std(socket)
    }
}

impl Accepted for UnixStream {
    type Socket = std::os::unix::net::UnixStream;

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn detach(self) -> io::Result<Self::Socket> {
        self.into_std()
    }

    fn attach(socket: Self::Socket) -> io::Result<Self> {
        Self::from_std(socket)
    }
}

/// What a listening socket is for: who its clients are, and how each says where it wants to go.
pub trait Port: Clone + Send + Sync + 'static {
    /// What is accepted there.
    type Stream: Accepted;
    /// Whether a client that finds no place can be told so at once.
    const EXPLAINS: bool = true;

    /// Serves a connection to its end.
    fn serve(
        self,
        proxy: Arc<Proxy>,
        stream: Self::Stream,
        slot: ConnectionSlot,
    ) -> impl Future<Output = ()> + Send;
}

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`). Who
/// finds no room tries again after a second, so that a burst of clients should find it.
const BACKLOG: u32 = 4_096;
/// Connections that are accepted before the worker looks what its others are ready for.
const AT_ONCE: usize = 4;
/// Pause after a failed accept: the usual cause is that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client that is turned away may take to read why, and how many may do so at once. Past
/// that their connections are closed without a word: each is a file descriptor too.
const TURN_AWAY: Duration = Duration::from_secs(1);
const TURNED_AWAY: usize = 64;
/// What of its request is read, so that the close does not overtake the answer (RFC 9112 section 9.6).
const READ_BEFORE_CLOSE: u64 = 64 * 1024;

/// Listens at `address`.
///
/// # Errors
/// What the system says, for one that another process has among them.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that was restarted need not wait for the connections of the one before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has the workers accept from `listener` until the proxy drains, or another process takes over.
///
/// # Errors
/// When the socket cannot be shared with a worker.
pub fn start<P: Port<Stream = TcpStream>>(
    port: &P,
    listener: TcpListener,
    admission: &Admission,
    workers: &Workers,
) -> io::Result<Vec<JoinHandle<()>>> {
    let listener = listener.into_std()?;
    let accept_on = |runtime: &Handle| {
        let own = listener.try_clone()?;
        // Where it is entered is where the socket's events arrive.
        let _entered = runtime.enter();
        let acceptor = Acceptor {
            listener: TcpListener::from_std(own)?,
            admission: admission.clone(),
        };
        let accepting = acceptor.run(port.clone());
        Ok(admission.accepting.spawn_on(accepting, runtime))
    };
    workers.acceptors().map(accept_on).collect()
}

/// The same for a Unix socket, whose connections one task accepts: those of other users than this one and
/// root are closed. Its mode is 0600; who opens it to others does not open what is behind it.
///
/// # Errors
/// When the socket cannot be watched.
pub fn start_unix<P: Port<Stream = UnixStream>>(
    port: P,
    listener: std::os::unix::net::UnixListener,
    admission: &Admission,
) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::from_std(listener)?;
    let admission = admission.clone();
    let leaving = admission.proxy.leaving.clone();
    let accepting = admission.accepting.clone();
    Ok(accepting.spawn(async move {
        let accept = accept_unix(port, listener, admission);
        leaving.run_until_cancelled(accept).await;
    }))
}

async fn accept_unix<P: Port<Stream = UnixStream>>(
    port: P,
    listener: UnixListener,
    admission: Admission,
) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let accepted = listener.accept().await;
        let admitted = accepted.and_then(|(stream, _)| {
            let peer = stream.peer_cred()?.uid();
            if peer != own && peer != 0 {
                tracing::warn!(
                    peer,
                    "a connection of another user to a Unix socket was closed"
                );
                return Ok(());
            }
            admission.admit(port.clone(), stream)
        });
        if let Err(error) = admitted {
            tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// A worker's end of the listening socket.
struct Acceptor {
    listener: TcpListener,
    admission: Admission,
}

impl Acceptor {
    async fn run<P: Port<Stream = TcpStream>>(self, port: P) {
        let leaving = self.admission.proxy.leaving.clone();
        leaving.run_until_cancelled(self.accept_all(port)).await;
    }

    async fn accept_all<P: Port<Stream = TcpStream>>(&self, port: P) {
        for number in 1.. {
            let accepted = self.listener.accept().await;
            let Some(workers) = self.admission.workers.upgrade() else {
                return;
            };
            let placed = accepted
                .and_then(|(stream, _)| self.admission.place(port.clone(), stream, &workers));
            if let Err(error) = placed {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            if number % AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }
}

/// Places for connections: each is a file descriptor or two, of which a process has so many.
#[derive(Clone)]
pub struct Places {
    served: Arc<Semaphore>,
    /// Room for those that find no place.
    turned_away: Arc<Semaphore>,
}

impl Places {
    /// For so many at a time.
    pub fn new(count: usize) -> Self {
        Self {
            served: Arc::new(Semaphore::new(count)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
        }
    }
}

/// Gives each accepted connection a place and a worker.
#[derive(Clone)]
pub struct Admission {
    proxy: Arc<Proxy>,
    places: Places,
    /// What accepts.
    accepting: TaskTracker,
    /// It is held by what runs on them, so it must not be what keeps them.
    workers: Weak<Workers>,
}

impl Admission {
    /// To `proxy`, for as many connections as there are places.
    pub fn new(proxy: &Arc<Proxy>, places: Places, workers: &Arc<Workers>) -> Self {
        Self {
            proxy: Arc::clone(proxy),
            places,
            accepting: TaskTracker::new(),
            workers: Arc::downgrade(workers),
        }
    }

    /// Waits until nothing is accepted any more, and what was accepted is among the proxy's tasks.
    pub async fn until_closed(&self) {
        self.accepting.close();
        self.accepting.wait().await;
    }

    /// Has a connection served that was accepted elsewhere.
    ///
    /// # Errors
    /// When it cannot be handed to a worker, or the server has ended.
    pub fn admit<P: Port>(&self, port: P, stream: P::Stream) -> io::Result<()> {
        let workers = self.workers.upgrade();
        let workers = workers.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        self.place(port, stream, &workers)
    }

    /// Has the connection served, here or by another worker.
    fn place<P: Port>(&self, port: P, stream: P::Stream, workers: &Workers) -> io::Result<()> {
        let place = match Arc::clone(&self.places.served).try_acquire_owned() {
            Ok(place) => Place::Slot(place),
            Err(_) => match Arc::clone(&self.places.turned_away).try_acquire_owned() {
                Ok(place) => Place::None(place),
                Err(_) => {
                    self.proxy.counters.refuse(Code::Overloaded);
                    return Ok(());
                }
            },
        };
        let proxy = Arc::clone(&self.proxy);
        let tasks = &self.proxy.tasks;
        let chosen = workers.choose();
        let load = chosen.load;
        if chosen.is_caller {
            tasks.spawn(admit(port, proxy, stream, place, load));
            return Ok(());
        }
        // Its events are to arrive where it is served.
        let socket = stream.detach()?;
        let moved = async move {
            if let Ok(stream) = P::Stream::attach(socket) {
                admit(port, proxy, stream, place, load).await;
            }
        };
        tasks.spawn_on(moved, chosen.handle);
        Ok(())
    }
}

/// What a new connection gets.
enum Place {
    /// A place among those that are served.
    Slot(OwnedSemaphorePermit),
    /// One among those that are told that there is none.
    None(OwnedSemaphorePermit),
}

async fn admit<P: Port>(port: P, proxy: Arc<Proxy>, stream: P::Stream, place: Place, load: Load) {
    if stream.prepare().is_err() {
        return;
    }
    match place {
        Place::Slot(place) => {
            let slot = Slot::new(place, load);
            port.serve(proxy, stream, slot).await;
        }
        Place::None(_) if !P::EXPLAINS => proxy.counters.refuse(Code::Overloaded),
        Place::None(place) => {
            turn_away(&proxy, stream).await;
            drop(place);
        }
    }
}

/// Past the limit the answer is quick and costs nothing but itself.
async fn turn_away<S: Accepted>(proxy: &Proxy, mut stream: S) {
    let id = proxy.ids.next();
    proxy.counters.refuse(Code::Overloaded);
    let refusal = Refusal::new(
        Code::Overloaded,
        "the proxy has as many connections as proxy.max_connections allows; try again later",
    );
    let answer = problem::refuse_bytes(&refusal, &id);
    // The client may be gone already, and then no one has to be told.
    let _ = timeout(TURN_AWAY, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(READ_BEFORE_CLOSE);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_clients_finds_room() {
        // More than the 128 that a listener has room for by default.
        const BURST: usize = 500;
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        if allowed.is_ok_and(|text| text.trim().parse::<usize>().unwrap() < BURST) {
            return;
        }
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        // Not accepted: who finds no room waits until this times out.
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(60));
        let all: Result<Vec<_>, _> = (0..BURST).map(|_| connect()).collect();
        assert_eq!(all.unwrap().len(), BURST);
    }
}
