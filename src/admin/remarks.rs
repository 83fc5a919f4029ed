//! What may be a mistake about a value, for API and pages.

use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::services::Service;
use crate::services::remark::{Remark, remarks};
use crate::vault::Kind;

/// What may be a mistake about a value that is to be sent to `hosts`: said to whoever brings it, and to
/// nobody else.
pub fn about(
    kind: Kind,
    value: &SecretBytes,
    service: Option<&'static Service>,
    hosts: &[HostPattern],
) -> Vec<Remark> {
    match kind {
        Kind::Secret => remarks(value.expose(), service, hosts),
        // Their fields are not what a service gives out as a key.
        Kind::Login | Kind::Fields => Vec::new(),
    }
}
