//! The outer side: starts the process, tells it what to prepare, and accepts what comes out.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::handover::{self, PATIENCE, Reply};
use super::plan::{PROXY_PORT, Plan};
use super::{cover, names};
use crate::app::ServerFile;
use crate::cli::run::own_listener::{OwnListener, Reach};
use crate::cli::run::process::Process;
use crate::cli::run::tunnels::Tunnels;
use crate::cli::run::way::Way;
use crate::cli::usable::Usable;
use crate::config::Config;
use crate::environment::trust::TrustFiles;
use crate::environment::variables::Changes;

/// The ports on which web servers are, and on which every address leads to Egret.
const WEB: [u16; 2] = [80, 443];

/// How long the end of a process waits for what it has said before.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the user asked for.
pub(in crate::cli::run) struct Asked<'a> {
    pub(in crate::cli::run) program: &'a OsStr,
    pub(in crate::cli::run) arguments: &'a [OsString],
    pub(in crate::cli::run) changes: &'a Changes,
    pub(in crate::cli::run) withheld: &'a [OsString],
    /// More ports on which every address leads to Egret.
    pub(in crate::cli::run) ports: &'a [u16],
    /// Ports of this machine's loopback interface that are to be reached.
    pub(in crate::cli::run) host_ports: &'a [u16],
    /// Other connections that the program may make.
    pub(in crate::cli::run) tunnels: &'a Arc<Tunnels>,
    /// What is not covered.
    pub(in crate::cli::run) visible: &'a [PathBuf],
    /// What takes the place of keys in files that are covered.
    pub(in crate::cli::run) usable: &'a [Usable],
}

/// Why there is no isolation.
#[derive(Debug)]
pub(in crate::cli::run) struct Unavailable(pub(in crate::cli::run) String);

/// A program in namespaces of its own, and what comes out of them.
pub(in crate::cli::run) struct Isolation {
    listeners: Vec<OwnListener>,
    resolver: UdpSocket,
    has_v6: bool,
    tunnels: Arc<Tunnels>,
}

impl Isolation {
    /// Where the proxy is inside.
    pub(in crate::cli::run) fn proxy_address() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, PROXY_PORT).into()
    }

    /// Starts the program in namespaces of its own.
    ///
    /// # Errors
    /// The inner error says that this machine does not allow it; the outer one, that something else
    /// failed.
    pub(in crate::cli::run) async fn start(
        asked: &Asked<'_>,
        config: &Config,
        trust: &TrustFiles,
        way: &Way,
    ) -> anyhow::Result<Result<(Process, Self), Unavailable>> {
        let plan = plan(asked, config, trust)?;
        let (name, listener) = handover::listen().context("cannot listen for the program")?;
        let own = std::env::current_exe().context("the path of this program is not known")?;
        let mut arguments: Vec<OsString> = vec!["inside".into(), name.into(), "--".into()];
        arguments.push(asked.program.to_owned());
        arguments.extend_from_slice(asked.arguments);
        let mut process =
            Process::start(own.as_os_str(), &arguments, asked.changes, asked.withheld)
                .context("cannot start the process that prepares the namespaces")?;
        let pid = process.id();
        let mut exchange = tokio::task::spawn_blocking(move || exchange(&listener, pid, &plan));
        let exchanged = tokio::select! {
            biased;
            exchanged = tokio::time::timeout(PATIENCE, &mut exchange) => exchanged,
            ended = process.wait() => {
                ended?;
                // What it said before may still have to be read.
                tokio::time::timeout(LAST_WORDS, &mut exchange).await
            }
        };
        let sockets = exchanged
            .context("the process that prepares the namespaces does not answer")??
            .context("the process that prepares the namespaces has ended")?;
        let (stream, sockets) = match sockets {
            Exchanged::Ready(stream, sockets) => (stream, sockets),
            Exchanged::Failed(text) => {
                process.wait().await?;
                return Ok(Err(Unavailable(text)));
            }
        };
        let isolation = Self::accepting(sockets, asked, way)?;
        handover::go(&stream).context("the program cannot be started")?;
        Ok(Ok((process, isolation)))
    }

    fn accepting(sockets: Vec<OwnedFd>, asked: &Asked<'_>, way: &Way) -> anyhow::Result<Self> {
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().context("a socket is missing");
        let resolver = StdSocket::from(next()?);
        resolver.set_nonblocking(true)?;
        let has_v6 = resolver.local_addr()?.is_ipv6();
        let listener = |socket: OwnedFd, reach| -> io::Result<OwnListener> {
            OwnListener::inside(StdListener::from(socket), way.clone(), reach)
        };
        let mut listeners = vec![listener(next()?, Reach::Proxy)?];
        for _ in 0..WEB.len() + asked.ports.len() {
            listeners.push(listener(next()?, Reach::Any)?);
        }
        for _ in asked.tunnels.ports() {
            let reach = Reach::Tunnel(Arc::clone(asked.tunnels));
            listeners.push(listener(next()?, reach)?);
        }
        for port in asked.host_ports {
            listeners.push(listener(next()?, Reach::Host(*port))?);
        }
        for (socket, port) in sockets.zip(asked.host_ports) {
            listeners.push(listener(socket, Reach::Host(*port))?);
        }
        Ok(Self {
            listeners,
            resolver: UdpSocket::from_std(resolver)?,
            has_v6,
            tunnels: Arc::clone(asked.tunnels),
        })
    }

    /// Serves what comes out, for as long as it is polled.
    pub(in crate::cli::run) async fn accept(self) -> Infallible {
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(async move {
                listener.accept().await;
            });
        }
        let named = self.tunnels.names();
        let mut query = [0; names::LONGEST];
        loop {
            let Ok((length, from)) = self.resolver.recv_from(&mut query).await else {
                tokio::task::yield_now().await;
                continue;
            };
            if let Some(answer) = names::answer(&query[..length], self.has_v6, &named) {
                // One that is not answered is sent again.
                let _ = self.resolver.send_to(&answer, from).await;
            }
        }
    }
}

