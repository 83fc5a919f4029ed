//! Clients: programs that act for a user.

use super::Registrar;
use crate::vault::client_proof::ClientProof;
use crate::vault::model::Client;
use crate::vault::name::{Actor, CallerName, ClientName, Principal};
use crate::vault::store::StoreError;
use crate::vault::token_id::Revoked;

impl Registrar {
    /// Adds a client that is known by `proof` until `expires` (unix seconds).
    pub async fn add_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        principal: &Principal,
        proof: ClientProof,
        expires: Option<i64>,
    ) -> Result<Client, StoreError> {
        self.store
            .add_client(actor, name, principal, proof, expires)
            .await
    }

    /// Lets a client use values that wait for their promotion, where there are some.
    pub async fn let_probe(&self, actor: &Actor, name: &ClientName) -> Result<(), StoreError> {
        self.store.let_client_probe(actor, name).await
    }

    /// Removes a client. Its token and every action token minted for it are invalid at once.
    pub async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName,
    ) -> Result<Client, StoreError> {
        self.store.remove_client(actor, name).await
    }

    /// Revokes one action token of a client, or all that were minted until now. The client's own
    /// token goes on working. A token that the client signs itself is revoked by its `jti`, or by
    /// removing the client.
    pub async fn revoke_tokens(
        &self,
        actor: &Actor,
        name: &ClientName,
        which: &Revoked,
    ) -> Result<(), StoreError> {
        self.store.revoke_tokens(actor, name, which).await
    }

    /// Revokes one JWT of a client of an issuer by its `jti`, or all that were issued until now. For
    /// administrators.
    pub async fn revoke_issued(
        &self,
        actor: &Actor,
        client: &CallerName,
        which: &Revoked,
    ) -> Result<(), StoreError> {
        self.store.revoke_issued(actor, client, which).await
    }
}
