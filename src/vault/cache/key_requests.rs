//! Credentials that clients ask for, as a running proxy knows them.

use super::Vault;
use crate::vault::key_request::{AskedFor, KeyRequest, MOST_OPEN};
use crate::vault::name::Actor;
use crate::vault::store::StoreError;

impl Vault {
    /// Asks the principal of a client for a credential, unless that is known to be of no use: nothing
    /// is written then, however often the client comes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ask_key(&self, request: &KeyRequest) -> Result<AskedFor, StoreError> {
        if let Some(known) = self.key_request(request) {
            return Ok(known);
        }
        let actor = Actor::client(&request.client);
        match self.store.ask_key(&actor, request).await {
            Ok(number) => Ok(AskedFor::Open(number)),
            Err(StoreError::Invalid(_)) => Ok(AskedFor::TooMany),
            Err(error) => Err(error),
        }
    }

    fn key_request(&self, request: &KeyRequest) -> Option<AskedFor> {
        let directory = self.directory.load();
        let now = request.asked;
        let kept = directory.key_requests.iter();
        let kept = kept.filter(|(_, other)| now < other.until);
        let of_client = kept.filter(|(_, other)| other.client == request.client);
        let mut open = 0;
        for (number, other) in of_client {
            if other.is_same(request) && other.is_declined {
                return Some(AskedFor::Declined);
            }
            if other.is_same(request) {
                return Some(AskedFor::Open(*number));
            }
            open += usize::from(other.is_open(now));
        }
        (open >= MOST_OPEN).then_some(AskedFor::TooMany)
    }
}
