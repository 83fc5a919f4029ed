//! Authentication: from `Proxy-Authorization` to a principal and an action.
//!
//! * A token is never kept. It is hashed or verified on arrival, and [`Presented`] holds the
//!   result.
//! * Each request is authenticated again, also inside an open tunnel ([`Identity::caller`]), so a
//!   removed client is refused from its next request on.

mod action_token;
mod caller;
mod label;
mod presented;
mod token;

pub use action_token::{ActionClaims, mint_action_token};
pub use caller::{ActionSource, Caller, Identity};
pub use label::MAX_LABEL;
pub use presented::Presented;
pub use token::ClientToken;
