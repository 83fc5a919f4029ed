//! The listener of one `egret run`: whoever may connect to it needs no token, because the listener
//! vouches for them.
//!
//! So the proxy's address carries no user name and password, which many clients drop, refuse, or
//! answer by leaving out the `Authorization` of the request itself (Java's `HttpClient`). The token
//! stays in this process. It is of no use to anyone once this process has ended, however it ended,
//! and the listener is closed by then.
//!
//! A loopback port can be reached by every user of the machine, so connections of other users are
//! closed, as far as the system says whose they are. Other processes of this user are let through: each
//! could call `egret run` itself, and daemons that a program starts (Gradle's) leave its process group.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::peer;
use super::tunnels::Tunnels;
use super::way::Way;

/// Pause after a failed accept: the usual cause is that no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections at a time. The proxy has its own limit, which answers.
const MOST: usize = 8_192;

pub(super) struct OwnListener {
    listener: TcpListener,
    address: SocketAddr,
    way: Way,
    reach: Reach,
}

/// Who reaches a listener, and where it leads.
#[derive(Clone)]
pub(super) enum Reach {
    /// The proxy, on a port that every user of the machine reaches.
    Shared,
    /// The proxy, in a namespace that only the program is in.
    Proxy,
    /// Whatever the program meant to connect to, in such a namespace.
    Any,
    /// A port of this machine's loopback interface, for a program in such a namespace.
    Host(u16),
    /// Hosts that the user named, for a program in such a namespace.
    Tunnel(Arc<Tunnels>),
}

impl OwnListener {
    /// Listens on a free loopback port; connections go on by `way`.
    pub(super) async fn open(way: Way) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            way,
            reach: Reach::Shared,
        })
    }

    /// Takes over a socket of the program's namespace.
    pub(super) fn inside(listener: StdListener, way: Way, reach: Reach) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            way,
            reach,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes connections on to the proxy for as long as it is polled. What was passed on ends with
    /// the future, unless the proxy in this process has it.
    pub(super) async fn accept(&self) -> Infallible {
        let places = Arc::new(Semaphore::new(MOST));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                // It is never closed.
                continue;
            };
            let Ok((stream, from)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (way, address, reach) = (self.way.clone(), self.address, self.reach.clone());
            connections.spawn(async move {
                let _place = place;
                if !matches!(reach, Reach::Shared) || is_allowed(from, address).await {
                    pass_on(way, stream, reach).await;
                }
            });
        }
    }
}

async fn pass_on(way: Way, stream: TcpStream, reach: Reach) {
    match reach {
        Reach::Shared | Reach::Proxy => way.take(stream, None).await,
        Reach::Any => {
            // The address that the client has connected to is the socket's own.
            if let Ok(original) = stream.local_addr() {
                way.take(stream, Some(original)).await;
            }
        }
        Reach::Host(port) => to_host(stream, port).await,
        Reach::Tunnel(tunnels) => tunnels.pass_on(stream).await,
    }
}

/// Joins the connection to a port of this machine's loopback interface.
async fn to_host(mut client: TcpStream, port: u16) {
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ];
    if let Ok(mut host) = TcpStream::connect(&addresses[..]).await {
        // Either side may close at any time, which is no error.
        let _ = copy_bidirectional(&mut client, &mut host).await;
    }
}

/// Whether the connection is of this user, of root, or of somebody whom the system does not tell.
async fn is_allowed(from: SocketAddr, address: SocketAddr) -> bool {
    let own = rustix::process::getuid().as_raw();
    let owner = tokio::task::spawn_blocking(move || peer::owner(from, address)).await;
    match owner {
        Ok(peer::Owner::User(uid)) => uid == own || uid == 0,
        Ok(peer::Owner::Untold) => true,
        // It has closed the connection already.
        Ok(peer::Owner::Gone) | Err(_) => false,
    }
}
