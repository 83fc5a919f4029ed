//! Configuration in two stages: what was typed (`raw`) becomes what the program needs ([`Config`]).
//!
//! Flags win over the environment, the environment over the file, the file over the embedded
//! defaults. A setting remembers where it was typed, so that a complaint can name the line and
//! `egret config show` can answer "why is it that?". All problems are reported at once.
//!
//! Relative paths are relative to the data directory, wherever they were typed: one rule, and a
//! data directory that can be moved as a whole.

mod admin;
mod admin_url;
mod alerts;
mod alerts_keys;
mod destination;
mod entry;
mod issuer;
mod issuer_keys;
mod key;
mod listener_tls;
mod listener_tls_keys;
mod model;
mod openid;
mod openid_keys;
mod parent_proxy;
mod parent_proxy_keys;
mod problem;
mod raw;
mod resolve;
mod s3;
mod s3_keys;
mod safe_url;
mod ship;
mod ship_keys;
mod sources;
mod treatment;
mod units;
mod witness;
mod witness_keys;

pub use self::admin_url::{AdminUrl, LOCAL_NAME};
pub use self::alerts::{Alerts, FIRST_USE, event_names};
pub use self::issuer::{BundleSource, Issuer, KeysPlace, PrincipalSource};
pub use self::key::{nearest, restart_needed};
pub use self::listener_tls::{CertificateFiles, ListenerTls};
pub use self::model::{
    Admin, Alpn, Approvals, BaseUrl, Body, Config, Durability, Egress, Ledger, Log, LogFormat,
    Proxy, Requests, Resolve, Store, Tls, Upstream,
};
pub use self::openid::{GroupMapping, OpenId};
pub use self::parent_proxy::{Exception, ParentProtocol, ParentProxy};
pub use self::problem::{Origin, Problem, Problems};
pub use self::raw::Flag;
pub use self::s3::{S3Style, S3Target};
pub use self::ship::{ShipForm, ShipTarget};
pub use self::sources::{Loaded, Shown, Sources};
pub use self::treatment::{
    DestinationRule, Exposed, OwnKeys, Range, ScanPlace, Treatment, Unresolved,
};
pub use self::witness::Witness;
