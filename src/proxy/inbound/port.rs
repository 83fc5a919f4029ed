//! The proxy's own port: clients that know of the proxy, and name their destination in the request.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::proxy::context::Proxy;
use crate::proxy::inbound::entry::Entry;
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::inbound::http1;
use crate::proxy::inbound::listener::Port;
use crate::proxy::inbound::requests::Requests;
use crate::proxy::runtime::signal::HeadSignal;
use crate::proxy::runtime::slot::ConnectionSlot;

/// See the module.
pub struct ProxyPort;

impl Port for ProxyPort {
    async fn serve(proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        let signal = HeadSignal::default();
        let limits = proxy.settings.load().head_limits();
        let guard = HeadGuard::new(stream, BytesMut::new(), limits, signal.clone());
        http1::serve::<Requests, _>(proxy, guard, signal, Entry::Proxy(slot)).await;
    }
}
