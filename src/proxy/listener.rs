//! Accepts connections, as many as allowed.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::head::{HeadGuard, HeadSignal};
use super::http::{self, Door};
use super::{Proxy, respond};
use crate::error::{Code, Refusal};

/// A place among `proxy.max_connections`, held by a connection and by the tunnel it becomes.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// Pause after a failed accept: the usual cause is that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client that is turned away may take to read why.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// Accepts until the proxy drains.
pub async fn run(proxy: Arc<Proxy>, listener: TcpListener, places: Arc<Semaphore>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = proxy.draining.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => accept(&proxy, stream, &places),
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept(proxy: &Arc<Proxy>, stream: TcpStream, places: &Arc<Semaphore>) {
    // Small writes followed by waits: with Nagle each would cost 40 ms.
    let _ = stream.set_nodelay(true);
    match Arc::clone(places).try_acquire_owned() {
        Ok(permit) => {
            let served = serve(Arc::clone(proxy), stream, Arc::new(permit));
            proxy.tasks.spawn(served);
        }
        Err(_) => {
            let id = proxy.ids.next();
            proxy.counters.refuse(Code::Overloaded);
            proxy.tasks.spawn(turn_away(stream, id));
        }
    }
}

async fn serve(proxy: Arc<Proxy>, stream: TcpStream, permit: Permit) {
    let signal = HeadSignal::default();
    let limits = proxy.settings.load().head_limits();
    let guard = HeadGuard::new(stream, BytesMut::new(), limits, signal.clone());
    http::serve(proxy, guard, signal, Door::Proxy(permit)).await;
}

/// Past the limit the answer is quick and costs nothing but itself.
async fn turn_away(mut stream: TcpStream, id: String) {
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
