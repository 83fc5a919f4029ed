//! The proxy inside an `egret run`: its configuration and its end.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::app::{Server, ServerFile};
use crate::config::Config;

/// Time for requests that are under way when the program has ended: those of another `egret run`,
/// or our own program's, whose results belong into the ledger.
const DRAIN: Duration = Duration::from_secs(3);

/// Time for tunnels of another `egret run` that were opened a moment ago to say what they want.
const HANDOVER: Duration = Duration::from_millis(250);

/// The configuration for a server inside this command: on ports that nobody else wants, and closed
/// to whoever finds them.
pub(super) fn config(config: &Config) -> Config {
    let mut config = config.clone();
    config.proxy.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.admin.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.proxy.require_auth = true;
    config
}

/// Ends a proxy of ours. Others go elsewhere as soon as the file no longer names it, so what they
/// have begun can be finished and nothing new comes.
pub(super) async fn shutdown(server: Server, config: &Config, shared: bool) {
    if shared && ServerFile::remove(&config.data_dir).is_ok() {
        tokio::time::sleep(HANDOVER).await;
    }
    server.shutdown(DRAIN).await;
}
