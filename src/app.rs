//! The composition root: a configuration becomes parts, the parts a running server, and the server
//! drains. Nothing else in the crate puts parts together.

mod acceptance;
mod alerts;
mod canary;
mod disk;
mod endpoint;
mod first_link;
mod handover;
mod inherited;
mod ledger;
mod listeners;
mod open_files;
mod parts;
mod process;
mod s3;
mod server_file;
mod settings;
mod ship;
mod standing;
mod take_back;
mod traces;
mod unix_socket;
mod upkeep;
mod witness;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::disk::on_disk;
use self::first_link::first_link;
use self::handover::Handed;
pub use self::handover::{Predecessor, Successor};
use self::inherited::Inherited;
pub use self::ledger::{ledger_keys, open as open_ledger, rekey_signing_key};
use self::listeners::Listeners;
use self::parts::Parts;
use self::server_file::Announcement;
pub use self::server_file::{Reloads, ServerFile, Upgrades};
pub use self::settings::direct_dialer;
use self::standing::Standing;
use self::unix_socket::UnixSocket;
use crate::admin::{self, AdminContext, AdminSettings};
use crate::changes::Changes;
use crate::config::{self, Config};
pub use crate::environment::proxy_access::reachable;
use crate::ledger::{NotFollowed, Relayed};
use crate::memory;
use crate::page::{self, PageLooks};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::inbound::arrival::Arrival;
use crate::proxy::inbound::listener::Admission;
use crate::proxy::inbound::port::VouchedPort;
use crate::proxy::runtime::workers::Workers;
use crate::vault::Vault;

/// A running proxy with its admin listener.
pub struct Server {
    proxy: Arc<Proxy>,
    admin: AdminContext,
    admission: Admission,
    workers: Arc<Workers>,
    /// The configuration that the server was started with.
    started: Config,
    proxy_addr: SocketAddr,
    proxy_tls: Vec<SocketAddr>,
    admin_addr: SocketAddr,
    announced: Arc<Announcement>,
    background: Vec<JoinHandle<()>>,
    /// Cancelled when the ledger is about to be closed, for what only reads it.
    closed: CancellationToken,
    /// The listeners, for a process that follows this one.
    handed: Vec<Handed>,
    /// Unix sockets, which go with the server.
    sockets: Vec<UnixSocket>,
    /// What remains where the server stops serving for another one, and takes its place again.
    standing: Standing,
}

impl Server {
    /// Opens everything under the data directory, binds both listeners and starts serving. Listeners that
    /// the service manager has bound are used.
    pub async fn start(config: Config) -> Result<Self> {
        let parts = Parts::open(&config, None).await?;
        // Taken last: a start that fails because the ledger is in use is tried again.
        let inherited = Inherited::of_manager();
        let inherited = inherited.context("the sockets of LISTEN_FDS cannot be used")?;
        let listeners = Listeners::bind(&config, inherited)?;
        let mut server = Self::serve(config, listeners, parts).await?;
        server.adopt();
        Ok(server)
    }

    /// The same in the place of the server that has started this process, which goes on until everything
    /// but the ledger is open here.
    pub async fn take_over(config: Config) -> Result<Self> {
        let (predecessor, inherited) = Predecessor::at_stdin()?;
        // What fails does so while the other one still serves.
        let listeners = Listeners::bind(&config, inherited)?;
        let parts = Parts::open(&config, Some(&predecessor)).await?;
        let mut server = Self::serve(config, listeners, parts).await?;
        server.standing.alone = CancellationToken::new();
        let relayed = Relayed::of(&server.proxy.ledger);
        predecessor.serve(relayed, server.standing.alone.clone())?;
        // Not before: what fails until here leaves them to the other one.
        server.adopt();
        Ok(server)
    }

    /// The Unix sockets are this server's from now on.
    fn adopt(&mut self) {
        self.sockets.iter_mut().for_each(UnixSocket::adopt);
    }

    async fn serve(config: Config, listeners: Listeners, parts: Parts) -> Result<Self> {
        let standing = Standing::of(&config, &listeners, parts).await?;
        let Standing { parts, own, .. } = &standing;
        let vault = Arc::clone(&parts.vault);
        let settings = settings::from_config(config.clone(), vault, &parts.ledger, own)?;
        let server = Self::stand(config, Arc::new(settings), listeners, standing, Err)?;
        server.announced.change(|_| {})?;
        Ok(server)
    }

