//! What the admin side knows of the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ledger::LedgerProbe;
use crate::proxy::exchange::health::CredentialHealth;
use crate::proxy::runtime::counters::Counters;
use crate::tls::leaf::LeafCache;
use crate::vault::StoreProbe;
use crate::views::Readiness;

/// What the admin side knows of the server. Nothing in it can open a value or write to the ledger,
/// so an attacker who takes over the admin side cannot either.
pub struct AdminState {
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// Tells whether the store can be read.
    pub store: StoreProbe,
    /// Tells whether the ledger can be written, and what it has counted.
    pub ledger: LedgerProbe,
    /// How requests were answered.
    pub counters: Arc<Counters>,
    /// Which credentials upstreams refuse.
    pub health: Arc<CredentialHealth>,
    /// Every connection and tunnel of the proxy.
    pub connections: TaskTracker,
    /// Cancelled when the proxy begins to drain.
    pub draining: CancellationToken,
    /// Cancelled when another process has taken the listeners.
    pub followed: CancellationToken,
    /// The authority, to say until when it is valid and when another one takes over.
    pub leaves: Arc<LeafCache>,
    /// How the process is.
    pub process: fn() -> ProcessState,
}

/// How the process is, as far as the system tells; 0 for what it does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessState {
    /// Locked memory for values, in bytes.
    pub locked: usize,
    /// No more could be locked.
    pub is_lock_exhausted: bool,
    /// When it started, in microseconds since 1970.
    pub started_micros: i64,
    /// Memory that is not swapped out, in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub open_files: usize,
    /// How many there can be.
    pub most_files: u64,
    /// Time on a core.
    pub cpu: Duration,
}

impl AdminState {
    /// Whether the proxy can serve a request that uses a credential.
    pub(super) async fn readiness(&self) -> Readiness {
        Readiness {
            proxy: !self.draining.is_cancelled(),
            store: self.store.is_current().await,
            ledger: self.ledger.is_ready(),
        }
    }
}
