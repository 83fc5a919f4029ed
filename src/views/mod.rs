//! Views: what commands, the admin API and the page show, as JSON.
//!
//! A view is made from what the store, the ledger or the configuration holds, and it holds no value
//! of a credential: the vault gives a view nothing that could be opened. Only [`NewClient`],
//! [`NewToken`] and [`OneTimeLink`] carry something secret, which is shown once. Member names and their order
//! are what scripts rely on: tests freeze the text. A new member goes to the end.

mod approval;
mod authority;
mod backup;
mod client;
mod config;
mod credential;
mod egress;
mod environment;
mod explanation;
mod key_request;
mod keys;
mod ledger;
mod people;
mod readiness;
mod service;
mod sorted;
mod time;
mod version;

pub use self::approval::{Approval, ApprovalChange};
pub use self::authority::{
    AuthorityCertificate, AuthorityPath, AuthorityState, ClientAuthority, ExportedAuthority,
    InstalledAuthority, OneAuthority, SeenAuthority,
};
pub use self::backup::{BackupMade, BackupRestored, LostSince};
pub use self::client::{
    ApiToken, Client, ClientChange, Me, NewApiToken, NewClient, NewToken, OneTimeLink,
    RevokedIssued,
};
pub use self::config::{ConfigProblem, ConfigSetting, InvalidConfig, ValidConfig};
pub use self::credential::{
    Attached, Attachment, Credential, CredentialChange, CredentialDetails, CredentialVersion,
    LimitsChange, Probe, StandIn,
};
pub use self::egress::{
    Destination, EgressChange, EgressCheck, EgressRule, EgressRuleRemoved, EgressSuggestion, OwnKey,
};
pub use self::environment::{Environment, Sandbox, SandboxAuthority, SandboxFile};
pub use self::explanation::{ExplainedRefusal, ExplainedRequest, ExplainedUse};
pub use self::key_request::{KeyRequest, KeyRequestChange};
pub use self::keys::MasterKeys;
pub use self::ledger::{
    Checkpoint, LedgerCheck, LedgerFlaw, LedgerKey, LedgerProof, ProvenLine, SignedCheckpoint, Top,
    TopRow, VerifiedLedger,
};
pub use self::people::{
    Bundle, Candidate, Claimed, Explanation, Group, PersonChange, Plan, StoreCheck, User,
    user_state,
};
pub use self::readiness::{DeepCheck, DeepHealth, Health, Readiness};
pub use self::service::{
    AdoptedEntry, Adoption, ImportedEntry, KeptFile, KeyPlace, Removed, Service,
};
pub use self::time::rfc3339;
pub use self::version::Version;
pub use crate::ledger::usage::Usage;
