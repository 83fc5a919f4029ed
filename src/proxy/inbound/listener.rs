//! Accepts connections, as many as allowed, and has the workers serve them.

use crate::proxy::runtime::slot::ConnectionSlot;
use crate::proxy::runtime::slot::Slot;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use crate::error::{Code, Refusal};
use crate::proxy::context::Proxy;
use crate::proxy::response::problem;
use crate::proxy::runtime::workers::{Load, Workers};

/// What a listening socket is for: who its clients are, and how each says where it wants to go.
pub trait Port: 'static {
    /// Serves a connection to its end.
    fn serve(
        proxy: Arc<Proxy>,
        stream: TcpStream,
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
/// How long a client that is turned away may take to read why.
const TURN_AWAY: Duration = Duration::from_secs(1);

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

/// Has the workers accept from `listener` until the proxy drains.
///
/// # Errors
/// When the socket cannot be shared with a worker.
pub fn start<P: Port>(
    proxy: &Arc<Proxy>,
    listener: TcpListener,
    places: &Arc<Semaphore>,
    workers: &Arc<Workers>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let listener = listener.into_std()?;
    let accept_on = |runtime: &Handle| {
        let own = listener.try_clone()?;
        // Where it is entered is where the socket's events arrive.
        let _entered = runtime.enter();
        let acceptor = Acceptor {
            proxy: Arc::clone(proxy),
            listener: TcpListener::from_std(own)?,
            places: Arc::clone(places),
            workers: Arc::downgrade(workers),
        };
        Ok(runtime.spawn(acceptor.run::<P>()))
    };
    workers.acceptors().map(accept_on).collect()
}

/// A worker's end of the listening socket.
struct Acceptor {
    proxy: Arc<Proxy>,
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// It runs on one of them, so it must not be what keeps them.
    workers: Weak<Workers>,
}

impl Acceptor {
    async fn run<P: Port>(self) {
        let draining = self.proxy.draining.clone();
        draining.run_until_cancelled(self.accept_all::<P>()).await;
    }

    async fn accept_all<P: Port>(&self) {
        for number in 1.. {
            let accepted = self.listener.accept().await;
            let Some(workers) = self.workers.upgrade() else {
                return;
            };
            let placed = accepted.and_then(|(stream, _)| self.place::<P>(stream, &workers));
            if let Err(error) = placed {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            if number % AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }

    /// Has the connection served, here or by another worker.
    fn place<P: Port>(&self, stream: TcpStream, workers: &Workers) -> io::Result<()> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let proxy = Arc::clone(&self.proxy);
        let tasks = &self.proxy.tasks;
        let chosen = workers.choose();
        let load = chosen.load;
        if chosen.is_caller {
            tasks.spawn(admit::<P>(proxy, stream, place, load));
            return Ok(());
        }
        // Its events are to arrive where it is served.
        let stream = stream.into_std()?;
        let moved = async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                admit::<P>(proxy, stream, place, load).await;
            }
        };
        tasks.spawn_on(moved, chosen.handle);
        Ok(())
    }
}

async fn admit<P: Port>(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    place: Result<OwnedSemaphorePermit, TryAcquireError>,
    load: Load,
) {
    // Small writes followed by waits: with Nagle each would cost 40 ms.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match place {
        Ok(place) => {
            let slot = Slot::new(place, load);
            P::serve(proxy, stream, slot).await;
        }
        Err(_) => turn_away(&proxy, stream).await,
    }
}

/// Past the limit the answer is quick and costs nothing but itself.
async fn turn_away(proxy: &Proxy, mut stream: TcpStream) {
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
        stream.shutdown().await
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
