//! A client that a command adds for itself, under a name that no other client has.

use zeroize::Zeroizing;

use super::context::actor;
use crate::identity::ClientToken;
use crate::vault::Store;
use crate::vault::client_proof::ClientProof;
use crate::vault::{ClientName, Principal};

/// A client with its token, which only this process knows.
pub(super) struct OwnClient {
    pub(super) name: ClientName,
    token: ClientToken,
}

impl OwnClient {
    /// Adds a client for `principal` whose name begins with `prefix`. Its token stops working at
    /// `expires`, in unix seconds.
    pub(super) async fn add(
        store: &Store,
        prefix: &str,
        principal: &Principal,
        expires: Option<i64>,
    ) -> anyhow::Result<Self> {
        let (name, token) = (random_name(prefix)?, ClientToken::generate()?);
        store
            .add_client(
                &actor(),
                &name,
                principal,
                ClientProof::Token(token.hash()),
                expires,
            )
            .await?;
        Ok(Self { name, token })
    }

    /// A copy of the token.
    pub(super) fn token(&self) -> Zeroizing<String> {
        Zeroizing::new(self.token.expose().to_owned())
    }
}

/// A name that is not in use: `prefix` and 40 random bits.
pub(super) fn random_name(prefix: &str) -> anyhow::Result<ClientName> {
    let mut random = [0; 5];
    aws_lc_rs::rand::fill(&mut random)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ClientName::parse(&format!("{prefix}{random}"))?)
}
