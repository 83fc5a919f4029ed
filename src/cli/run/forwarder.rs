//! A TCP forwarder to a proxy that belongs to another `egret run`.
//!
//! Only one process can write the ledger of a data directory, so a second `egret run` uses the
//! proxy of the first. The first may end while the program of the second still runs, with the
//! proxy's address in its environment. So that address is one of the second's own: it forwards
//! connections to the proxy that is running, and starts one itself when there is none.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::embedded;
use crate::app::{Server, ServerFile};
use crate::cli::server;
use crate::config::Config;

/// How long a connection waits for a proxy. One that is ending has to close the ledger first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two attempts to find or start one, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

pub(in crate::cli) struct Forwarder {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    state: Arc<State>,
}

pub(super) struct State {
    config: Config,
    target: Mutex<Target>,
}

/// The proxy that connections go to.
struct Target {
    address: SocketAddr,
    own: Option<Server>,
}

impl Forwarder {
    pub(super) async fn open(config: &Config, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            config: config.clone(),
            target: Mutex::new(Target {
                address: target,
                own: None,
            }),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            accepting,
            state,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    pub(super) async fn close(self, shared: bool) {
        self.accepting.abort();
        if let Some(server) = self.state.target.lock().await.own.take() {
            embedded::shutdown(server, &self.state.config, shared).await;
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(pass_on(client, Arc::clone(&state)));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn pass_on(mut client: TcpStream, state: Arc<State>) {
    match state.connect().await {
        Ok(mut proxy) => {
            // Either side may close at any time, which is no error.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut proxy).await;
        }
        Err(error) => tracing::error!("no proxy to pass a connection on to: {error:#}"),
    }
}

impl State {
    /// A connection to the proxy that is running.
    pub(super) async fn connect(&self) -> anyhow::Result<TcpStream> {
        let mut target = self.target.lock().await;
        let start = Instant::now();
        loop {
            if self.is_current(&target)
                && let Ok(stream) = TcpStream::connect(target.address).await
            {
                return Ok(stream);
            }
            match self.find().await {
                Ok(found) => *target = found,
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether a proxy still takes new connections: one that is about to end removes the server
    /// file first.
    fn is_current(&self, target: &Target) -> bool {
        let file = || ServerFile::read(&self.config.data_dir);
        target.own.is_some() || file().is_some_and(|file| file.proxy == target.address)
    }

    /// Another run's proxy, or a new one here.
    async fn find(&self) -> anyhow::Result<Target> {
        if let Some(file) = server::live(&self.config.data_dir) {
            return Ok(Target {
                address: file.proxy,
                own: None,
            });
        }
        let server = Server::start(embedded::config(&self.config)).await?;
        Ok(Target {
            address: server.proxy_addr(),
            own: Some(server),
        })
    }
}
