//! The destination of `egret health --deep`: an upstream within this process, which takes one request
//! with a value that was made for it, and says what arrived.
//!
//! The name is under `internal`, which no public resolver answers. It is plain HTTP on port 80, and the
//! dialler knows its address ([`Own`](crate::proxy::outbound::dial::Own)). Everything else is as for every request: who asks,
//! where the credential may be used, the record, and the search of the answer.

use crate::policy::destination::{Destination, Host, Scheme};

/// The name.
pub const HOST: &str = "canary.egret.internal";
/// The field that carries the value, in lower case.
pub const FIELD: &str = "x-egret-canary";
/// What the answer has before the SHA-256 of the value that arrived.
pub const ARRIVED: &str = "arrived ";
/// What the answer has before the value itself.
pub const ECHO: &str = "echo ";

/// Whether a request is for the built-in upstream. Rules about where clients may go do not concern it:
/// it is no destination outside.
pub fn is_canary(destination: &Destination) -> bool {
    destination.scheme == Scheme::Http
        && destination.port == 80
        && matches!(&destination.host, Host::Domain(name) if name.as_ref() == HOST)
}
