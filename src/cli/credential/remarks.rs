//! What may be a mistake about a new value or its hosts, as notes.

use crate::cli::output;
use crate::config::Config;
use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::services::Service;
use crate::services::remark::{passed_through, remarks, unopened};
use crate::vault::Kind;

/// Says what may be a mistake about a value.
pub(super) fn say(
    kind: Kind,
    value: &SecretBytes,
    service: Option<&'static Service>,
    hosts: &[HostPattern],
) {
    if kind != Kind::Secret {
        return;
    }
    for remark in remarks(value.expose(), service, hosts) {
        output::note(&remark.to_string());
    }
}

/// Says where no placeholder works, as the tunnels there are not opened.
pub(super) fn say_passed_through(hosts: &[HostPattern], config: &Config) {
    for host in passed_through(hosts, &config.tls.passthrough) {
        output::note(&unopened(host));
    }
}
