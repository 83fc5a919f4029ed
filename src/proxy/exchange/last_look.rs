//! The last look before a request is written.
//!
//! Between the decision about a request and its first byte on the wire lie the wait for the disk, and for
//! a connection: up to `ledger.deadline` and `upstream.connect_timeout`. What was revoked meanwhile must
//! not leave any more.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Refusal;
use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::vault::Vault;

/// Whether a request may go where it goes.
pub type MayGo<'a> = dyn Fn(&RequestContext) -> Result<(), Refused> + Sync + 'a;

/// When the first decision about a request was made.
#[derive(Clone, Copy)]
pub struct FirstLook<'a> {
    vault: &'a Vault,
    /// The vault's generation before that.
    generation: u64,
    turns: &'a AtomicU64,
    /// The turn in which it was.
    turn: u64,
}

impl<'a> FirstLook<'a> {
    /// Now. `turns` changes whenever a request of the connection was woken.
    pub fn now(vault: &'a Vault, turns: &'a AtomicU64) -> Self {
        Self {
            vault,
            generation: vault.generation(),
            turns,
            turn: turns.load(Ordering::Relaxed),
        }
    }

    /// Whether anything that is known here has changed since.
    pub fn is_stale(&self) -> bool {
        self.vault.generation() != self.generation
    }

    /// Whether the request has waited for something since.
    fn has_waited(&self) -> bool {
        self.turns.load(Ordering::Relaxed) != self.turn
    }
}

/// Whether what was decided about a request still holds.
#[derive(Clone, Copy)]
pub struct LastLook<'a> {
    first: FirstLook<'a>,
    /// Asks again where the caller may go.
    egress: &'a MayGo<'a>,
}

impl<'a> LastLook<'a> {
    /// For a request about which nothing was decided before the `first` look.
    pub fn after(first: FirstLook<'a>, egress: &'a MayGo<'a>) -> Self {
        Self { first, egress }
    }

    /// Decides again if anything has changed. Nothing of the request has been sent yet; its `use` line
    /// is on record, and its result says how it ended.
    pub async fn check(&self, awaited: &Awaited) -> Result<(), Refusal> {
        if !self.first.has_waited() {
            // No time has passed.
            return Ok(());
        }
        self.first.vault.refresh().await?;
        if !self.first.is_stale() {
            return Ok(());
        }
        let context = awaited.outcome.context();
        (self.egress)(context).map_err(refusal)?;
        // In a box: hardly any request comes here.
        let decided = Box::pin(awaited.decided.check(context, self.first.vault));
        decided.await.map_err(refusal)
    }
}

fn refusal(refused: Refused) -> Refusal {
    refused.refusal
}