    /// Serves with what may have served before. What it does beside requests and cannot begin is `failed`,
    /// which says whether the server starts all the same.
    fn stand(
        config: Config,
        settings: Arc<Settings>,
        listeners: Listeners,
        standing: Standing,
        failed: fn(anyhow::Error) -> Result<()>,
    ) -> Result<Self> {
        let handed = listeners.handed()?;
        let parts = &standing.parts;
        let (proxy_addr, admin_addr) = (listeners.clients.proxy.address, listeners.admin.address);
        let (base_url, proxy_tls) = (listeners.clients.base_urls(), listeners.clients.proxy_tls());
        let base_url_tls = listeners.clients.base_urls_tls();
        let base_url_sockets = listeners.clients.base_url_sockets();
        let workers = Arc::new(
            Workers::start(memory::stack::on_park).context("cannot start the proxy's threads")?,
        );
        let closed = CancellationToken::new();
        let way = &settings.way;
        for begun in standing.begin_beside(&config, way, &closed) {
            begun.or_else(failed)?;
        }

        let state = Arc::new(parts.admin_state(proxy_addr));
        let changes = Changes::new();
        let admin = AdminContext::with_looks(
            Arc::clone(&state),
            parts.admin_settings(admin_addr, &settings),
            parts.admin_services(&changes, &config),
            Box::new(PageLooks),
        );
        let proxy = parts.clone().proxy(settings, &state, changes)?;
        let proxy = Arc::new(proxy);
        let admission = Admission::new(&proxy, standing.places.clone(), &workers);
        let (mut background, sockets) = listeners.clients.serve(&config, &admission, &workers)?;
        let router = admin::router(&admin, page::router(&admin));
        background.push(tokio::spawn(admin::run(
            admin.clone(),
            router,
            listeners.admin.into_listener(),
        )));
        background.extend(upkeep::start(&proxy, &workers));
        background.push(tokio::spawn(canary::run(Arc::clone(&standing.canary))));
        background.push(tokio::spawn(upkeep::end_memberships(admin.clone())));
        let file = ServerFile {
            pid: std::process::id(),
            proxy: proxy_addr,
            admin: admin_addr,
            base_url,
            base_url_sockets,
            base_url_tls,
            proxy_tls: proxy_tls.clone(),
            reloads: None,
            upgrades: Upgrades::default(),
            keys: parts.keyring.names(),
        };
        let announced = Arc::new(Announcement::new(&config.data_dir, file));
        background.push(tokio::spawn(upkeep::follow_keys(
            parts.keyring.clone(),
            config.clone(),
            Arc::clone(&announced),
        )));
        Ok(Self {
            proxy,
            admin,
            admission,
            workers,
            started: config,
            proxy_addr,
            proxy_tls,
            admin_addr,
            announced,
            background,
            closed,
            handed,
            sockets,
            standing,
        })
    }

    /// Says in the data directory that the configuration can be changed, and what became of earlier
    /// changes.
    pub async fn announce_reloads(&self, reloads: &Reloads) -> Result<()> {
        let (announced, reloads) = (Arc::clone(&self.announced), reloads.clone());
        on_disk(move || announced.change(|file| file.reloads = Some(reloads))).await?
    }

    /// Says in the data directory what became of an upgrade.
    pub async fn announce_upgrades(&self, upgrades: &Upgrades) -> Result<()> {
        let (announced, upgrades) = (Arc::clone(&self.announced), upgrades.clone());
        on_disk(move || announced.change(|file| file.upgrades = upgrades)).await?
    }

    /// Where the proxy listens.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where the proxy is spoken to over TLS.
    pub fn proxy_tls(&self) -> &[SocketAddr] {
        &self.proxy_tls
    }

