//! Keeps which authority each client accepted and refused, for commands and the next start.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::disk::on_disk;
use crate::clock::unix_seconds;
use crate::files;
use crate::proxy::context::Proxy;
use crate::tls::acceptance;
use crate::vault::name::NAMELESS;
use crate::vault::{ClientName, Vault};

/// How often it is looked whether there is something to write.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reads what was written before, and writes what is new, until it is aborted.
pub(super) async fn keep(proxy: Arc<Proxy>) {
    let data_dir = proxy.settings.load().config.data_dir.clone();
    let read = on_disk(move || acceptance::read(&data_dir)).await;
    match read.and_then(|read| read.context(files::CA_CLIENTS)) {
        Ok(written) => proxy.leaves.clients().recall(written),
        Err(error) => tracing::warn!(
            "what is known of the authorities that clients accepted is lost: {error:#}"
        ),
    }
    let mut was_written = true;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let written = write(&proxy).await;
        if let (Err(error), true) = (&written, was_written) {
            tracing::warn!("the authorities that clients accepted cannot be written: {error:#}");
        }
        was_written = written.is_ok();
    }
}

/// Writes it, if something is new and the disk is not as good as full.
///
/// # Errors
/// When the disk does not take it. It is tried again.
pub(super) async fn write(proxy: &Proxy) -> Result<()> {
    let (clients, now) = (proxy.leaves.clients(), unix_seconds());
    let data_dir = proxy.settings.load().config.data_dir.clone();
    if files::is_disk_full(&data_dir) {
        return Ok(());
    }
    let Some(news) = clients.news(|name| is_there(&proxy.vault, name, now)) else {
        return Ok(());
    };
    let written = on_disk(move || acceptance::write(&data_dir, &news)).await;
    let written = written.and_then(|written| written.context(files::CA_CLIENTS));
    if written.is_err() {
        clients.is_not_written();
    }
    written
}

/// Whether there is such a client still: each `egret run` has one of its own, which goes with it. Those of
/// issuers are in no store.
fn is_there(vault: &Vault, name: &str, now: i64) -> bool {
    match ClientName::parse(name) {
        Ok(registered) => NAMELESS.contains(&name) || vault.client(&registered, now).is_some(),
        Err(_) => true,
    }
}
