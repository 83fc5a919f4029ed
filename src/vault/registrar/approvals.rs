//! Answers of owners who are asked about a use.

use super::Registrar;
use crate::vault::approval::{Approval, Verdict};
use crate::vault::name::Actor;
use crate::vault::store::StoreError;

impl Registrar {
    /// Answers a question, for the owner of the credential. Returns what was asked.
    pub async fn answer_approval(
        &self,
        actor: &Actor,
        id: &str,
        verdict: Verdict,
    ) -> Result<Approval, StoreError> {
        self.store.answer_approval(actor, id, verdict).await
    }

    /// Takes a lasting yes back, or a question away.
    pub async fn remove_approval(&self, actor: &Actor, id: &str) -> Result<(), StoreError> {
        self.store.remove_approval(actor, id).await
    }
}
