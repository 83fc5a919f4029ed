//! Action tokens for whoever proves to be a client.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::action_token::{ActionClaims, ActionRequest, InvalidRequest, mint_action_token};
use super::token::hash_client_token;
use crate::clock;
use crate::vault::cache::Vault;
use crate::vault::model::Client;
use crate::vault::store::StoreUnavailable;
use crate::vault::token_id::TokenId;

/// Mints action tokens. It holds the key that signs them, and signs for a client only with the
/// client's own token, so whoever takes over its holder gains no more than that.
#[derive(Clone)]
pub struct Minter(Arc<Vault>);

/// A client that showed its token.
pub struct ProvenClient {
    client: Arc<Client>,
    vault: Arc<Vault>,
}

impl Minter {
    /// For the clients of `vault`.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }

    /// The client whose token this is, if it works now.
    pub async fn client(&self, token: &[u8]) -> Result<Option<ProvenClient>, StoreUnavailable> {
        let Some(hash) = hash_client_token(token) else {
            return Ok(None);
        };
        self.0.refresh().await?;
        let client = self.0.client_by_token(&hash, clock::unix_seconds());
        Ok(client.map(|client| ProvenClient {
            client,
            vault: Arc::clone(&self.0),
        }))
    }
}

impl ProvenClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A token for one action.
    ///
    /// # Errors
    /// When the client may not have it, or there is no randomness.
    pub fn mint(&self, request: ActionRequest<'_>) -> Result<Minted, MintError> {
        let id = TokenId::generate(request.expires).map_err(|_| MintError::NoRandomness)?;
        let claims = ActionClaims::new(&self.client, id.clone(), request)?;
        let token = mint_action_token(self.vault.token_key(), &claims);
        Ok(Minted { id, token })
    }
}

/// A token that was just minted, and its name.
pub struct Minted {
    /// By which it can be revoked.
    pub id: TokenId,
    /// The token, to be shown once.
    pub token: Zeroizing<String>,
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The client may not have it.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The system gives no random numbers.
    #[error("no randomness")]
    NoRandomness,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ClientToken;
    use crate::identity::action_token::verify_action_token;
    use crate::vault::ClientName;
    use crate::vault::client_proof::ClientProof;
    use crate::vault::fixture::*;

    #[tokio::test]
    async fn only_a_client_that_shows_its_token_gets_another() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        let token = ClientToken::generate().unwrap();
        let (name, alice) = (ClientName::parse("ci").unwrap(), principal("alice"));
        let added = command
            .add_client(
                &actor(),
                &name,
                &alice,
                ClientProof::Token(token.hash()),
                None,
            )
            .await;
        added.unwrap();
        let minter = Minter::new(Arc::new(fixture.vault().await));
        let client = minter.client(token.expose().as_bytes()).await.unwrap();
        let client = client.unwrap();
        let request = ActionRequest {
            action: "report",
            run: Some("r1"),
            slugs: None,
            bundle: None,
            expires: NOW,
        };
        let minted = client.mint(request).unwrap().token;
        let claims = verify_action_token(minted.as_bytes(), &keyring().token_key()).unwrap();
        assert_eq!((&*claims.action, claims.client), ("report", name.clone()));
        let nameless = ActionRequest {
            action: "",
            ..request
        };
        assert!(client.mint(nameless).is_err());
        // Not with an action token, nor with one that is not known.
        let other = ClientToken::generate().unwrap();
        for text in [minted.as_str(), other.expose(), "", "egc_"] {
            assert!(minter.client(text.as_bytes()).await.unwrap().is_none());
        }
        command.remove_client(&actor(), &name).await.unwrap();
        let gone = minter.client(token.expose().as_bytes()).await.unwrap();
        assert!(gone.is_none());
    }
}
