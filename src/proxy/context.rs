//! What every request needs: the parts of the proxy, and the settings that a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::changes::Changes;
use crate::config::Config;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::outbound::upstream::Upstream;
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::limits::HeadLimits;
use crate::tls::leaf::LeafCache;
use crate::vault::Vault;

/// Everything that a request needs, put together by [`crate::app`].
pub struct Proxy {
    /// What a reload exchanges. A request takes it once and keeps it to its end.
    pub settings: ArcSwap<Settings>,
    /// The credentials.
    pub vault: Arc<Vault>,
    /// The usage record.
    pub ledger: Ledger,
    /// The certificates shown to clients.
    pub leaves: Arc<LeafCache>,
    /// Cancelled when the proxy begins to drain.
    pub draining: CancellationToken,
    /// Every connection and tunnel, for the drain to wait for.
    pub tasks: TaskTracker,
    /// Follows what other processes change in the store.
    pub changes: Changes,
    /// What must not come back.
    pub needle_cache: NeedleCache,
    /// Numbers the requests.
    pub ids: RequestIds,
    /// Counts the answers.
    pub counters: Arc<Counters>,
}

/// The part of the proxy that a reload replaces as a whole.
pub struct Settings {
    /// The configuration in force.
    pub config: Config,
    /// Who may ask, under `proxy.require_auth`.
    pub identity: Identity,
    /// The way out under the configured addresses and roots.
    pub upstream: Upstream,
}

impl Settings {
    /// The bounds that a client's connection is read under.
    pub fn head_limits(&self) -> HeadLimits {
        let proxy = &self.config.proxy;
        HeadLimits {
            bytes: proxy.max_header_bytes,
            headers: proxy.max_headers,
            head_timeout: proxy.header_timeout,
            idle_timeout: proxy.idle_timeout,
        }
    }
}
