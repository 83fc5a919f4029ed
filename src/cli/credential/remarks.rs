//! What may be a mistake about a new value or its hosts, as notes.

use crate::cli::output;
use crate::config::Config;
use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::services::Service;
use crate::services::remark::remarks;
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
    let passthrough = &config.tls.passthrough;
    for host in hosts
        .iter()
        .filter(|host| is_passed_through(host, passthrough))
    {
        output::note(&format!(
            "{host} is in tls.passthrough: its tunnels are not opened, so no placeholder works there"
        ));
    }
}

fn is_passed_through(host: &HostPattern, passthrough: &[HostPattern]) -> bool {
    let same = |pattern: &HostPattern| pattern.includes(host) || host.includes(pattern);
    passthrough.iter().any(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_not_opened_is_noticed() {
        let pattern = |text: &str| text.parse::<HostPattern>().expect("a pattern");
        let passthrough = [pattern("*.pinned.example"), pattern("exact.example")];
        for (host, passed) in [
            ("a.pinned.example", true),
            ("*.pinned.example", true),
            ("exact.example", true),
            ("other.example", false),
            ("exact.example:8443", false),
        ] {
            let host_pattern = pattern(host);
            assert_eq!(
                is_passed_through(&host_pattern, &passthrough),
                passed,
                "{host}"
            );
        }
    }
}
