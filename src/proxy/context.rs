//! What every request needs: the parts of the proxy, and the settings that a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::changes::Changes;
use crate::config::Config;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::proxy::exchange::egress::Observer;
use crate::proxy::exchange::health::CredentialHealth;
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::exchange::spool::SpoolSpace;
use crate::proxy::exchange::use_gate::UseGate;
use crate::proxy::outbound::upstream::Upstream;
use crate::proxy::outbound::way::Way;
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::fair_share::FairShares;
use crate::proxy::runtime::limits::HeadLimits;
use crate::proxy::runtime::seen::SeenCounts;
use crate::scrub::Needles;
use crate::tls::leaf::LeafCache;
use crate::tls::listener::ListenerTls;
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
    /// Cancelled when another process takes over, long before the proxy drains: connections are accepted
    /// there, and requests are answered here with the word that the connection ends.
    pub leaving: CancellationToken,
    /// Cancelled when the proxy begins to drain.
    pub draining: CancellationToken,
    /// Cancelled when what has no end of its own has to end: WebSockets and tunnels that are not looked
    /// into. They go on while the proxy drains.
    pub ending: CancellationToken,
    /// Every connection and tunnel, for the drain to wait for.
    pub tasks: TaskTracker,
    /// Follows what other processes change in the store.
    pub changes: Changes,
    /// Where large request bodies are kept until they were searched.
    pub spool: Arc<SpoolSpace>,
    /// What must not come back.
    pub needle_cache: NeedleCache,
    /// Numbers the requests.
    pub ids: RequestIds,
    /// Where clients went while that was only observed.
    pub destinations_seen: SeenCounts,
    /// What uses with a condition pass.
    pub gate: Arc<UseGate>,
    /// Whether upstreams take the credentials.
    pub health: Arc<CredentialHealth>,
    /// What is under way, by client.
    pub fair_shares: FairShares,
    /// Which keys clients brought that Egret does not hold.
    pub own_keys_seen: SeenCounts,
    /// Counts the answers.
    pub counters: Arc<Counters>,
}

impl Proxy {
    /// Where it is kept what was refused, or let through while that was only observed.
    pub fn egress_observer<'a>(&'a self, needles: &'a Needles) -> Observer<'a> {
        Observer {
            needles,
            ledger: &self.ledger,
            counters: &self.counters,
            seen: &self.destinations_seen,
        }
    }
}

/// The part of the proxy that a reload replaces as a whole.
pub struct Settings {
    /// The configuration in force.
    pub config: Config,
    /// Who may ask, under `proxy.require_auth`.
    pub identity: Identity,
    /// The way out under the configured addresses and roots.
    pub upstream: Upstream,
    /// The way to what the operator has named.
    pub way: Way,
    /// TLS on the proxy's own listeners, if there are any with TLS.
    pub listener_tls: Option<Arc<ListenerTls>>,
}

impl Settings {
    /// The same with upstream connections of its own.
    pub fn with_new_connections(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            upstream: self.upstream.renewed(),
            way: self.way.clone(),
            listener_tls: self.listener_tls.clone(),
            config: self.config.clone(),
        }
    }

    /// The bounds that a client's connection is read under.
    pub fn head_limits(&self) -> HeadLimits {
        let proxy = &self.config.proxy;
        HeadLimits {
            bytes: proxy.max_header_bytes,
            headers: proxy.max_headers,
            head_timeout: proxy.header_timeout,
            first_timeout: proxy.idle_timeout,
            idle_timeout: proxy.idle_timeout,
            serves_half_closed: true,
        }
    }
}
