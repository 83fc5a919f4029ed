//! Who asks, and what there is for that user at this moment.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::admin::caller::Caller;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::vault::access::Scope;
use crate::vault::{Actor, Registrar, Sight};

/// A request of somebody who is known, and what that user may know of.
pub struct Asked {
    /// Who asks.
    pub caller: Caller,
    /// What there is.
    pub sight: Sight,
    /// What the admin side may reach.
    pub context: AdminContext,
}

impl FromRequestParts<AdminContext> for Asked {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let caller = <Caller as FromRequestParts<_>>::from_request_parts(parts, context).await?;
        let sight = look(&caller, context).await?;
        Ok(Self {
            caller,
            sight,
            context: context.clone(),
        })
    }
}

async fn look(caller: &Caller, context: &AdminContext) -> Result<Sight, AdminProblem> {
    let sight = context.services().reader.look(&caller.user).await?;
    // A token that may only read sees what is the user's own, and what is shared.
    Ok(if caller.scope < Scope::Audit {
        sight.of_own()
    } else {
        sight
    })
}

impl Asked {
    /// For the rights that are checked in the transaction of a change, and for the ledger.
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// What makes a change, which the caller may ask for.
    pub fn change(&self) -> Result<Registrar, AdminProblem> {
        self.caller.demand(Scope::Manage)?;
        Ok(self.context.registrar())
    }

    /// Puts a change in force and on record, and looks again.
    pub async fn after_change(&self) -> Result<Sight, AdminProblem> {
        settle(&self.context).await?;
        look(&self.caller, &self.context).await
    }
}

/// Puts a change in force and on record, before it is answered.
pub async fn settle(context: &AdminContext) -> Result<(), AdminProblem> {
    let settled = context.services().recorder.follow().await;
    settled.map_err(|_| {
        AdminProblem::because(
            Trouble::StoreUnavailable,
            "The change is made, but the store cannot be read again. Look before you rely on it.",
        )
    })
}
