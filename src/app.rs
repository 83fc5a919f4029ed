//! The composition root: a configuration becomes parts, the parts a running server, and the server
//! drains. Nothing else in the crate puts parts together.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::changes::Changes;
use crate::config::{Alpn, Config, Durability};
use crate::identity::Identity;
use crate::ledger::{self, Ledger};
use crate::observe::redact;
use crate::policy::address::AddressPolicy;
use crate::proxy::exchange::watch::Watchlist;
use crate::proxy::inbound::listener;
use crate::proxy::outbound::dial::{Dialer, OwnAddresses};
use crate::proxy::outbound::upstream::{Upstream, UpstreamLimits};
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::workers::Workers;
use crate::proxy::{Proxy, RequestIds, Settings};
use crate::secret::SecretBytes;
use crate::tls::authority::Authority;
use crate::tls::leaf::LeafCache;
use crate::vault::key_wrap::KeyWrap;
use crate::vault::model::OVERLAP;
use crate::vault::{Keyring, OpenError, Principal, Vault};
use crate::{admin, memory, observe, tls};

/// How often changes made by commands are taken into the ledger while no request asks for them.
const CHANGES_INTERVAL: Duration = Duration::from_millis(250);
/// How often replaced values are looked through.
const OVERLAP_INTERVAL: Duration = Duration::from_secs(600);
/// The file that tells other commands where the server of a data directory listens.
const SERVER_FILE: &str = "server.json";
/// Where the ledger is, inside the data directory.
const LEDGER: &str = "ledger";

/// Where a running server listens; the content of `server.json`. Nothing in it is secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerFile {
    /// The process id, for `egret reload`.
    pub pid: u32,
    /// The proxy's address.
    pub proxy: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
}

impl ServerFile {
    /// The path of the file in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(SERVER_FILE)
    }

    /// Reads what the last server of `data_dir` left; it may no longer run.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let text = fs::read(Self::path(data_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn write(&self, data_dir: &Path) -> Result<()> {
        let path = Self::path(data_dir);
        let partial = path.with_extension("json.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        // Renamed into place, so that whoever waits for the file never reads half of it.
        fs::rename(&partial, &path)?;
        Ok(())
    }
}

/// A running proxy with its admin listener.
pub struct Server {
    proxy: Arc<Proxy>,
    workers: Arc<Workers>,
    data_dir: PathBuf,
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
        let data_dir = config.data_dir.clone();
        let keyring = Keyring::load(&config.keys.master, &config.data_dir).await?;
        let ledger_key = LedgerKey::of(&keyring)?;
        let vault = open_vault(&config, keyring).await?;
        // Before anything listens: a second server on this data directory ends here.
        let ledger = open_signed_ledger(&config, ledger_key).await?;
        let leaves = open_leaves(&config)?;
        let own = OwnAddresses::default();
        let (proxy_listen, max) = (config.proxy.listen, config.proxy.max_connections);
        let admin_listen = config.admin.listen;
        let settings = settings(config, Arc::clone(&vault), &own)?;
        let proxy_listener = bind(proxy_listen, "proxy.listen")?;
        let admin_listener = bind(admin_listen, "admin.listen")?;
        let (proxy_addr, admin_addr) = (proxy_listener.local_addr()?, admin_listener.local_addr()?);
        let workers = Arc::new(
            Workers::start(memory::stack::on_park).context("cannot start the proxy's threads")?,
        );
        let _ = own.set(vec![proxy_addr, admin_addr]);
        let proxy = Arc::new(Proxy {
            settings: ArcSwap::from_pointee(settings),
            vault,
            ledger,
            leaves: Arc::new(leaves),
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            changes: Changes::new(),
            watchlist: Watchlist::default(),
            ids: RequestIds::new(random_prefix()?),
            counters: Counters::default(),
        });
        let closed = CancellationToken::new();
        ledger::usage::keep(data_dir.join(LEDGER), closed.clone())
            .context("cannot start the usage index")?;
        let threads = workers.handles().cloned().chain([Handle::current()]);
        let threads: Vec<_> = threads.collect();
        let places = Arc::new(Semaphore::new(max));
        let mut background = listener::start(&proxy, proxy_listener, &places, &workers)
            .context("cannot accept connections")?;
        background.extend([
            tokio::spawn(admin::run(Arc::clone(&proxy), admin_listener)),
            tokio::spawn(watch_changes(Arc::clone(&proxy))),
            tokio::spawn(follow_values(Arc::clone(&proxy), threads)),
            tokio::spawn(end_overlaps(Arc::clone(&proxy))),
            tokio::spawn(observe::memory::watch(proxy.tasks.clone())),
        ]);
        let server = Self {
            proxy,
            workers,
            data_dir,
            proxy_addr,
            admin_addr,
            own,
            background,
            closed,
        };
        server.announce()?;
        Ok(server)
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
    /// Listeners, files and keys are fixed at start: the names of changed keys that need a restart
    /// are returned.
    pub fn reload(&self, mut config: Config) -> Result<Vec<&'static str>> {
        let running = self.proxy.settings.load_full();
        let fixed = keep_fixed(&running.config, &mut config);
        let settings = settings(config, Arc::clone(&self.proxy.vault), &self.own)?;
        self.proxy.settings.store(Arc::new(settings));
        Ok(fixed)
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
        // Nobody should look for this server any more. It may be gone already.
        let _ = fs::remove_file(ServerFile::path(&self.data_dir));
        finished
    }

    fn announce(&self) -> Result<()> {
        let file = ServerFile {
            pid: std::process::id(),
            proxy: self.proxy_addr,
            admin: self.admin_addr,
        };
        file.write(&self.data_dir)
            .with_context(|| format!("cannot write {SERVER_FILE} in the data directory"))
    }
}

