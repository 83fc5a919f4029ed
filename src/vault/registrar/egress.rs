//! Egress rules: where clients may go.

use super::Registrar;
use crate::policy::egress::EgressRule;
use crate::vault::egress::Subject;
use crate::vault::name::Actor;
use crate::vault::store::StoreError;

impl Registrar {
    /// Adds an egress rule, for administrators. Returns its number.
    pub async fn add_egress(
        &self,
        actor: &Actor,
        subject: &Subject,
        rule: &EgressRule,
    ) -> Result<i64, StoreError> {
        self.store.add_egress(actor, subject, rule).await
    }

    /// Removes an egress rule, also one whose entry was not written by Egret.
    pub async fn remove_egress(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        self.store.remove_egress(actor, number).await
    }
}
