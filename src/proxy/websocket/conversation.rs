//! What both directions of a conversation know.

use std::io;
use std::ptr;
use std::sync::{Arc, Weak};

use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::egress;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::used::Used;
use crate::proxy::runtime::idle::Activity;
use crate::proxy::runtime::signal::InFlight;

/// Says who asked for the connection. Asked again for every message that uses a credential, because
/// tokens expire and clients are removed.
pub trait Identify: Send + Sync {
    /// The caller, as of now.
    fn caller(&self, settings: &Arc<Settings>) -> Result<Arc<Caller>, Refusal>;

    /// The caller as of when the connection began, if nobody took it back since: a removed client, a
    /// revoked token, a disabled user. A token whose time is over ends no conversation.
    fn first_caller(&self, settings: &Settings) -> Result<Caller, Refusal>;
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

    /// Whether the conversation may go on, although neither side uses a credential: its client may have
    /// been removed, or may not go there any more. `standing` is what was found before.
    pub async fn check(&self, standing: &mut Standing) -> Result<(), Refusal> {
        let proxy = &self.proxy;
        // A store that cannot be read takes nothing away. What needs it is refused where it does.
        if proxy
            .changes
            .follow(&proxy.vault, &proxy.ledger)
            .await
            .is_err()
        {
            return Ok(());
        }
        let settings = proxy.settings.load();
        // Before the clients are looked at: what changes meanwhile is looked at once more.
        let generation = proxy.vault.generation();
        if standing.holds(&settings, generation) {
            return Ok(());
        }
        let caller = self.asker.identity.first_caller(&settings)?;
        if caller.principal != self.context.caller.principal {
            return Err(other_principal());
        }
        self.check_egress(&settings, &self.context).await?;
        *standing = Standing {
            settings: Arc::downgrade(&settings),
            generation: Some(generation),
        };
        Ok(())
    }

    /// Asks once more where the caller may go.
    pub async fn check_egress(
        &self,
        settings: &Settings,
        context: &RequestContext,
    ) -> Result<(), Refusal> {
        let operator = &settings.config.egress.rules;
        let (vault, to) = (&self.proxy.vault, &context.destination);
        if let Some(egress) = egress::rules(operator, vault, &context.caller, to)?
            && let Err(refused) = egress::check_again(&self.needles(), context, &egress)
        {
            return Err(refused.record(&self.proxy.ledger, &context.id).await);
        }
        Ok(())
    }
}

/// What a conversation was last let go on under.
#[derive(Default)]
pub struct Standing {
    settings: Weak<Settings>,
    generation: Option<u64>,
}

impl Standing {
    fn holds(&self, settings: &Arc<Settings>, generation: u64) -> bool {
        ptr::eq(self.settings.as_ptr(), Arc::as_ptr(settings))
            && self.generation == Some(generation)
    }
}

/// The refusal where a token stands for somebody else by now.
pub fn other_principal() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "the token stands for somebody else than when the connection began; open another",
    )
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
