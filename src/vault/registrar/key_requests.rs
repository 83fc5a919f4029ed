//! Credentials that clients ask for.

use super::Registrar;
use crate::vault::key_request::KeyRequest;
use crate::vault::name::Actor;
use crate::vault::store::StoreError;

impl Registrar {
    /// Asks for a credential. Returns the number of the request; where the same was asked for already,
    /// of that one.
    pub async fn ask_key(&self, actor: &Actor, request: &KeyRequest) -> Result<i64, StoreError> {
        self.store.ask_key(actor, request).await
    }

    /// Says no, for who would own the credential.
    pub async fn decline_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        self.store.decline_key(actor, number).await
    }

    /// Notes that the credential is there now.
    pub async fn answer_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        self.store.answer_key(actor, number).await
    }
}
