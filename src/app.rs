//! The composition root: a configuration becomes parts, the parts a running server, and the server
//! drains. Nothing else in the crate puts parts together.

mod alerts;
mod canary;
mod disk;
mod first_link;
mod ledger;
mod open_files;
mod process;
mod server_file;
mod settings;
mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::disk::on_disk;
use self::first_link::first_link;
pub use self::ledger::{ledger_keys, open as open_ledger, rekey_signing_key};
use self::server_file::Announcement;
pub use self::server_file::{Reloads, ServerFile};
use crate::admin::{self, AdminContext, AdminServices, AdminSettings, AdminState};
use crate::changes::{self, Changes, Recorder};
use crate::config::{self, Alpn, BaseUrl, Config};
pub use crate::environment::proxy_access::reachable;
use crate::files;
use crate::identity::{Minter, Presented};
use crate::ledger::{Ledger, LedgerProbe, usage};
use crate::memory;
use crate::page::{self, PageLooks};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::exchange::spool::SpoolSpace;
use crate::proxy::exchange::use_gate::UseGate;
use crate::proxy::inbound::arrival::Arrival;
use crate::proxy::inbound::listener::{self, Admission};
use crate::proxy::inbound::port::{BaseUrlPort, ProxyPort, TransparentPort, VouchedPort};
use crate::proxy::outbound::dial::{Own, OwnAddresses};
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::fair_share::FairShares;
use crate::proxy::runtime::seen::SeenCounts;
use crate::proxy::runtime::workers::Workers;
use crate::tls::authority::Authority;
use crate::tls::leaf::LeafCache;
use crate::vault::{Keyring, Reader, Registrar, Store, StoreProbe, Vault};

/// A running proxy with its admin listener.
pub struct Server {
    proxy: Arc<Proxy>,
    admin: AdminContext,
    admission: Admission,
    workers: Arc<Workers>,
    /// The configuration that the server was started with.
    started: Config,
    proxy_addr: SocketAddr,
    admin_addr: SocketAddr,
    own: OwnAddresses,
    announced: Arc<Announcement>,
    background: Vec<JoinHandle<()>>,
    /// Cancelled when the ledger is about to be closed, for what only reads it.
    closed: CancellationToken,
}

impl Server {
    /// Opens everything under the data directory, binds both listeners and starts serving.
    pub async fn start(config: Config) -> Result<Self> {
        let parts = Parts::open(&config).await?;
        let keyring = parts.keyring.clone();
        let own = OwnAddresses::default();
        let settings = settings::from_config(
            config.clone(),
            Arc::clone(&parts.vault),
            &parts.ledger,
            &own,
        )?;
        let listeners = Listeners::bind(&config)?;
        let (proxy_addr, admin_addr) = (listeners.proxy_addr, listeners.admin_addr);
        let base_url = listeners
            .base_url
            .iter()
            .map(|(_, address)| *address)
            .collect();
        let others = listeners.transparent.iter().chain(&listeners.base_url);
        let others = others.map(|(_, address)| *address);
        let (canary, canary_addr) = canary::bind().await.context("cannot listen on loopback")?;
        let _ = own.set(Own {
            listeners: [proxy_addr, admin_addr].into_iter().chain(others).collect(),
            canary: canary_addr,
        });
        let workers = Arc::new(
            Workers::start(memory::stack::on_park).context("cannot start the proxy's threads")?,
        );
        let closed = CancellationToken::new();
        let first_uses = Arc::clone(parts.ledger.first_uses());
        usage::keep(config.ledger_dir(), first_uses, closed.clone())
            .context("cannot start the usage index")?;
        alerts::start(&config, settings.way.clone(), closed.clone())
            .context("cannot start the alerts")?;

        let state = Arc::new(parts.admin_state(proxy_addr));
        let registrar = parts.registrar.clone();
        let way = settings.way.clone();
        let admin_settings = AdminSettings::new(config.clone(), registrar, admin_addr, way);
        let changes = Changes::new();
        let services = parts.admin_services(&changes, &config);
        let admin = AdminContext::with_looks(
            Arc::clone(&state),
            admin_settings,
            services,
            Box::new(PageLooks),
        );
        let proxy = Arc::new(parts.proxy(settings, &state, changes)?);
        let places = open_files::connections(config.proxy.max_connections);
        let admission = Admission::new(&proxy, places, &workers);
        let mut background = listener::start(&ProxyPort, listeners.proxy, &admission, &workers)
            .context("cannot accept connections")?;
        for (listener, own) in listeners.transparent {
            if let Some(principal) = config.transparent.principal.clone() {
                let holder =
                    Presented::configured(principal, &config.transparent.action, "transparent");
                let port = TransparentPort {
                    holder: Arc::new(holder),
                    own,
                };
                let accepting = listener::start(&port, listener, &admission, &workers);
                background.extend(accepting.context("cannot accept connections")?);
            }
        }
        for (listener, own) in listeners.base_url {
            let BaseUrl {
                principal, action, ..
            } = &config.base_url;
            let holder = principal.clone();
            let holder = holder.map(|holder| Presented::configured(holder, action, "base-url"));
            let port = BaseUrlPort {
                holder: holder.map(Arc::new),
                own,
            };
            let accepting = listener::start(&port, listener, &admission, &workers);
            background.extend(accepting.context("cannot accept connections")?);
        }
        let router = admin::router(&admin, page::router(&admin));
        background.push(tokio::spawn(admin::run(
            admin.clone(),
            router,
            listeners.admin,
        )));
        background.extend(upkeep::start(&proxy, &workers));
        background.push(tokio::spawn(canary::run(canary)));
        background.push(tokio::spawn(upkeep::end_memberships(admin.clone())));
        let file = ServerFile {
            pid: std::process::id(),
            proxy: proxy_addr,
            admin: admin_addr,
            base_url,
            reloads: None,
            keys: keyring.names(),
        };
        let announced = Arc::new(Announcement::new(&config.data_dir, file));
        background.push(tokio::spawn(upkeep::follow_keys(
            keyring,
            config.clone(),
            Arc::clone(&announced),
        )));
        let server = Self {
            proxy,
            admin,
            admission,
            workers,
            started: config,
            proxy_addr,
            admin_addr,
            own,
            announced,
            background,
            closed,
        };
        server.announced.change(|_| {})?;
        Ok(server)
    }

