//! The token of one `egret run`, of a client that exists for as long as the program runs.

use std::convert::Infallible;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::context::actor;
use crate::cli::own_client::OwnClient;
use crate::cli::{output, when};
use crate::vault::Store;
use crate::vault::{Client, Principal};

/// How long the token outlives an `egret run` that is killed, in seconds.
const LIFE: i64 = 15 * 60;

/// How often it is renewed: several attempts fit into its lifetime.
const RENEWAL: Duration = Duration::from_secs(4 * 60);

/// What the names of these clients begin with.
const PREFIX: &str = "run-";

pub(super) struct Lease {
    store: Store,
    client: OwnClient,
}

impl Lease {
    /// Adds the client.
    pub(super) async fn take(store: &Store, principal: &Principal) -> anyhow::Result<Self> {
        let expires = when::now() + LIFE;
        let client = OwnClient::add(store, PREFIX, principal, Some(expires)).await?;
        let store = store.clone();
        Ok(Self { store, client })
    }

    pub(super) fn token(&self) -> Zeroizing<String> {
        self.client.token()
    }

    /// Renews the token for as long as it is polled.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self
                .store
                .extend_client(&self.client.name, when::now() + LIFE)
                .await
            {
                tracing::warn!(%error, "the token could not be renewed");
            }
        }
    }

    /// Removes the client. If that fails, the token expires.
    pub(super) async fn release(self) {
        if let Err(error) = self.store.remove_client(&actor(), &self.client.name).await {
            output::note(&format!(
                "the token stops working in at most 15 minutes: {error}"
            ));
        }
    }
}

/// Whether another `egret run` exists, after ours was released. One that was killed counts until its
/// token expires.
pub(super) async fn any_other(store: &Store) -> bool {
    let now = when::now();
    let is_run = |client: &Client| client.name.as_str().starts_with(PREFIX) && client.usable(now);
    store
        .list_clients()
        .await
        .is_ok_and(|clients| clients.iter().any(is_run))
}
