//! New connections: to a host that is known, resumed, to hosts that nobody asked for before.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{Scale, Signal, Tally, ask, collect, get, open};
use crate::client::Connection;
use crate::origin::PROOF;
use crate::table::Figures;
use crate::target::{COLD_HOSTS, HOST, Route};

/// How TLS begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// A full handshake.
    Full,
    /// With a ticket of the one before.
    Resumed,
    /// With a host that is not known yet.
    Cold,
}

/// Eight at a time.
pub async fn new_connections(route: &Route, scale: Scale, handshake: Handshake) -> Result<Figures> {
    let connector = match handshake {
        Handshake::Resumed => &route.connectors.resuming,
        _ => &route.connectors.full,
    };
    if handshake != Handshake::Cold {
        // The leaf is minted and the origin reached before the clock starts.
        new_connection(route, HOST, connector).await?;
    }
    let tickets = AtomicUsize::new(0);
    let started = Instant::now();
    let worker = || async {
        let mut tally = Tally::default();
        while handshake == Handshake::Cold || started.elapsed() < scale.duration {
            let ticket = tickets.fetch_add(1, Ordering::Relaxed);
            let host = match handshake {
                Handshake::Cold if ticket >= COLD_HOSTS => break,
                Handshake::Cold => format!("h{ticket}.{HOST}"),
                _ => HOST.to_owned(),
            };
            let begun = Instant::now();
            tally.note(begun, new_connection(route, &host, connector).await);
        }
        tally
    };
    let workers = futures_of_eight(worker).await;
    let mut all = Tally::default();
    for tally in workers {
        all.merge(tally);
    }
    Ok(all.figures(started.elapsed()))
}

/// TCP, CONNECT, TLS, one request, the end.
async fn new_connection(route: &Route, host: &str, connector: &TlsConnector) -> Result<()> {
    let mut connection = Connection::tls(route, host, connector).await?;
    let request = get(route, host, true);
    connection.exchange(&request).await?.check(PROOF)
}

/// Connections to all cold hosts, begun at once, beside 1,000 requests/s to a warm one: how long
/// these take until the last of those has had its answer. The rate is that of the cold ones.
pub async fn flood(route: &Arc<Route>, scale: Scale) -> Result<Figures> {
    let request = get(route, HOST, true);
    let signal = Arc::new(Signal::default());
    // On a thread of its own, so that it does not wait for our own side of the handshakes.
    let (own, known) = (Arc::clone(route), Arc::clone(&signal));
    let warm = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let opened = open(&own, 32, &request).await?;
            anyhow::Ok(collect(ask(&known, opened, Some(1_000), request)).await)
        })
    });
    tokio::time::sleep(scale.warmup).await;
    let started = Instant::now();
    signal.recording.store(true, Ordering::Relaxed);
    let mut cold = JoinSet::new();
    for number in 0..COLD_HOSTS {
        let route = Arc::clone(route);
        cold.spawn(async move {
            let mut tally = Tally::default();
            let begun = Instant::now();
            let host = format!("h{number}.{HOST}");
            let exchanged = new_connection(&route, &host, &route.connectors.full);
            tally.note(begun, exchanged.await);
            tally
        });
    }
    let cold = collect(cold).await.figures(started.elapsed());
    signal.stopped.store(true, Ordering::Relaxed);
    let warm = tokio::task::spawn_blocking(move || warm.join()).await?;
    let warm = warm.map_err(|_| anyhow::anyhow!("the warm client's thread"))??;
    let warm = warm.figures(started.elapsed());
    Ok(Figures {
        latency: warm.latency,
        errors: cold.errors + warm.errors,
        ..cold
    })
}

/// Eight of the same at once, on this task: the work of a handshake is the proxy's, not ours.
pub async fn futures_of_eight<T, F: Future<Output = T>>(mut make: impl FnMut() -> F) -> [T; 8] {
    let (a, b, c, d, e, f, g, h) = tokio::join!(
        make(),
        make(),
        make(),
        make(),
        make(),
        make(),
        make(),
        make()
    );
    [a, b, c, d, e, f, g, h]
}
