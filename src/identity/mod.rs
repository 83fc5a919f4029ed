//! Authentication: from `Proxy-Authorization` to a principal and an action.
//!
//! * A token is never kept. It is hashed or verified on arrival, and [`Presented`] holds the
//!   result.
//! * Each request is authenticated again, also inside an open tunnel ([`Identity::caller`]), so a
//!   removed client is refused from its next request on.

mod action_token;
mod caller;
mod issuer;
mod key_set;
mod label;
mod minter;
mod presented;
mod self_signed;
mod token;

pub use action_token::{ActionClaims, ActionRequest, InvalidRequest, mint_action_token};
pub use caller::{ActionSource, Caller, Identity};
pub use issuer::{BundleRule, Issuer, IssuerRules, PrincipalRule};
pub use key_set::{InvalidKeys, KeySet, Unverified};
pub use label::MAX_LABEL;
pub use minter::{MintError, Minted, Minter, ProvenClient};
pub use presented::Presented;
pub use token::{Bearer, ClientToken, PersonalToken, Purpose, hash_of, personal};
