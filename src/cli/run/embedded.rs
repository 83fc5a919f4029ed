//! The proxy inside an `egret run`: its configuration and its end.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::app::{Server, ServerFile};
use crate::config::Config;

/// Time for requests in flight when the program has ended: those of another `egret run`, or of the
/// program itself, whose results belong in the ledger.
const DRAIN: Duration = Duration::from_secs(3);

/// Time for tunnels of another `egret run` that were just opened to send their first request.
const HANDOVER: Duration = Duration::from_millis(250);

/// The configuration for a server inside this command: on free ports, and closed to those who find
/// them.
pub(super) fn config(config: &Config) -> Config {
    let mut config = config.clone();
    config.proxy.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.proxy.tls.listen.clear();
    config.admin.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.proxy.require_auth = true;
    config.proxy.tls.listen.clear();
    config.transparent.listen.clear();
    config.base_url.listen.clear();
    config.base_url.sockets.clear();
    config.base_url.tls_listen.clear();
    config
}

/// Ends the proxy. Another `egret run` connects elsewhere as soon as the server file is removed, so its
/// requests in flight can finish and no new ones come.
pub(super) async fn shutdown(server: Server, config: &Config, shared: bool) {
    if shared && ServerFile::remove(&config.data_dir).is_ok() {
        tokio::time::sleep(HANDOVER).await;
    }
    server.shutdown(DRAIN, false).await;
}
