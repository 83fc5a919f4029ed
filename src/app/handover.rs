//! A running server hands its listeners over to a new process, so that an upgrade refuses no
//! connection.
//!
//! ```text
//! old process                                 new process
//! starts it, sends the listeners      ──►     reads its configuration, opens the store
//! goes on                             ◄──     is ready, or has ended: then nothing changes
//! accepts no more, lets what is
//! under way finish, closes the ledger ──►     opens the ledger
//! ends                                ◄──     accepts
//! ```
//!
//! From the moment in which the old process accepts no more until the new one does, connections wait in
//! the listening sockets, which are the same in both. There is one writer of the ledger at any time. So
//! WebSockets, which may last for hours, go on in the old process only as long as nobody waits.
//!
//! Both speak over a pair of Unix sockets, which is the standard input of the new process.

use std::env;
use std::future::pending;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, spawn_blocking};

use super::inherited::Inherited;
use crate::descriptors;

/// The option of `egret serve` that says that a server is followed.
const OPTION: &str = "--take-over";
/// Variables of the service manager that are about this process.
const OF_MANAGER: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The listeners come with this.
const LISTENERS: u8 = b'L';
/// The new process has all that it needs but the ledger.
const READY: u8 = b'R';
/// The old process has closed the ledger.
const CLOSED: u8 = b'C';
/// The new process accepts connections.
const SERVING: u8 = b'S';

/// Time for the new process to become ready, and from then on to serve.
const START: Duration = Duration::from_secs(60);
/// The listener for people and probes. Who waits there waits for no request.
const ADMIN: &str = "admin.listen";
/// The longest list of listeners' keys, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A listener of a running server.
pub(super) struct Handed {
    /// The configuration's key that names it.
    pub key: &'static str,
    pub socket: OwnedFd,
}

/// Waits until a client has connected to one of these listeners, none of which is accepted from.
/// Without listeners for clients it waits for ever.
pub(super) async fn someone_waits(listeners: &[Handed]) {
    let mut waits = JoinSet::new();
    for listener in listeners.iter().filter(|listener| listener.key != ADMIN) {
        // A listening socket is readable while a connection waits (listen(2), epoll(7)). Nothing is read from
        // it: as a stream it is only watched.
        let socket = listener.socket.try_clone().map(net::TcpStream::from);
        // What cannot be watched must not keep anyone waiting.
        let Ok(watched) = socket.and_then(TcpStream::from_std) else {
            return;
        };
        waits.spawn(async move { watched.readable().await.map(drop) });
    }
    if waits.join_next().await.is_none() {
        pending::<()>().await;
    }
}

/// The new process, as the old one sees it.
pub struct Successor {
    child: Child,
    stream: UnixStream,
}

impl Successor {
    /// Starts the program that is installed now under the name with which this process was started, with
    /// the same arguments, and waits until it is ready. The caller has to go on as before if it fails.
    ///
    /// # Errors
    /// When it cannot be started, ended, or is not ready in time. It is ended then.
    pub(super) async fn start(listeners: &[Handed]) -> Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_write_timeout(Some(START))?;
        near.set_read_timeout(Some(START))?;
        let mut arguments = env::args_os();
        let program = arguments.next().context("this process has no name")?;
        let mut command = Command::new(program);
        command
            .args(arguments.filter(|argument| argument != OPTION))
            .arg(OPTION)
            .stdin(Stdio::from(OwnedFd::from(far)));
        for variable in OF_MANAGER {
            command.env_remove(variable);
        }
        let child = command
            .spawn()
            .context("the new program cannot be started")?;
        // The command holds the other side, so that the end of the process would not be noticed.
        drop(command);
        let mut successor = Self {
            child,
            stream: near,
        };
        if let Err(error) = successor.make_ready(listeners).await {
            let _ = successor.child.start_kill();
            let ended = tokio::time::timeout(START, successor.child.wait()).await;
            return Err(match ended {
                Ok(Ok(status)) if status.code().is_some() => {
                    error.context(format!("the new program ended with {status}"))
                }
                _ => error,
            });
        }
        Ok(successor)
    }

    async fn make_ready(&mut self, listeners: &[Handed]) -> Result<()> {
        let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(|it| it.socket.as_fd()).collect();
        descriptors::send(&self.stream, LISTENERS, &sockets)?;
        let keys: Vec<&str> = listeners.iter().map(|listener| listener.key).collect();
        let keys = serde_json::to_vec(&keys)?;
        let length = u32::try_from(keys.len())?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(&keys)?;
        self.expect(READY).await
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets it open the ledger, which this process has closed, and waits until it serves.
    ///
    /// # Errors
    /// When it ended, or does not serve in time.
    pub async fn take_over(mut self) -> Result<()> {
        self.stream.write_all(&[CLOSED])?;
        self.expect(SERVING).await
    }

    async fn expect(&self, byte: u8) -> Result<()> {
        let stream = self.stream.try_clone()?;
        spawn_blocking(move || expect(&stream, byte)).await?
    }
}

/// The old process, as the new one sees it.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// The one at this process's standard input, with its listeners.
    pub(super) fn at_stdin() -> Result<(Self, Inherited)> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stream = UnixStream::from(stdin);
        let wrong = "only a running server starts a process with --take-over";
        stream.set_read_timeout(Some(START)).context(wrong)?;
        stream.set_write_timeout(Some(START)).context(wrong)?;
        let (byte, sockets) = descriptors::receive(&stream).context(wrong)?;
        let mut length = [0; 4];
        (&stream).read_exact(&mut length).context(wrong)?;
        let length = u64::from(u32::from_be_bytes(length));
        if byte != LISTENERS || length > LONGEST {
            bail!(wrong);
        }
        let mut keys = Vec::new();
        (&stream).take(length).read_to_end(&mut keys)?;
        let keys: Vec<String> = serde_json::from_slice(&keys).context(wrong)?;
        if keys.len() != sockets.len() {
            bail!(wrong);
        }
        let mut inherited = Inherited::default();
        for (key, socket) in keys.into_iter().zip(sockets) {
            inherited.add_of(key, socket)?;
        }
        Ok((Self(stream), inherited))
    }

    /// Says that this process is ready, and waits until the old one has closed the ledger: for at most
    /// `longest`.
    ///
    /// # Errors
    /// When the old process ended otherwise, or takes longer.
    pub(super) async fn until_closed(&self, longest: Duration) -> Result<()> {
        let mut stream = self.0.try_clone()?;
        spawn_blocking(move || {
            stream.write_all(&[READY])?;
            stream.set_read_timeout(Some(longest))?;
            expect(&stream, CLOSED)
        })
        .await?
    }

    /// Says that this process accepts connections.
    pub(super) fn say_serving(mut self) {
        // It may have ended, and then no one has to be told.
        let _ = self.0.write_all(&[SERVING]);
    }
}

/// Waits for this byte.
fn expect(mut stream: &UnixStream, byte: u8) -> Result<()> {
    let mut got = [0];
    let read = stream.read_exact(&mut got);
    match read {
        Ok(()) if got == [byte] => Ok(()),
        // Reset, if it has not read everything.
        Err(error)
            if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) =>
        {
            bail!("the other process has ended")
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("the other process did not answer in time")
        }
        Ok(()) | Err(_) => bail!("the other process says something unexpected"),
    }
}
