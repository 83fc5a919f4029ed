//! Views: what commands, the admin API and the page show, as JSON.
//!
//! A view is made from what the store, the ledger or the configuration holds, and it holds no value
//! of a credential: the vault gives a view nothing that could be opened. Only [`NewClient`] and
//! [`NewToken`] carry something secret, the token that is shown once. Member names and their order
//! are what scripts rely on: tests freeze the text. A new member goes to the end.

mod authority;
mod client;
mod config;
mod credential;
mod environment;
mod ledger;
mod readiness;
mod sorted;
mod time;
mod version;

pub use self::authority::{AuthorityCertificate, AuthorityPath};
pub use self::client::{Client, ClientChange, NewClient, NewToken};
pub use self::config::{ConfigProblem, ConfigSetting, InvalidConfig, ValidConfig};
pub use self::credential::{
    Credential, CredentialChange, CredentialDetails, CredentialVersion, LimitsChange,
};
pub use self::environment::Environment;
pub use self::ledger::{Checkpoint, LedgerFlaw, LedgerKey, ProvenLine, VerifiedLedger};
pub use self::readiness::Readiness;
pub use self::time::rfc3339;
pub use self::version::Version;
pub use crate::ledger::usage::Usage;
