//! Whose JWTs are accepted as tokens.

use std::path::PathBuf;

use crate::vault::Principal;
use crate::vault::people::BundleId;

/// Someone whose JWTs are accepted as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer that a JWT has to name (`iss`).
    pub name: String,
    /// The audience that it has to name (`aud`).
    pub audience: String,
    /// Where the issuer's public keys are, a JWKS.
    pub keys: KeysPlace,
    /// Whose credentials a JWT may use.
    pub principal: PrincipalSource,
    /// The claim that names the client.
    pub client_claim: String,
    /// The claim that names the action.
    pub action_claim: Option<String>,
    /// The only bundle that a JWT may use; `None` is no limit.
    pub bundle: Option<BundleSource>,
    /// What tells its clients from those of another issuer.
    pub label: Option<String>,
}

/// Where public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysPlace {
    /// In a file.
    File(PathBuf),
    /// At this URL.
    Url(String),
}

/// Where the principal of a JWT comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalSource {
    /// The configuration.
    Fixed(Principal),
    /// This claim.
    Claim(String),
}

/// Where the bundle of a JWT comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    /// The configuration.
    Fixed(BundleId),
    /// This claim.
    Claim(String),
}