/// Opens the ledger of `config` for the lines of a command, without the key that signs checkpoints.
/// Blocks other servers and commands until it is closed.
pub async fn open_ledger(config: &Config) -> Result<Ledger> {
    let (dir, durability, options) = ledger_options(config);
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&dir, durability, options));
    Ok(opened.await??)
}

/// Opens the ledger of `config` for a server.
async fn open_signed_ledger(config: &Config, key: LedgerKey) -> Result<Ledger> {
    if let Durability::Interval(interval) = config.ledger.durability {
        tracing::warn!(
            ?interval,
            "ledger.durability = \"interval\": a crash may lose the uses of the last interval"
        );
    }
    let (dir, durability, options) = ledger_options(config);
    let open = move || Ledger::open_signed(&dir, durability, options, &key);
    Ok(tokio::task::spawn_blocking(open).await??)
}

fn ledger_options(config: &Config) -> (PathBuf, ledger::Durability, ledger::Options) {
    let durability = match config.ledger.durability {
        Durability::Commit => ledger::Durability::Commit,
        Durability::Interval(every) => ledger::Durability::Interval(every),
    };
    let options = ledger::Options {
        deadline: config.ledger.deadline,
        heartbeat: config.ledger.heartbeat,
        max_size: config.ledger.max_size,
        keep: ledger::Keep {
            time: config.ledger.keep_for,
            size: config.ledger.keep_size,
        },
        ..ledger::Options::default()
    };
    (config.data_dir.join(LEDGER), durability, options)
}

/// Seals the key that signs the ledger's checkpoints with the vault's master key. The two meet here
/// alone.
pub struct LedgerKey(KeyWrap);

impl LedgerKey {
    /// What the keyring's master key seals.
    pub fn of(keyring: &Keyring) -> Result<Self> {
        let wrap = keyring.key_wrap("ledger signing key");
        Ok(Self(wrap.context("the master key cannot be used")?))
    }
}

impl ledger::signing::Seal for LedgerKey {
    fn seal(&self, seed: &SecretBytes) -> Result<Vec<u8>, String> {
        self.0.wrap(seed).map_err(|error| error.to_string())
    }

    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
        self.0.unwrap(sealed).map_err(|error| match error {
            OpenError::OtherKey(_) => error.to_string(),
            _ => "the file is damaged".to_owned(),
        })
    }
}

async fn open_vault(config: &Config, keyring: Keyring) -> Result<Arc<Vault>> {
    let vault = Vault::open(&config.data_dir, &config.store.sqlite_path, keyring).await?;
    Ok(Arc::new(vault))
}

fn open_leaves(config: &Config) -> Result<LeafCache> {
    let authority = Authority::load_or_create(&config.tls.ca_cert, &config.tls.ca_key)?;
    let protocols = config.proxy.alpn.iter().map(|protocol| match protocol {
        Alpn::Http11 => b"http/1.1".to_vec(),
        Alpn::H2 => b"h2".to_vec(),
    });
    Ok(LeafCache::new(authority, protocols.collect())?)
}

