//! What a server is made of that remains where it stops serving for another one, and takes its place again.

use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listeners::Listeners;
use super::parts::Parts;
use super::{alerts, canary, open_files, s3, ship, traces, witness};
use crate::config::Config;
use crate::ledger::usage;
use crate::proxy::inbound::listener::Places;
use crate::proxy::outbound::dial::{Own, OwnAddresses};
use crate::proxy::outbound::way::Way;
use crate::proxy::runtime::workers::Workers;

/// It is kept in memory, and opens no file that may be gone by then.
pub(super) struct Standing {
    pub parts: Parts,
    /// Where nobody is let through the proxy.
    pub own: OwnAddresses,
    pub canary: Arc<TcpListener>,
    pub places: Places,
    /// Cancelled when no request is served any more.
    pub ended: CancellationToken,
    /// Cancelled once no process before this one serves requests any more, and no server of this one from
    /// before it took its place again.
    pub alone: CancellationToken,
    /// Threads of such servers. They are gone once their requests are.
    pub retiring: Vec<Weak<Workers>>,
}

impl Standing {
    /// For the server of a configuration.
    pub async fn of(config: &Config, listeners: &Listeners, parts: Parts) -> Result<Self> {
        let own = OwnAddresses::default();
        let (canary, canary_addr) = canary::bind().await.context("cannot listen on loopback")?;
        let _ = own.set(Own {
            listeners: listeners.addresses(),
            canary: canary_addr,
        });
        let alone = CancellationToken::new();
        alone.cancel();
        Ok(Self {
            parts,
            own,
            canary: Arc::new(canary),
            places: Places::new(open_files::connections(config.proxy.max_connections)),
            ended: CancellationToken::new(),
            alone,
            retiring: Vec::new(),
        })
    }

    /// Begins what a server does with its ledger beside requests, until `closed` is cancelled.
    pub fn begin_beside(
        &self,
        config: &Config,
        way: &Way,
        closed: &CancellationToken,
    ) -> [Result<()>; 6] {
        let ledger = &self.parts.ledger;
        let first_uses = Arc::clone(ledger.first_uses());
        let stop = || closed.clone();
        let kept = usage::keep(config.ledger_dir(), first_uses, stop());
        let stored = s3::start(config, ledger, way.clone(), stop());
        let shipped = ship::start(config, ledger, way.clone(), stop());
        [
            kept.context("cannot start the usage index"),
            alerts::start(config, way.clone(), stop()).context("cannot start the alerts"),
            shipped.context("cannot send the ledger on"),
            stored.context("cannot store the ledger in a bucket"),
            witness::start(config, ledger, way, stop()).context("cannot ask the witnesses"),
            traces::start(config, way.clone(), self.ended.clone()).context("cannot send traces"),
        ]
    }

    /// The threads that still serve requests of before.
    pub fn retired(&self) -> Vec<Arc<Workers>> {
        self.retiring.iter().filter_map(Weak::upgrade).collect()
    }
}