enum Exchanged {
    Ready(UnixStream, Vec<OwnedFd>),
    Failed(String),
}

/// Tells the process what to prepare, and waits for its sockets. Blocks.
fn exchange(listener: &UnixListener, pid: Option<u32>, plan: &Plan) -> io::Result<Exchanged> {
    loop {
        let (stream, _) = listener.accept()?;
        // The name can be seen by others.
        let peer = rustix::net::sockopt::socket_peercred(&stream)?.pid;
        if pid != u32::try_from(peer.as_raw_pid()).ok() {
            continue;
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        handover::send_plan(&stream, plan)?;
        return Ok(match handover::receive(&stream)? {
            Reply::Ready(sockets) => Exchanged::Ready(stream, sockets),
            Reply::Failed(text) => Exchanged::Failed(text),
        });
    }
}

fn plan(asked: &Asked<'_>, config: &Config, trust: &TrustFiles) -> anyhow::Result<Plan> {
    let data_dir = std::fs::canonicalize(&config.data_dir)?;
    let mut plan = Plan {
        ports: WEB.iter().chain(asked.ports).copied().collect(),
        tunnel_ports: asked.tunnels.ports(),
        host_ports: asked.host_ports.to_vec(),
        shown: trust
            .files()
            .filter(|file| file.starts_with(&config.data_dir))
            .collect(),
        data_dir: config.data_dir.clone(),
        ..Plan::default()
    };
    let server = ServerFile::read(&config.data_dir);
    let own_ports = server.map(|file| [file.proxy.port(), file.admin.port()]);
    if own_ports.is_some_and(|own| asked.host_ports.iter().any(|port| own.contains(port))) {
        bail!("--host-port cannot name a port of Egret's own");
    }
    let is_taken = |port: &u16| plan.ports.contains(port) || plan.host_ports.contains(port);
    if plan.tunnel_ports.iter().any(is_taken) {
        bail!(
            "--allow-tcp cannot name a port that leads to Egret (80, 443, --port) or is in --host-port"
        );
    }
    let ports = plan.ports.len() + plan.tunnel_ports.len() + 2 * plan.host_ports.len();
    if ports + 2 > handover::MOST_SOCKETS {
        bail!("too many ports");
    }
    let mut own = vec![config.tls.ca_key.clone()];
    own.extend(config.keys.files(&config.data_dir));
    own.extend(config.store.url.files());
    for file in own {
        if let Ok(file) = std::fs::canonicalize(file)
            && !file.starts_with(&data_dir)
        {
            plan.files.push(file);
        }
    }
    let visible: Vec<PathBuf> = asked
        .visible
        .iter()
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect();
    if visible
        .iter()
        .any(|path| path.starts_with(&data_dir) || data_dir.starts_with(path))
    {
        bail!("--show cannot name Egret's own directory");
    }
    cover::add_known(&mut plan, &visible, asked.usable);
    Ok(plan)
}