fn settings(config: Config, vault: Arc<Vault>, own: &OwnAddresses) -> Result<Settings> {
    let principal = Principal::parse(&config.proxy.principal)
        .map_err(|error| anyhow::anyhow!("proxy.principal: {error}"))?;
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

/// Carries over what cannot change while running, and names what was to change.
fn keep_fixed(running: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut keep = |name: &'static str, differs: bool| {
        if differs {
            changed.push(name);
        }
    };
    keep("data_dir", running.data_dir != new.data_dir);
    keep("proxy.listen", running.proxy.listen != new.proxy.listen);
    keep("proxy.alpn", running.proxy.alpn != new.proxy.alpn);
    keep(
        "proxy.max_connections",
        running.proxy.max_connections != new.proxy.max_connections,
    );
    keep("admin.listen", running.admin.listen != new.admin.listen);
    keep("tls.ca_cert", running.tls.ca_cert != new.tls.ca_cert);
    keep("tls.ca_key", running.tls.ca_key != new.tls.ca_key);
    keep("store.url", running.store.url != new.store.url);
    keep("keys.master", running.keys.master != new.keys.master);
    keep(
        "ledger.durability",
        running.ledger.durability != new.ledger.durability,
    );
    keep(
        "ledger.deadline",
        running.ledger.deadline != new.ledger.deadline,
    );
    let (old, wanted) = (&running.ledger, &new.ledger);
    keep("ledger.heartbeat", old.heartbeat != wanted.heartbeat);
    keep("ledger.max_size", old.max_size != wanted.max_size);
    keep("ledger.keep_for", old.keep_for != wanted.keep_for);
    keep("ledger.keep_size", old.keep_size != wanted.keep_size);
    new.data_dir.clone_from(&running.data_dir);
    changed
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

/// Takes changes by commands into the ledger soon, also while no request comes.
async fn watch_changes(proxy: Arc<Proxy>) {
    loop {
        tokio::time::sleep(CHANGES_INTERVAL).await;
        // A store that cannot be read is logged by the vault; requests are refused meanwhile.
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
    }
}

/// Keeps the log's filter up to date, and lets go of values that are out of use: of what was
/// prepared for searching, of idle connections, in whose buffers they may lie, and of what calls
/// have left on the stacks of the runtimes' `threads`.
async fn follow_values(proxy: Arc<Proxy>, threads: Vec<Handle>) {
    let mut followed = None;
    loop {
        let state = (proxy.vault.generation(), proxy.vault.retired());
        if followed != Some(state) {
            let opening = Arc::clone(&proxy);
            let everyone = apart(move || opening.watchlist.everyone(&opening.vault));
            if let Some(needles) = everyone.await {
                redact::know_all(state.0, needles);
            }
            proxy.watchlist.forget_before(state.0);
            if followed.is_some_and(|(_, retired)| retired != state.1) {
                renew_upstream(&proxy);
                memory::stack::wipe_all(&threads).await;
            }
            followed = Some(state);
        }
        tokio::time::sleep(CHANGES_INTERVAL).await;
    }
}

/// Does what opens values on a thread that ends with it: its stack, which is wiped to a depth that
/// nothing else needs, is not kept. `None` if there is no such thread.
async fn apart<T: Send + 'static>(open: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, opened) = oneshot::channel();
    let run = move || {
        let result = open();
        memory::stack::wipe();
        // Nobody waits for it any more when the server ends.
        let _ = done.send(result);
    };
    thread::Builder::new()
        .name("values".to_owned())
        .spawn(run)
        .ok()?;
    opened.await.ok()
}

/// Makes the way out anew. Idle connections go with the old one, and those in use when their
/// exchange is over.
fn renew_upstream(proxy: &Proxy) {
    let running = proxy.settings.load_full();
    let renewed = Settings {
        identity: running.identity.clone(),
        upstream: running.upstream.renewed(),
        config: running.config.clone(),
    };
    // If a reload came in between, its way out is new already.
    proxy.settings.compare_and_swap(&running, Arc::new(renewed));
}

/// Erases replaced values whose time is over.
async fn end_overlaps(proxy: Arc<Proxy>) {
    loop {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        if let Err(error) = proxy.vault.store().erase_replaced(now - OVERLAP).await {
            tracing::warn!(%error, "replaced values could not be erased yet");
        }
        tokio::time::sleep(OVERLAP_INTERVAL).await;
    }
}

fn random_prefix() -> Result<u32> {
    let mut bytes = [0u8; 4];
    aws_lc_rs::rand::fill(&mut bytes).context("no randomness")?;
    Ok(u32::from_ne_bytes(bytes))
}
