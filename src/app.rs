//! The composition root: a configuration becomes parts, the parts a running server, and the server
//! drains. Nothing else in the crate puts parts together.

mod ledger;
mod open_files;
mod server_file;
mod settings;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::ledger::open as open_ledger;
pub use self::server_file::{ServerFile, reachable};
use crate::admin::{self, AdminState};
use crate::changes::Changes;
use crate::config::{self, Alpn, Config};
use crate::ledger::{Ledger, LedgerProbe, usage};
use crate::memory;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::inbound::listener;
use crate::proxy::inbound::port::ProxyPort;
use crate::proxy::outbound::dial::OwnAddresses;
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::workers::Workers;
use crate::tls::authority::Authority;
use crate::tls::leaf::LeafCache;
use crate::vault::{Keyring, StoreProbe, Vault};

/// A running proxy with its admin listener.
pub struct Server {
    proxy: Arc<Proxy>,
    workers: Arc<Workers>,
    /// The configuration that the server was started with.
    started: Config,
    proxy_addr: SocketAddr,
    admin_addr: SocketAddr,
    own: OwnAddresses,
    background: Vec<JoinHandle<()>>,
    /// Cancelled when the ledger is about to be closed, for what only reads it.
    closed: CancellationToken,
}

impl Server {
    /// Opens everything under the data directory, binds both listeners and starts serving.
    pub async fn start(config: Config) -> Result<Self> {
        let parts = Parts::open(&config).await?;
        let own = OwnAddresses::default();
        let settings = settings::from_config(config.clone(), Arc::clone(&parts.vault), &own)?;
        let listeners = Listeners::bind(&config)?;
        let (proxy_addr, admin_addr) = (listeners.proxy_addr, listeners.admin_addr);
        let _ = own.set(vec![proxy_addr, admin_addr]);
        let workers = Arc::new(
            Workers::start(memory::stack::on_park).context("cannot start the proxy's threads")?,
        );
        let closed = CancellationToken::new();
        usage::keep(config.ledger_dir(), closed.clone()).context("cannot start the usage index")?;

        let admin = Arc::new(parts.admin_state());
        let proxy = Arc::new(parts.proxy(settings, &admin)?);
        let places = Arc::new(Semaphore::new(open_files::connections(
            config.proxy.max_connections,
        )));
        let mut background =
            listener::start::<ProxyPort>(&proxy, listeners.proxy, &places, &workers)
                .context("cannot accept connections")?;
        background.push(tokio::spawn(admin::run(admin, listeners.admin)));
        background.extend(upkeep::start(&proxy, &workers));
        ServerFile::announce(&config.data_dir, proxy_addr, admin_addr)?;
        Ok(Self {
            proxy,
            workers,
            started: config,
            proxy_addr,
            admin_addr,
            own,
            background,
            closed,
        })
    }

    /// Where the proxy listens.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where the admin listener listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The authority's certificate as PEM.
    pub fn ca_pem(&self) -> &str {
        self.proxy.leaves.authority().cert_pem()
    }

    /// The credentials, for the commands that run a server in their own process.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.proxy.vault
    }

    /// Puts a new configuration in force from the next request on. Connections stay open.
    ///
    /// Returns the names of the keys that differ from what the server was started with and take
    /// effect only at the next start.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>> {
        let at_restart = config::restart_needed(&self.started, &config);
        let settings = settings::from_config(config, Arc::clone(&self.proxy.vault), &self.own)?;
        self.proxy.settings.store(Arc::new(settings));
        Ok(at_restart)
    }

    /// Stops accepting, lets what is under way finish for at most `deadline`, and closes the
    /// ledger. Returns whether everything finished in time.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.proxy.draining.cancel();
        self.proxy.tasks.close();
        let finished = tokio::time::timeout(deadline, self.proxy.tasks.wait())
            .await
            .is_ok();
        for task in &self.background {
            task.abort();
        }
        // What did not finish ends here, and leaves its result in the ledger.
        let workers = Arc::clone(&self.workers);
        let _ = tokio::task::spawn_blocking(move || workers.end()).await;
        self.closed.cancel();
        // What commands changed in the last moment belongs on record too; if it cannot be, the next
        // start finds it in the store.
        let proxy = &self.proxy;
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
        if self.proxy.ledger.close().await.is_err() {
            tracing::error!("the last lines of the ledger may not be on disk");
        }
        self.proxy.vault.store().close().await;
        // `egret run` may have removed it before.
        let _ = ServerFile::remove(&self.started.data_dir);
        finished
    }
}

/// What a server holds open for as long as it lives.
struct Parts {
    vault: Arc<Vault>,
    ledger: Ledger,
    leaves: LeafCache,
}

impl Parts {
    async fn open(config: &Config) -> Result<Self> {
        let keyring = Keyring::load(&config.keys.master, &config.data_dir).await?;
        let ledger_key = ledger::SigningKeySeal::of(&keyring)?;
        let vault = Vault::open(&config.data_dir, &config.store.url, &keyring).await?;
        // Before anything listens: a second server on this data directory ends here.
        let ledger = ledger::open_signed(config, ledger_key).await?;
        Ok(Self {
            vault: Arc::new(vault),
            ledger,
            leaves: open_leaves(config)?,
        })
    }

    /// The admin side's part of it: probes, and the signals and counters that it shares with the
    /// proxy.
    fn admin_state(&self) -> AdminState {
        AdminState {
            store: StoreProbe::new(Arc::clone(&self.vault)),
            ledger: LedgerProbe::new(self.ledger.clone()),
            counters: Arc::new(Counters::default()),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
        }
    }

    fn proxy(self, settings: Settings, admin: &AdminState) -> Result<Proxy> {
        Ok(Proxy {
            settings: ArcSwap::from_pointee(settings),
            vault: self.vault,
            ledger: self.ledger,
            leaves: Arc::new(self.leaves),
            draining: admin.draining.clone(),
            tasks: admin.connections.clone(),
            changes: Changes::new(),
            needle_cache: NeedleCache::default(),
            ids: RequestIds::new(random_prefix()?),
            counters: Arc::clone(&admin.counters),
        })
    }
}

/// Both listeners, and where they are.
struct Listeners {
    proxy: TcpListener,
    proxy_addr: SocketAddr,
    admin: TcpListener,
    admin_addr: SocketAddr,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self> {
        let proxy = bind(config.proxy.listen, "proxy.listen")?;
        let admin = bind(config.admin.listen, "admin.listen")?;
        Ok(Self {
            proxy_addr: proxy.local_addr()?,
            admin_addr: admin.local_addr()?,
            proxy,
            admin,
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

fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    match listener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) => bail!(
            "cannot listen on {address} ({key}): {error}; is another egret running? \
             Choose another port with {key}"
        ),
    }
}

fn random_prefix() -> Result<u32> {
    let mut bytes = [0u8; 4];
    aws_lc_rs::rand::fill(&mut bytes).context("no randomness")?;
    Ok(u32::from_ne_bytes(bytes))
}
