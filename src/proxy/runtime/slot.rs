//! A connection's place among all that may be open.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::proxy::runtime::workers::Load;

/// A place among `proxy.max_connections` and among the connections of a worker, held by a connection
/// and by the tunnel it becomes.
pub type ConnectionSlot = Arc<Slot>;

/// See [`ConnectionSlot`].
pub struct Slot {
    _among_all: OwnedSemaphorePermit,
    _on_its_worker: Load,
}

impl Slot {
    /// A place that was taken in both.
    pub fn new(among_all: OwnedSemaphorePermit, on_its_worker: Load) -> ConnectionSlot {
        Arc::new(Self {
            _among_all: among_all,
            _on_its_worker: on_its_worker,
        })
    }
}
