//! What both directions of a conversation know.

use std::io;
use std::sync::Arc;

use crate::error::Refusal;
use crate::identity::Caller;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::used::Used;
use crate::proxy::runtime::idle::Activity;
use crate::proxy::runtime::signal::InFlight;

/// Says who asked for the connection. Asked again for every message that uses a credential, because
/// tokens expire and clients are removed.
pub trait Identify: Send + Sync {
    /// The caller, as of now.
    fn caller(&self, settings: &Arc<Settings>) -> Result<Arc<Caller>, Refusal>;
}

/// Who asked for the connection.
pub struct Asker {
    /// The client, with what it showed. Counts the connection as long as it lives.
    pub identity: Box<dyn Identify>,
    /// Keeps a connection that it shares with others from counting as idle.
    pub in_flight: InFlight,
}

/// What both directions know of the connection.
pub struct Conversation {
    pub proxy: Arc<Proxy>,
    pub asker: Asker,
    pub context: Arc<RequestContext>,
    pub used: Arc<Used>,
}

impl Conversation {
    /// One side has sent something.
    pub fn moved(&self, activity: &Activity) {
        activity.touch();
        self.asker.in_flight.moved();
    }
}

/// Why a message goes no further.
pub enum Stop {
    /// It is not let through.
    Refused(Refusal),
    /// The other side has gone.
    Gone,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
