//! Who is asking: from `Proxy-Authorization` to a principal and an action.
//!
//! * A token is never kept: what a request carries is hashed or verified on arrival, and
//!   [`Presented`] holds the outcome.
//! * Who may ask is decided anew for each request, also inside an open tunnel
//!   ([`Identity::caller`]), so a removed client is out from the next request on.

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
