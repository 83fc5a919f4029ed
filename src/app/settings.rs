//! The part of the proxy that a reload replaces, made from a configuration.

use std::sync::Arc;

use anyhow::Result;

use crate::config::Config;
use crate::identity::Identity;
use crate::policy::address::AddressPolicy;
use crate::proxy::context::Settings;
use crate::proxy::outbound::dial::{Dialer, OwnAddresses};
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::outbound::upstream::Upstream;
use crate::tls;
use crate::vault::Vault;

/// The settings that `config` asks for.
pub(super) fn from_config(
    config: Config,
    vault: Arc<Vault>,
    own: &OwnAddresses,
) -> Result<Settings> {
    let principal = config.proxy.principal.clone();
    let upstream = &config.upstream;
    let overrides = upstream.resolve.iter();
    let dialer = Dialer::new(
        AddressPolicy::new(upstream.allow_private.clone()),
        overrides
            .map(|fixed| {
                let name = format!("{}:{}", fixed.host, fixed.port);
                (name, fixed.addresses.clone())
            })
            .collect(),
        upstream.connect_timeout,
        Arc::clone(own),
    );
    let roots = tls::client::config(&upstream.ca_files)?;
    let limits = UpstreamLimits {
        handshake: upstream.connect_timeout,
        idle: upstream.idle_timeout,
        max_headers: config.proxy.max_headers,
    };
    Ok(Settings {
        identity: Identity::new(vault, config.proxy.require_auth, principal),
        upstream: Upstream::new(dialer, roots, limits),
        config,
    })
}
