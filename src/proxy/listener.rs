//! Accepts connections, as many as allowed, and gives them to the workers.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::door::Door;
use super::head::{HeadGuard, HeadSignal};
use super::http;
use super::workers::{Load, Workers};
use super::{Proxy, respond};
use crate::error::{Code, Refusal};

/// A place among `proxy.max_connections` and among the connections of a worker, held by a connection
/// and by the tunnel it becomes.
pub type Permit = Arc<Place>;

/// See [`Permit`].
pub struct Place {
    _among_all: OwnedSemaphorePermit,
    _on_its_worker: Load,
}

/// Pause after a failed accept: the usual cause is that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client that is turned away may take to read why.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// Accepts until the proxy drains.
pub async fn run(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    places: Arc<Semaphore>,
    workers: Arc<Workers>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = proxy.draining.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => accept(&proxy, stream, &places, &workers),
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept(proxy: &Arc<Proxy>, stream: StdStream, places: &Arc<Semaphore>, workers: &Workers) {
    let place = Arc::clone(places).try_acquire_owned();
    let shared = Arc::clone(proxy);
    workers.spawn(&proxy.tasks, |load| async move {
        let Ok(stream) = adopt(stream) else {
            return;
        };
        match place {
            Ok(place) => {
                let permit = Arc::new(Place {
                    _among_all: place,
                    _on_its_worker: load,
                });
                serve(shared, stream, permit).await;
            }
            Err(_) => turn_away(&shared, stream).await,
        }
    });
}

/// Makes the stream one of the calling worker's.
fn adopt(stream: StdStream) -> io::Result<TcpStream> {
    // Small writes followed by waits: with Nagle each would cost 40 ms.
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

async fn serve(proxy: Arc<Proxy>, stream: TcpStream, permit: Permit) {
    let signal = HeadSignal::default();
    let limits = proxy.settings.load().head_limits();
    let guard = HeadGuard::new(stream, BytesMut::new(), limits, signal.clone());
    http::serve(proxy, guard, signal, Door::Proxy(permit)).await;
}

/// Past the limit the answer is quick and costs nothing but itself.
async fn turn_away(proxy: &Proxy, mut stream: TcpStream) {
    let id = proxy.ids.next();
    proxy.counters.refuse(Code::Overloaded);
    let refusal = Refusal::new(
        Code::Overloaded,
        "the proxy has as many connections as proxy.max_connections allows; try again later",
    );
    let answer = respond::refuse_bytes(&refusal, &id);
    // The client may be gone already; there is nobody else to tell.
    let _ = timeout(TURN_AWAY, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}
