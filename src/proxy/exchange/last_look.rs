//! The last look before a request is written.
//!
//! Between the decision about a request and its first byte on the wire lie the wait for the disk, and for
//! a connection: up to `ledger.deadline` and `upstream.connect_timeout`. What was revoked meanwhile must
//! not leave any more.

use crate::error::Refusal;
use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::vault::Vault;

/// Whether a request may go where it goes.
pub type MayGo<'a> = dyn Fn(&RequestContext) -> Result<(), Refused> + Sync + 'a;

/// Whether what was decided about a request still holds.
#[derive(Clone, Copy)]
pub struct LastLook<'a> {
    vault: &'a Vault,
    /// The vault's generation before the first decision about the request.
    generation: u64,
    /// Asks again where the caller may go.
    egress: &'a MayGo<'a>,
}

impl<'a> LastLook<'a> {
    /// For a request about which nothing was decided before `generation`.
    pub fn new(vault: &'a Vault, generation: u64, egress: &'a MayGo<'a>) -> Self {
        Self {
            vault,
            generation,
            egress,
        }
    }

    /// Decides again if anything has changed. Nothing of the request has been sent yet; its `use` line
    /// is on record, and its result says how it ended.
    pub async fn check(&self, awaited: &Awaited) -> Result<(), Refusal> {
        self.vault.refresh().await?;
        if self.vault.generation() == self.generation {
            return Ok(());
        }
        let context = awaited.outcome.context();
        (self.egress)(context).map_err(refusal)?;
        // In a box: hardly any request comes here.
        let decided = Box::pin(awaited.decided.check(context, self.vault));
        decided.await.map_err(refusal)
    }
}

fn refusal(refused: Refused) -> Refusal {
    refused.refusal
}
