//! What a server holds open for as long as it lives, and what proxy and admin side are made of.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handover::Predecessor;
use super::{ledger, process, settings};
use crate::admin::{AdminServices, AdminSettings, AdminState};
use crate::changes::{self, Changes, Recorder};
use crate::config::{Alpn, Config};
use crate::files;
use crate::identity::Minter;
use crate::ledger::{Ledger, LedgerProbe};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::health::CredentialHealth;
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::exchange::spool::SpoolSpace;
use crate::proxy::exchange::use_gate::UseGate;
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::fair_share::FairShares;
use crate::proxy::runtime::seen::SeenCounts;
use crate::tls::authority::Authority;
use crate::tls::leaf::LeafCache;
use crate::vault::handover::Handovers;
use crate::vault::{Keyring, Reader, Registrar, Store, StoreProbe, Vault};

/// What a server holds open for as long as it lives.
#[derive(Clone)]
pub(super) struct Parts {
    pub keyring: Keyring,
    pub vault: Arc<Vault>,
    /// With connections to the store of its own: the admin side is not to keep a request waiting.
    pub registrar: Registrar,
    handovers: Handovers,
    pub ledger: Ledger,
    leaves: Arc<LeafCache>,
    spool: Arc<SpoolSpace>,
    counters: Arc<Counters>,
    health: Arc<CredentialHealth>,
}

impl Parts {
    /// Opens everything under the data directory.
    ///
    /// After a `predecessor` the ledger is opened last, once that one has closed it: whatever else fails
    /// does so while the other still serves.
    pub async fn open(config: &Config, predecessor: Option<&Predecessor>) -> Result<Self> {
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let ledger_key = ledger::SigningKeySeal::of(&keyring);
        let vault = match Vault::open(&config.data_dir, &config.store.url, &keyring).await {
            Ok(vault) => vault,
            Err(error) => {
                // The server does not start, but whoever reads the ledger later has to learn of it.
                if error.is_alarming() {
                    let ledger = ledger::open_signed(config, ledger_key, None).await?;
                    changes::report_store(&ledger).await;
                    let _ = ledger.close().await;
                }
                return Err(error.into());
            }
        };
        let store = Store::open(&config.store.url, keyring.policy_keys()).await?;
        let leaves = Arc::new(open_leaves(config)?);
        let mut follows = None;
        if let Some(predecessor) = predecessor {
            settings::check(config)?;
            follows = Some(predecessor.until_closed().await?);
            ledger::until_free(config).await;
        }
        // Before anything is served: a second server on this data directory ends here.
        let ledger = ledger::open_signed(config, ledger_key, follows).await?;
        if let Err(error) = files::remove_partial_files(&config.data_dir) {
            tracing::warn!(%error, "files of interrupted starts could not be removed");
        }
        Ok(Self {
            vault: Arc::new(vault),
            handovers: Handovers::new(store.clone(), &keyring),
            registrar: Registrar::new(store, &keyring),
            keyring,
            ledger,
            leaves,
            spool: SpoolSpace::new(config.data_dir.clone()),
            counters: Arc::default(),
            health: Arc::default(),
        })
    }

    /// The admin side's part of it: probes, and the signals and counters that it shares with the
    /// proxy.
    pub fn admin_state(&self, proxy: SocketAddr) -> AdminState {
        AdminState {
            proxy,
            store: StoreProbe::new(Arc::clone(&self.vault)),
            ledger: LedgerProbe::new(self.ledger.clone()),
            counters: Arc::clone(&self.counters),
            health: Arc::clone(&self.health),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            followed: CancellationToken::new(),
            leaves: Arc::clone(&self.leaves),
            process: process::state,
        }
    }

    /// What the admin side takes from the configuration, as far as it is not the proxy's.
    pub fn admin_settings(&self, address: SocketAddr, settings: &Settings) -> AdminSettings {
        let (registrar, way) = (self.registrar.clone(), settings.way.clone());
        AdminSettings::new(settings.config.clone(), registrar, address, way)
    }

    /// What the admin side reads and changes with.
    pub fn admin_services(&self, changes: &Changes, config: &Config) -> AdminServices {
        let (vault, ledger) = (&self.vault, self.ledger.clone());
        AdminServices::new(
            Reader::new(Arc::clone(vault)),
            Recorder::new(changes.clone(), Arc::clone(vault), ledger),
            Minter::new(Arc::clone(vault)),
            self.handovers.clone(),
            &config.ledger_dir(),
        )
    }

    /// The proxy, which takes everything.
    pub fn proxy(
        self,
        settings: Arc<Settings>,
        admin: &AdminState,
        changes: Changes,
    ) -> Result<Proxy> {
        let gate = Arc::new(UseGate::new(changes.clone()));
        let approvals = settings.config.approvals;
        gate.set_times(approvals.wait, approvals.keep);
        Ok(Proxy {
            settings: ArcSwap::new(settings),
            vault: self.vault,
            ledger: self.ledger,
            leaves: self.leaves,
            draining: admin.draining.clone(),
            leaving: CancellationToken::new(),
            ending: CancellationToken::new(),
            tasks: admin.connections.clone(),
            changes,
            spool: self.spool,
            needle_cache: NeedleCache::default(),
            ids: RequestIds::new(random_prefix()?),
            destinations_seen: SeenCounts::default(),
            gate,
            health: Arc::clone(&admin.health),
            fair_shares: FairShares::default(),
            own_keys_seen: SeenCounts::default(),
            counters: Arc::clone(&admin.counters),
        })
    }
}

fn open_leaves(config: &Config) -> Result<LeafCache> {
    let authority = Authority::load_or_create(&config.tls.ca_cert, &config.tls.ca_key)?;
    let protocols = config.proxy.alpn.iter().map(|protocol| match protocol {
        Alpn::Http11 => b"http/1.1".to_vec(),
        Alpn::H2 => b"h2".to_vec(),
    });
    Ok(LeafCache::new(authority, protocols.collect())?)
}

fn random_prefix() -> Result<u32> {
    let mut bytes = [0u8; 4];
    aws_lc_rs::rand::fill(&mut bytes).context("no randomness")?;
    Ok(u32::from_ne_bytes(bytes))
}