    /// Says in the data directory that the configuration can be changed, and what became of earlier
    /// changes.
    pub async fn announce_reloads(&self, reloads: &Reloads) -> Result<()> {
        let (announced, reloads) = (Arc::clone(&self.announced), reloads.clone());
        on_disk(move || announced.change(|file| file.reloads = Some(reloads))).await?
    }

    /// Where the proxy listens.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where the admin listener listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Serves connections that are accepted elsewhere in this process, for the client with these
    /// credentials (as in `Proxy-Authorization`).
    pub fn vouch_for(&self, credentials: &str) -> VouchedClient {
        let arrival = Arrival::of(credentials.as_bytes(), &self.proxy.settings.load());
        VouchedClient {
            port: VouchedPort(arrival),
            admission: self.admission.clone(),
        }
    }

    /// The authority's certificate as PEM.
    pub fn ca_pem(&self) -> String {
        self.proxy.leaves.authority().cert_pem().to_owned()
    }

    /// A one-time link for the first administrator, on the first start of a store.
    pub async fn first_link(&self) -> Result<Option<String>> {
        first_link(&self.admin).await
    }

    /// The credentials, for the commands that run a server in their own process.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.proxy.vault
    }

    /// Puts a new configuration in force from the next request on. Connections stay open.
    ///
    /// Returns the names of the keys that differ from what the server was started with and take
    /// effect only at the next start.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>> {
        let at_restart = config::restart_needed(&self.started, &config);
        let approvals = config.approvals;
        let (vault, own) = (Arc::clone(&self.proxy.vault), Arc::clone(&self.own));
        // It reads the files of certificates that the configuration names.
        let registrar = self.admin.registrar();
        let ledger = self.proxy.ledger.clone();
        let for_admin = config.clone();
        let settings =
            on_disk(move || settings::from_config(config, vault, &ledger, &own)).await??;
        let way = settings.way.clone();
        let admin = AdminSettings::new(for_admin, registrar, self.admin_addr, way);
        settings::keep_fetched_keys(&settings, &self.proxy.settings.load());
        self.proxy.settings.store(Arc::new(settings));
        self.admin.replace(admin);
        self.proxy.gate.set_times(approvals.wait, approvals.keep);
        Ok(at_restart)
    }

    /// Stops accepting, lets what is under way finish for at most `deadline`, and closes the
    /// ledger and the store, for at most [`CLOSING`]: a disk that does not answer must not keep the
    /// process alive.
    pub async fn shutdown(self, deadline: Duration) -> Shutdown {
        self.proxy.draining.cancel();
        self.proxy.tasks.close();
        let is_drained = tokio::time::timeout(deadline, self.proxy.tasks.wait())
            .await
            .is_ok();
        for task in &self.background {
            task.abort();
        }
        let is_closed = tokio::time::timeout(CLOSING, self.close()).await;
        Shutdown {
            is_drained,
            is_closed: is_closed.unwrap_or(false),
        }
    }

    /// Ends what did not finish, and closes the ledger and the store. Returns whether the last lines
    /// of the ledger are on disk.
    async fn close(&self) -> bool {
        // What did not finish ends here, and leaves its result in the ledger.
        let workers = Arc::clone(&self.workers);
        let _ = tokio::task::spawn_blocking(move || workers.end()).await;
        self.closed.cancel();
        // What commands changed in the last moment belongs on record too; if it cannot be, the next
        // start finds it in the store.
        let proxy = &self.proxy;
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
        let is_closed = proxy.ledger.close().await.is_ok();
        proxy.vault.store().close().await;
        self.admin.registrar().close().await;
        // `egret run` may have removed it before.
        let data_dir = self.started.data_dir.clone();
        let _ = on_disk(move || ServerFile::remove(&data_dir)).await;
        is_closed
    }
}