    /// The SHA-256 of the authority's certificate, in hexadecimal digits.
    pub fn ca_fingerprint(&self) -> String {
        let authority = self.proxy.leaves.authority();
        authority.fingerprint(OffsetDateTime::now_utc())
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
        let (vault, own) = (
            Arc::clone(&self.proxy.vault),
            Arc::clone(&self.standing.own),
        );
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

    /// Starts the program that is installed now as the one that follows, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot follow. Nothing has changed then.
    pub async fn start_successor(&self) -> Result<Successor> {
        Successor::start(&self.handed).await
    }

    /// Gives listeners and ledger to the process that follows, and returns once that one serves. Connections
    /// that are open here go on, and what they use is put on record there; clients are told to make new ones
    /// for what they ask next. Connections that come meanwhile wait.
    ///
    /// # Errors
    /// When the process that follows does not serve: it has ended then. If the ledger is back here,
    /// [`take_back`](Self::take_back) is to follow, else this server cannot go on either.
    pub async fn hand_over(&mut self, successor: Successor) -> Result<(), NotFollowed> {
        self.proxy.leaving.cancel();
        // First, because a connection that is being accepted is no task yet.
        let _ = tokio::time::timeout(CLOSING, self.admission.until_closed()).await;
        self.admin.state().followed.cancel();
        // What this server does beside serving requests the other one does from now on.
        for task in self.background.drain(..) {
            task.abort();
            // It holds a listener, or is at the store: it is gone when the other one begins.
            let _ = task.await;
        }
        let proxy = &self.proxy;
        let _ = acceptance::write(proxy).await;
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
        proxy.changes.leave().await;
        self.closed.cancel();
        proxy.ledger.hand_over(successor.into_writer()).await
    }

    /// Stops accepting, lets what is under way finish for at most `deadline`, and closes the
    /// ledger and the store, for at most [`CLOSING`]: a disk that does not answer must not keep the
    /// process alive.
    ///
    /// Where another process follows, what says where the server is stays, and the other changes it.
    pub async fn shutdown(mut self, deadline: Duration, is_followed: bool) -> Shutdown {
        // As long as a socket is open that nobody accepts from, who connects waits in vain.
        self.handed.clear();
        if is_followed {
            self.sockets.iter_mut().for_each(UnixSocket::leave);
        }
        self.sockets.clear();
        self.proxy.leaving.cancel();
        if !is_followed {
            self.proxy.draining.cancel();
        }
        self.proxy.tasks.close();
        let is_drained = tokio::time::timeout(deadline, self.drain(deadline))
            .await
            .is_ok();
        for task in &self.background {
            task.abort();
        }
        let is_closed = tokio::time::timeout(CLOSING, self.close(is_followed)).await;
        Shutdown {
            is_drained,
            is_closed: is_closed.unwrap_or(false),
        }
    }

    /// Waits until every connection has ended, here and in a process before this one, whose results are
    /// written here. WebSockets and tunnels that are not looked into have no end of their own: they are ended
    /// shortly before the deadline, so that both sides can still be told. So are connections on which nothing
    /// is asked, which another process cannot have.
    async fn drain(&self, deadline: Duration) {
        let ended = async {
            self.proxy.tasks.wait().await;
            self.standing.alone.cancelled().await;
        };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => return,
            () = tokio::time::sleep(deadline - GOODBYE.min(deadline / 2)) => {}
        }
        self.proxy.draining.cancel();
        self.proxy.ending.cancel();
        ended.await;
    }

    /// Ends what did not finish, and closes the ledger and the store. Returns whether the last lines
    /// of the ledger are on disk.
    async fn close(&self, is_followed: bool) -> bool {
        // What did not finish ends here, and leaves its result in the ledger.
        let mut workers = self.standing.retired();
        workers.push(Arc::clone(&self.workers));
        let end = move || workers.iter().for_each(|workers| workers.end());
        let _ = tokio::task::spawn_blocking(end).await;
        self.closed.cancel();
        self.standing.ended.cancel();
        if !is_followed {
            let _ = acceptance::write(&self.proxy).await;
        }
        // What commands changed in the last moment belongs on record too; if it cannot be, the next
        // start finds it in the store.
        let proxy = &self.proxy;
        let _ = proxy.changes.follow(&proxy.vault, &proxy.ledger).await;
        let is_closed = proxy.ledger.close().await.is_ok();
        proxy.vault.store().close().await;
        self.admin.registrar().close().await;
        if !is_followed {
            // `egret run` may have removed it before.
            let data_dir = self.started.data_dir.clone();
            let _ = on_disk(move || ServerFile::remove(&data_dir)).await;
        }
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

impl Shutdown {
    /// It was told to stop without waiting.
    pub const AT_ONCE: Self = Self {
        is_drained: false,
        is_closed: true,
    };
}

/// How long before the end of the drain WebSockets are closed: the close frame has to be answered.
const GOODBYE: Duration = Duration::from_secs(5);

/// Longest time for closing, after the requests have ended.
const CLOSING: Duration = Duration::from_secs(10);
