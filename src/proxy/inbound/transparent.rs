//! Connections of clients that know of no proxy: they were made to some other address, and arrived here.
//!
//! The client names its destination itself, in the TLS server name or in `Host`, and of the address
//! it meant only the port is used. A destination is looked up and dialled as any other: what the
//! client took for its address is never dialled. A connection that names none is closed.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use tokio::time::timeout;

use crate::identity::Presented;
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::Proxy;
use crate::proxy::inbound::connect::is_passthrough;
use crate::proxy::inbound::destination::check_port;
use crate::proxy::inbound::entry::{Entry, PresentedIdentity, TransparentEntry};
use crate::proxy::inbound::http2;
use crate::proxy::inbound::service::Service;
use crate::proxy::inbound::tunnel::{self, ClientStream, Rewound, TLS_HANDSHAKE, Tunnel};
use crate::proxy::runtime::measures::{Handshake, Kind, Side, measures};
use crate::proxy::runtime::pacing::paced;
use crate::proxy::runtime::read_ahead::ReadAhead;
use crate::proxy::runtime::slot::ConnectionSlot;
use crate::tls::server::intercept;

/// A connection that was made to another address.
pub struct Redirected {
    /// The address that the client meant.
    pub original: SocketAddr,
    /// For whom the listener vouches.
    pub holder: Option<Arc<Presented>>,
    /// Counts the connection until it ends.
    pub slot: ConnectionSlot,
}

/// Serves the connection to its end.
pub async fn serve<A: Service>(proxy: Arc<Proxy>, stream: ClientStream, redirected: Redirected) {
    let _open = measures().open(Kind::Transparent);
    let mut stream = Rewound::new(stream, BytesMut::new());
    let handshake = proxy.settings.load().config.proxy.handshake_timeout;
    let draining = proxy.draining.child_token();
    let first = timeout(handshake, stream.first_byte());
    let first = draining.run_until_cancelled(first).await;
    match first {
        Some(Ok(Ok(TLS_HANDSHAKE))) => Box::pin(run_tls::<A>(proxy, stream, redirected)).await,
        // Anything that can begin a method. Whether it is HTTP the head guard finds out.
        Some(Ok(Ok(b'A'..=b'Z' | b'a'..=b'z'))) => {
            Box::pin(run_plain::<A>(proxy, stream, redirected, handshake)).await;
        }
        Some(Ok(Ok(_))) => tracing::info!(
            port = redirected.original.port(),
            "a connection was closed: neither TLS nor HTTP, so it names no destination"
        ),
        Some(Err(_)) => tracing::info!(
            port = redirected.original.port(),
            "a connection was closed: nothing came through it in time"
        ),
        Some(Ok(Err(_))) | None => {}
    }
}

async fn run_tls<A: Service>(proxy: Arc<Proxy>, stream: Rewound, redirected: Redirected) {
    let settings = proxy.settings.load_full();
    let limits = &settings.config.proxy;
    let identity = PresentedIdentity::of_listener(redirected.holder.as_deref());
    // Who may not ask is told so inside.
    let client = identity.caller(&settings, &HeaderMap::new()).ok();
    let client = client.map(|caller| caller.client);
    let accepted = Box::pin(async {
        let stream = ReadAhead::new(stream);
        let accepted = intercept(stream, None, &proxy.leaves, client.as_ref());
        paced(pin!(accepted), tunnel::PATIENCE).await
    });
    let accepted = timeout(limits.handshake_timeout, accepted).await;
    measures().shaken(Side::Client, Handshake::of(&accepted));
    let accepted = match accepted {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return tracing::info!("a connection was closed: {error}"),
        Err(_) => return tracing::info!("a connection was closed: its TLS handshake stalled"),
    };
    let Some(host) = accepted.server_name.clone() else {
        return;
    };
    let destination = Destination {
        scheme: Scheme::Https,
        host,
        port: redirected.original.port(),
    };
    if check_port(&limits.connect_ports, &destination).is_err() {
        return tracing::info!(%destination, "a connection was closed: its port is refused");
    }
    if is_passthrough(&settings, &destination) {
        // What the operator does not want opened is not opened, and here it cannot be passed on.
        return tracing::info!(%destination, "a connection was closed: see tls.passthrough");
    }
    let tunnel = Tunnel {
        destination,
        identity,
        client: client.unwrap_or_default(),
        slot: redirected.slot,
    };
    tunnel::speak::<A>(proxy, tunnel, accepted).await;
}

async fn run_plain<A: Service>(
    proxy: Arc<Proxy>,
    mut stream: Rewound,
    redirected: Redirected,
    deadline: Duration,
) {
    let begins: Result<io::Result<bool>, _> =
        timeout(deadline, stream.begins_with(http2::PREFACE)).await;
    let Ok(Ok(is_http2)) = begins else {
        return;
    };
    let entry = Entry::Transparent(TransparentEntry {
        port: redirected.original.port(),
        holder: redirected.holder,
        _slot: redirected.slot,
    });
    if is_http2 {
        http2::serve::<A, _>(proxy, stream, entry).await;
    } else {
        let (io, early) = stream.into_parts();
        tunnel::serve::<A, _>(proxy, io, early, entry).await;
    }
}
