//! The token of one `egret run`, of a client that exists for as long as the program runs. The program
//! does not get it.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::cli::context::actor;
use crate::cli::own_client::OwnClient;
use crate::cli::{output, when};
use crate::vault::Store;
use crate::vault::{Client, ClientName, Principal};

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

    /// The client.
    pub(super) fn client(&self) -> &ClientName {
        &self.client.name
    }

    /// What the run's listener shows to the proxy for the program, as in `Proxy-Authorization`.
    pub(super) fn credentials(&self, action: &str) -> Zeroizing<String> {
        credentials(action, self.client.token().as_str())
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

/// Action and token, as in `Proxy-Authorization`.
pub(super) fn credentials(action: &str, token: &str) -> Zeroizing<String> {
    // A percent sign would be decoded, and a colon ends the user name.
    let action = action.replace('%', "%25").replace(':', "%3A");
    let pair = Zeroizing::new(format!("{action}:{token}"));
    let mut credentials = Zeroizing::new(String::from("Basic "));
    STANDARD.encode_string(pair.as_bytes(), &mut credentials);
    credentials
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
