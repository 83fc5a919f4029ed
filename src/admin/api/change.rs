//! Changes to what a path names: it is found, compared with what the caller saw, changed, and shown as
//! it is then.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::asked::Asked;
use super::condition::IfMatch;
use super::request::Names;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::vault::store::{Condition, ObjectName};
use crate::vault::{Actor, Registrar, Sight};

/// The names in a path.
pub trait Place: DeserializeOwned + Send {
    /// What they lead to.
    type Thing: Thing;

    /// Finds it, if the caller may know of it.
    ///
    /// # Errors
    /// `not_found`.
    fn find(&self, asked: &Asked) -> Result<Self::Thing, AdminProblem>;
}

/// Something that has an entity tag.
pub trait Thing: Send + Sync {
    /// What the store calls it.
    fn object(&self) -> ObjectName;

    /// Which revision it has.
    fn revision(&self, sight: &Sight) -> Option<i64> {
        sight.revision(&self.object())
    }

    /// What it is like, as the viewer sees it.
    fn show(
        &self,
        sight: &Sight,
        context: &AdminContext,
    ) -> impl Future<Output = Result<Answer, AdminProblem>> + Send;
}

/// A change that the caller may ask for, to something that is as the caller saw it.
pub struct Change<P: Place> {
    /// Who asks, and what there is.
    pub asked: Asked,
    /// The names in the path.
    pub place: P,
    /// What they lead to.
    pub thing: P::Thing,
    /// What has to hold when the change is made.
    pub seen: Option<Condition>,
    /// Makes the change, if the thing is still as it was seen.
    pub registrar: Registrar,
}

impl<P: Place> FromRequestParts<AdminContext> for Change<P> {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let asked = Asked::from_request_parts(parts, context).await?;
        let Names(place) = Names::<P>::from_request_parts(parts, context).await?;
        let seen = IfMatch::from_request_parts(parts, context).await?;
        let thing = place.find(&asked)?;
        let revision = thing.revision(&asked.sight);
        let revision = revision.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
        let registrar = asked.change()?;
        let seen = seen.condition(thing.object(), revision)?;
        let registrar = match &seen {
            Some(condition) => registrar.when(condition.clone()),
            None => registrar,
        };
        Ok(Self {
            asked,
            place,
            thing,
            seen,
            registrar,
        })
    }
}

impl<P: Place> Change<P> {
    /// For the rights that are checked in the transaction of the change, and for the ledger.
    pub fn actor(&self) -> Actor {
        self.asked.actor()
    }

    /// Demands a fresh proof of who asks, for what widens.
    ///
    /// # Errors
    /// When there is none.
    pub fn demand_fresh(&self) -> Result<(), AdminProblem> {
        self.asked.caller.demand_fresh()
    }

    /// The answer to a change that was made: what the thing is like now.
    ///
    /// # Errors
    /// When the change cannot be read back.
    pub async fn done(&self) -> Result<Answer, AdminProblem> {
        let sight = self.asked.after_change().await?;
        self.thing.show(&sight, &self.asked.context).await
    }

    /// The answer to a change after which there is nothing.
    ///
    /// # Errors
    /// When the change cannot be read back.
    pub async fn gone(&self) -> Result<Answer, AdminProblem> {
        self.asked.after_change().await?;
        Ok(Answer::gone())
    }
}
