//! The part of the proxy that a reload replaces, made from a configuration.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ClientConfig;

use crate::config::{self, BundleSource, Config, KeysPlace, ParentProxy, PrincipalSource};
use crate::identity::{BundleRule, Identity, Issuer, IssuerRules, PrincipalRule};
use crate::ledger::Ledger;
use crate::policy::address::AddressPolicy;
use crate::proxy::context::Settings;
use crate::proxy::outbound::dial::{Dialer, Own, OwnAddresses};
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::outbound::parent::{Login, Parent};
use crate::proxy::outbound::upstream::Upstream;
use crate::proxy::outbound::way::Way;
use crate::tls;
use crate::tls::listener::ListenerTls;
use crate::vault::Vault;

/// The settings that `config` asks for.
pub(super) fn from_config(
    config: Config,
    vault: Arc<Vault>,
    ledger: &Ledger,
    own: &OwnAddresses,
) -> Result<Settings> {
    vault.set_floor(config.policy.clone());
    let principal = config.proxy.principal.clone();
    let upstream = &config.upstream;
    let roots = tls::client::config(&upstream.ca_files)?;
    let parent = upstream.proxy.as_ref();
    let parent = parent.map(|parent| parent_proxy(parent, upstream, &roots, &vault, ledger));
    let way = Way::through(parent.map(Arc::new));
    let dialer = dialer(&config, own, way.clone());
    let limits = UpstreamLimits {
        handshake: upstream.connect_timeout,
        first_byte: upstream.first_byte_timeout,
        idle: upstream.idle_timeout,
        stream: upstream.stream_timeout,
        max_header_bytes: upstream.max_header_bytes,
    };
    Ok(Settings {
        identity: Identity::new(vault, config.proxy.require_auth, principal)
            .accepting(config.proxy.max_token_lifetime)
            .named(&config.proxy.audience)
            .trusting(config.issuers.iter().map(issuer).collect::<Result<_>>()?),
        upstream: Upstream::new(dialer, roots, limits),
        way,
        listener_tls: listener_tls(&config)?,
        config,
    })
}

/// Whether the files that the settings are made from can be used.
pub(super) fn check(config: &Config) -> Result<()> {
    tls::client::config(&config.upstream.ca_files)?;
    listener_tls(config)?;
    config
        .issuers
        .iter()
        .try_for_each(|known| issuer(known).map(drop))
}

fn listener_tls(config: &Config) -> Result<Option<Arc<ListenerTls>>> {
    let has_base_urls = !config.base_url.tls_listen.is_empty();
    let config = &config.proxy.tls;
    if config.listen.is_empty() && !has_base_urls {
        return Ok(None);
    }
    let certificate = config.certificate.as_ref();
    let certificate = certificate.map(|files| (&*files.chain, &*files.key));
    let tls = ListenerTls::new(
        config.names.clone(),
        certificate,
        config.client_ca.as_deref(),
    )?;
    Ok(Some(Arc::new(tls)))
}

fn dialer(config: &Config, own: &OwnAddresses, way: Way) -> Dialer {
    let upstream = &config.upstream;
    let fixed = upstream.resolve.iter().map(|fixed| {
        let name = format!("{}:{}", fixed.host, fixed.port);
        (name, fixed.addresses.clone())
    });
    Dialer::new(
        AddressPolicy::new(upstream.allow_private.clone())
            .denying(config.egress.deny_addresses.clone()),
        fixed.collect(),
        upstream.connect_timeout,
        Arc::clone(own),
        way,
    )
}

/// What dials as the proxy does, without a parent proxy, and never to these listeners of Egret's.
pub fn direct_dialer(config: &Config, listeners: Vec<SocketAddr>) -> Dialer {
    let own = OwnAddresses::default();
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    // It was made a line above, and is empty.
    let _ = own.set(Own {
        listeners,
        canary: nowhere,
    });
    dialer(config, &own, Way::through(None))
}

fn parent_proxy(
    config: &ParentProxy,
    upstream: &config::Upstream,
    roots: &Arc<ClientConfig>,
    vault: &Arc<Vault>,
    ledger: &Ledger,
) -> Parent {
    let place = &config.place;
    let mut fixed = upstream.resolve.iter();
    let fixed = fixed.find(|fixed| (&fixed.host, fixed.port) == (&place.host, place.port));
    let addresses = fixed.map(|fixed| fixed.addresses.clone());
    let login = config.credential.as_ref().map(|(owner, slug)| Login {
        vault: Arc::clone(vault),
        ledger: ledger.clone(),
        owner: owner.clone(),
        slug: slug.clone(),
    });
    Parent::new(config.clone(), addresses.unwrap_or_default(), roots, login)
}

/// Most bytes of a file of public keys.
const MOST_KEYS: u64 = 1024 * 1024;

/// The issuer, with its keys from their file.
fn issuer(config: &config::Issuer) -> Result<Arc<Issuer>> {
    let rules = IssuerRules {
        name: config.name.clone(),
        audience: config.audience.clone(),
        principal: match &config.principal {
            PrincipalSource::Fixed(principal) => PrincipalRule::Fixed(principal.clone()),
            PrincipalSource::Claim(claim) => PrincipalRule::Claim(claim.clone()),
        },
        client_claim: config.client_claim.clone(),
        action_claim: config.action_claim.clone(),
        bundle: config.bundle.as_ref().map(|bundle| match bundle {
            BundleSource::Fixed(bundle) => BundleRule::Fixed(bundle.clone()),
            BundleSource::Claim(claim) => BundleRule::Claim(claim.clone()),
        }),
        label: config.label.clone(),
    };
    let issuer = match &config.keys {
        KeysPlace::File(path) => Issuer::new(rules, &read_keys(path)?)
            .with_context(|| format!("issuer.keys: {}", path.display()))?,
        // They are fetched as soon as the server runs: it must not depend on the issuer to start.
        KeysPlace::Url(_) => Issuer::without_keys(rules),
    };
    Ok(Arc::new(issuer))
}

/// Lets new settings keep the keys that were fetched for the old ones, where they are of the same issuer.
pub(super) fn keep_fetched_keys(new: &Settings, old: &Settings) {
    for (issuer, config) in issuers(new) {
        let is_fetched = matches!(config.keys, KeysPlace::Url(_));
        let is_same = |(_, known): &(_, &config::Issuer)| {
            (&known.name, &known.keys) == (&config.name, &config.keys)
        };
        if let (true, Some((known, _))) = (is_fetched, issuers(old).find(is_same)) {
            issuer.take_keys_of(known);
        }
    }
}

/// Each issuer with its configuration.
pub(super) fn issuers(
    settings: &Settings,
) -> impl Iterator<Item = (&Arc<Issuer>, &config::Issuer)> {
    let issuers = settings.identity.issuers().iter();
    issuers.zip(&settings.config.issuers)
}

/// The content of a file of public keys.
pub(super) fn read_keys(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let mut text = Vec::new();
        File::open(path)?.take(MOST_KEYS).read_to_end(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    read().with_context(|| format!("issuer.keys: cannot read {}", path.display()))
}
