//! What a provider says of itself (OpenID Connect Discovery 1.0).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::fetch::{FetchError, Fetcher};
use crate::identity::KeySet;

/// How long the document and the keys are used before they are fetched again.
const AGE: Duration = Duration::from_secs(3600);
/// How soon the keys are fetched again for a token whose key is not among them. Anybody who can make a
/// provider answer could otherwise have them fetched all the time.
const SOONEST: Duration = Duration::from_secs(2);

/// The members that matter here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Document {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// Why a provider cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the document at {0} is not one of OpenID Connect Discovery")]
    Document(String),
    #[error(
        "the provider calls itself {found:?}, and openid.issuer is {configured:?}; the two are compared \
         literally, also a slash at the end"
    )]
    Issuer { found: String, configured: String },
    #[error("the keys at {0} cannot be read")]
    Keys(String),
}

/// A document with the keys that it names.
#[derive(Clone)]
pub(super) struct Discovered {
    pub(super) document: Arc<Document>,
    pub(super) keys: Arc<KeySet>,
    fetched: Instant,
}

/// The document and the keys of one issuer, fetched when they are needed.
#[derive(Default)]
pub(super) struct Discovery(Mutex<Option<Discovered>>);

impl Discovery {
    /// The document and the keys. Old ones are good enough where new ones cannot be fetched.
    pub(super) async fn get(
        &self,
        fetcher: &Fetcher,
        issuer: &str,
    ) -> Result<Discovered, DiscoveryError> {
        let mut kept = self.0.lock().await;
        if let Some(known) = &*kept
            && known.fetched.elapsed() < AGE
        {
            return Ok(known.clone());
        }
        let discovered = discover(fetcher, issuer).await?;
        *kept = Some(discovered.clone());
        Ok(discovered)
    }

    /// The keys of now, for a token whose key is not among those of `known`.
    pub(super) async fn renew(
        &self,
        fetcher: &Fetcher,
        issuer: &str,
        known: &Discovered,
    ) -> Result<Discovered, DiscoveryError> {
        let mut kept = self.0.lock().await;
        if let Some(newer) = &*kept
            && newer.fetched > known.fetched
        {
            return Ok(newer.clone());
        }
        if known.fetched.elapsed() < SOONEST {
            return Ok(known.clone());
        }
        let discovered = discover(fetcher, issuer).await?;
        *kept = Some(discovered.clone());
        Ok(discovered)
    }
}

async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<Discovered, DiscoveryError> {
    let place = issuer.strip_suffix('/').unwrap_or(issuer);
    let place = format!("{place}/.well-known/openid-configuration");
    let body = fetcher.get(&place).await?;
    let document: Document =
        serde_json::from_slice(&body).map_err(|_| DiscoveryError::Document(place))?;
    if document.issuer != issuer {
        return Err(DiscoveryError::Issuer {
            found: document.issuer.chars().take(200).collect(),
            configured: issuer.to_owned(),
        });
    }
    let keys = fetcher.get(&document.jwks_uri).await?;
    let keys = KeySet::parse(&keys).map_err(|_| DiscoveryError::Keys(document.jwks_uri.clone()))?;
    Ok(Discovered {
        document: Arc::new(document),
        keys: Arc::new(keys),
        fetched: Instant::now(),
    })
}
