//! A plan against a store, and its carrying out: all of it in one transaction, or none.

use super::plan::{Plan, plan};
use super::state::{Desired, InvalidFile, Present};
use super::step::Step;
use crate::vault::egress::{EgressChange, EgressEntry};
use crate::vault::registrar::{Registrar, RegistrarError};
use crate::vault::{Actor, StoreError, StoreUnavailable};
use crate::views;

/// What a file would change, and of which state of the store.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    revision: i64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file names something by what is no name.
    #[error(transparent)]
    Invalid(#[from] InvalidFile),
    /// The store cannot be read.
    #[error(transparent)]
    Unavailable(#[from] StoreUnavailable),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The state is not the one that was planned for, or the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step was refused.
    #[error("nothing is changed: {step}")]
    Step {
        /// The step, in words.
        step: String,
        /// Why.
        source: RegistrarError,
    },
}

/// What the store of `registrar` holds, and of which revision that is.
///
/// # Errors
/// When it cannot be read.
pub async fn present(registrar: &Registrar) -> Result<(Present, i64), StoreUnavailable> {
    let (revision, directory, listing) = registrar.everything().await?;
    Ok((Desired::of(&directory, &listing), revision))
}

impl Planned {
    /// The plan for the store of `registrar`.
    ///
    /// # Errors
    /// When the file says what no store can hold, or the store cannot be read.
    pub async fn of(registrar: &Registrar, desired: &Desired) -> Result<Self, PlanError> {
        let (present, revision) = present(registrar).await?;
        Ok(Self {
            plan: plan(desired, &present)?,
            revision,
        })
    }

    /// Of which revision of the store it is.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Carries it out, if the store has the revision that was planned for, or `seen` if that is given.
    ///
    /// # Errors
    /// When it has another one, or a step is refused: then nothing is changed.
    pub async fn make(
        &self,
        registrar: &Registrar,
        actor: &Actor,
        seen: Option<i64>,
    ) -> Result<(), ApplyError> {
        let revision = seen.unwrap_or(self.revision);
        let registrar = registrar.together(actor, Some(revision)).await?;
        for step in &self.plan.steps {
            let made = step.make(&registrar, actor).await;
            made.map_err(|source| ApplyError::Step {
                step: step.to_string(),
                source,
            })?;
        }
        Ok(registrar.finish(actor).await?)
    }

    /// What it does to the rules about where clients may go.
    pub fn egress(&self, now: i64) -> EgressChange {
        let mut change = EgressChange::default();
        for step in &self.plan.steps {
            match step {
                Step::AddRule(subject, rule) => change.added.push(EgressEntry {
                    subject: subject.clone(),
                    rule: rule.clone(),
                    created: now,
                }),
                Step::RemoveRule(number, _, _) => change.removed.push(*number),
                _ => {}
            }
        }
        change
    }

    /// What is shown of it.
    pub fn view(&self, applied: bool) -> views::Plan {
        views::Plan {
            applied,
            revision: self.revision,
            steps: self.plan.steps.iter().map(ToString::to_string).collect(),
            missing: self.plan.missing.clone(),
            unmanaged: self.plan.unmanaged.clone(),
            remarks: self.plan.remarks.clone(),
        }
    }
}
