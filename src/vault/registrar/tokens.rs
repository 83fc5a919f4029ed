//! Personal API tokens.

use super::Registrar;
use crate::clock;
use crate::vault::access::token::{Lifetime, MAX_LIFETIME, MAX_NAME, TokenRecord};
use crate::vault::access::{ApiToken, ApiTokenId, Scope, SecretHash};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::User;
use crate::vault::store::{StoreError, StoreUnavailable};

/// A token that is to be made.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// Its public name.
    pub id: &'a ApiTokenId,
    /// The hash of the whole token.
    pub hash: &'a SecretHash,
    /// For whom it acts.
    pub user: &'a Principal,
    /// What it is for, in the words of the user.
    pub name: &'a str,
    /// What may be done with it.
    pub scope: Scope,
    /// When it stops working, unix seconds.
    pub expires: i64,
}

impl Registrar {
    /// Adds a personal API token, for the actor's own user.
    pub async fn add_token(&self, actor: &Actor, new: &NewToken<'_>) -> Result<(), StoreError> {
        let length = new.name.chars().count();
        if length == 0 || length > MAX_NAME || new.name.chars().any(char::is_control) {
            return Err(StoreError::Invalid(
                "the name of a token has 1 to 100 characters and no control characters",
            ));
        }
        let now = clock::unix_seconds();
        if new.expires <= now || new.expires > now + MAX_LIFETIME {
            return Err(StoreError::Invalid(
                "a token expires in the future, and within 366 days",
            ));
        }
        let lifetime = Lifetime {
            from: now,
            until: new.expires,
        };
        let record = TokenRecord::new(new.user, new.name, new.scope, new.hash, lifetime);
        self.store.add_token(actor, new.id, &record).await
    }

    /// Removes a token, which does not work from then on. Its user does this, or an administrator.
    pub async fn remove_token(
        &self,
        actor: &Actor,
        id: &ApiTokenId,
    ) -> Result<ApiToken, StoreError> {
        self.store.remove_token(actor, id).await
    }

    /// The tokens of a user, or of everyone, by id.
    pub async fn list_tokens(
        &self,
        user: Option<&Principal>,
    ) -> Result<Vec<ApiToken>, StoreUnavailable> {
        self.store.list_tokens(user).await
    }

    /// A token and its user, whether or not it can still be used.
    pub async fn token(
        &self,
        id: &ApiTokenId,
    ) -> Result<Option<(ApiToken, User)>, StoreUnavailable> {
        self.store.token(id).await
    }

    /// Notes the use of a token.
    pub async fn note_token_use(&self, id: &ApiTokenId, now: i64) -> Result<(), StoreUnavailable> {
        self.store.note_token_use(id, now).await
    }
}
