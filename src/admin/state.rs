//! What the admin side knows of the server.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ledger::LedgerProbe;
use crate::proxy::runtime::counters::Counters;
use crate::vault::StoreProbe;
use crate::views::Readiness;

/// What the admin side knows of the server. Nothing in it can open a value or write to the ledger,
/// so whoever takes over the admin side cannot either.
pub struct AdminState {
    /// Tells whether the store can be read.
    pub store: StoreProbe,
    /// Tells whether the ledger can be written, and what it has counted.
    pub ledger: LedgerProbe,
    /// How requests were answered.
    pub counters: Arc<Counters>,
    /// Every connection and tunnel of the proxy.
    pub connections: TaskTracker,
    /// Cancelled when the proxy begins to drain.
    pub draining: CancellationToken,
}

impl AdminState {
    /// Whether the proxy can serve a request that uses a credential.
    pub(super) async fn readiness(&self) -> Readiness {
        Readiness {
            proxy: !self.draining.is_cancelled(),
            store: self.store.is_current().await,
            ledger: self.ledger.is_healthy(),
        }
    }
}