/// A client for which this process vouches: its connections show no token.
#[derive(Clone)]
pub struct VouchedClient {
    port: VouchedPort,
    admission: Admission,
}

impl VouchedClient {
    /// Has a connection of the client's served, which it made to `original` if it knows of no proxy.
    ///
    /// # Errors
    /// When it cannot be handed to one of the threads that serve.
    pub fn serve(&self, stream: TcpStream, original: Option<SocketAddr>) -> io::Result<()> {
        let VouchedPort(arrival) = self.port.clone();
        self.admission
            .admit(VouchedPort(arrival.redirected(original)), stream)
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Every request was finished in time.
    pub is_drained: bool,
    /// The last lines of the ledger are on disk.
    pub is_closed: bool,
}

/// Longest time for closing, after the requests have ended.
const CLOSING: Duration = Duration::from_secs(10);
/// What a server holds open for as long as it lives.
struct Parts {
    keyring: Keyring,
    vault: Arc<Vault>,
    /// With connections to the store of its own: the admin side is not to keep a request waiting.
    registrar: Registrar,
    ledger: Ledger,
    leaves: Arc<LeafCache>,
    spool: Arc<SpoolSpace>,
}

impl Parts {
    async fn open(config: &Config) -> Result<Self> {
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let ledger_key = ledger::SigningKeySeal::of(&keyring);
        let vault = match Vault::open(&config.data_dir, &config.store.url, &keyring).await {
            Ok(vault) => vault,
            Err(error) => {
                // The server does not start, but whoever reads the ledger later has to learn of it.
                if error.is_alarming() {
                    let ledger = ledger::open_signed(config, ledger_key).await?;
                    changes::report_store(&ledger).await;
                    let _ = ledger.close().await;
                }
                return Err(error.into());
            }
        };
        // Before anything listens: a second server on this data directory ends here.
        let ledger = ledger::open_signed(config, ledger_key).await?;
        if let Err(error) = files::remove_partial_files(&config.data_dir) {
            tracing::warn!(%error, "files of interrupted starts could not be removed");
        }
        let store = Store::open(&config.store.url, keyring.policy_keys()).await?;
        Ok(Self {
            vault: Arc::new(vault),
            registrar: Registrar::new(store, &keyring),
            keyring,
            ledger,
            leaves: Arc::new(open_leaves(config)?),
            spool: SpoolSpace::new(config.data_dir.clone()),
        })
    }

    /// The admin side's part of it: probes, and the signals and counters that it shares with the
    /// proxy.
    fn admin_state(&self, proxy: SocketAddr) -> AdminState {
        AdminState {
            proxy,
            store: StoreProbe::new(Arc::clone(&self.vault)),
            ledger: LedgerProbe::new(self.ledger.clone()),
            counters: Arc::new(Counters::default()),
            health: Arc::default(),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            leaves: Arc::clone(&self.leaves),
            process: process::state,
        }
    }

    /// What the admin side reads and changes with.
    fn admin_services(&self, changes: &Changes, config: &Config) -> AdminServices {
        let (vault, ledger) = (&self.vault, self.ledger.clone());
        AdminServices::new(
            Reader::new(Arc::clone(vault)),
            Recorder::new(changes.clone(), Arc::clone(vault), ledger),
            Minter::new(Arc::clone(vault)),
            &config.ledger_dir(),
        )
    }

    fn proxy(self, settings: Settings, admin: &AdminState, changes: Changes) -> Result<Proxy> {
        let gate = Arc::new(UseGate::new(changes.clone()));
        let approvals = settings.config.approvals;
        gate.set_times(approvals.wait, approvals.keep);
        Ok(Proxy {
            settings: ArcSwap::from_pointee(settings),
            vault: self.vault,
            ledger: self.ledger,
            leaves: self.leaves,
            draining: admin.draining.clone(),
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

/// The listeners, and where they are.
struct Listeners {
    proxy: TcpListener,
    proxy_addr: SocketAddr,
    admin: TcpListener,
    admin_addr: SocketAddr,
    transparent: Vec<(TcpListener, SocketAddr)>,
    base_url: Vec<(TcpListener, SocketAddr)>,
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
            transparent: bind_all(&config.transparent.listen, "transparent.listen")?,
            base_url: bind_all(&config.base_url.listen, "base_url.listen")?,
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

fn bind_all(addresses: &[SocketAddr], key: &str) -> Result<Vec<(TcpListener, SocketAddr)>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = bind(*address, key)?;
        let address = listener.local_addr()?;
        listeners.push((listener, address));
    }
    Ok(listeners)
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
