//! A running server hands its listeners over to a new process, so that an upgrade refuses no
//! connection.
//!
//! ```text
//! old process                                 new process
//! starts it, sends the listeners      ──►     reads its configuration, opens the store
//! goes on                             ◄──     is ready, or has ended: then nothing changes
//! accepts no more, closes the ledger  ──►     opens the ledger
//! takes both back                     ◄──     has ended
//! lets what is under way finish       ◄──     accepts
//!     lines for the ledger            ──►     writes them
//!     goes on                         ◄──     they are durable
//! ends                                        names what it has not told the result of
//! ```
//!
//! From the moment in which the old process accepts no more until the new one does, connections wait in
//! the listening sockets, which are the same in both. There is one writer of the ledger at any time.
//!
//! Both speak over a pair of Unix sockets, which is the standard input of the new process. Nobody else can
//! have either end: they have no name, and are passed to no other program.

use std::env;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::inherited::Inherited;
use crate::descriptors;
use crate::ledger::{NextWriter, Relayed};

/// The option of `egret serve` that says that a server is followed.
const OPTION: &str = "--take-over";
/// Variables of the service manager that are about this process.
const OF_MANAGER: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The listeners come with this.
const LISTENERS: u8 = b'L';
/// The new process has all that it needs but the ledger.
const READY: u8 = b'R';
/// The old process has closed the ledger. The first line of requests that go on there follows, or 0.
const CLOSED: u8 = b'C';
/// The new process accepts connections.
const SERVING: u8 = b'S';
/// Lines for the ledger follow: their length, and their text.
const LINES: u8 = b'W';
/// They are durable.
const WRITTEN: u8 = b'D';
/// They were not written, and will not be.
const NOT_WRITTEN: u8 = b'N';

/// Time for the new process to become ready, and from then on to serve.
const START: Duration = Duration::from_secs(60);
/// The longest list of listeners' keys, in bytes.
const LONGEST: u64 = 64 * 1024;
/// The most text of lines at once, in bytes: more than the queue of the ledger holds.
const MOST_TEXT: u64 = 256 * 1024 * 1024;

/// A listener of a running server.
pub(super) struct Handed {
    /// The configuration's key that names it, and before it how it came to be there.
    pub key: String,
    pub socket: OwnedFd,
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
            return Err(end(&mut successor.child, error).await);
        }
        Ok(successor)
    }

    async fn make_ready(&mut self, listeners: &[Handed]) -> Result<()> {
        let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(|it| it.socket.as_fd()).collect();
        descriptors::send(&self.stream, LISTENERS, &sockets)?;
        let keys: Vec<&str> = listeners.iter().map(|listener| &*listener.key).collect();
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

    /// Who writes the ledger once it is closed here.
    pub(super) fn into_writer(self) -> Box<dyn NextWriter> {
        Box::new(Writer {
            stream: self.stream,
            child: self.child,
            runtime: Handle::current(),
        })
    }

    async fn expect(&self, byte: u8) -> Result<()> {
        let stream = self.stream.try_clone()?;
        spawn_blocking(move || expect(&stream, byte)).await?
    }
}

/// The new process as the writer of the ledger.
struct Writer {
    stream: UnixStream,
    child: Child,
    /// Waits for its end.
    runtime: Handle,
}

impl Writer {
    fn let_begin(&mut self, first: Option<u64>) -> Result<()> {
        self.stream.write_all(&[CLOSED])?;
        self.stream.write_all(&first.unwrap_or(0).to_be_bytes())?;
        expect(&self.stream, SERVING)
    }
}

impl NextWriter for Writer {
    fn begin(&mut self, first: Option<u64>) -> io::Result<()> {
        let begun = self.let_begin(first);
        let ended = begun.map_err(|error| self.runtime.block_on(end(&mut self.child, error)));
        ended.map_err(io::Error::other)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<bool> {
        let length = lines.len() as u64;
        if length > MOST_TEXT {
            return Ok(false);
        }
        self.stream.write_all(&[LINES])?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(lines)?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer)?;
        match answer {
            [WRITTEN] => Ok(true),
            [NOT_WRITTEN] => Ok(false),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
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

    /// Says that this process is ready, and waits until the old one has closed the ledger. Returns the first
    /// line of the requests that go on there, or 0.
    ///
    /// # Errors
    /// When the old process ended otherwise, or takes too long.
    pub(super) async fn until_closed(&self) -> Result<u64> {
        let mut stream = self.0.try_clone()?;
        spawn_blocking(move || {
            stream.write_all(&[READY])?;
            expect(&stream, CLOSED)?;
            let mut first = [0; 8];
            stream.read_exact(&mut first)?;
            Ok(u64::from_be_bytes(first))
        })
        .await?
    }

    /// Says that this process accepts connections, and writes from then on what the old one has for the
    /// ledger, on a thread of its own. Cancels `ended` when the old one has ended.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn serve(mut self, lines: Relayed, ended: CancellationToken) -> Result<()> {
        // It may have ended, and then no one has to be told.
        let _ = self.0.write_all(&[SERVING]);
        // It may have nothing to say for as long as its last requests take.
        self.0.set_read_timeout(None)?;
        let follow = move || {
            let ended = ended.drop_guard();
            self.write_all_of(lines);
            drop(ended);
        };
        thread::Builder::new()
            .name("predecessor".to_owned())
            .spawn(follow)
            .context("cannot write what the process before has for the ledger")?;
        Ok(())
    }

    fn write_all_of(self, mut lines: Relayed) {
        let ended = loop {
            match self.write_some_of(&mut lines) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        if !is_end(&ended) {
            tracing::error!(error = %ended, "the process before is no longer listened to");
        }
        // No line of it may come after those that say what it left open.
        let _ = self.0.shutdown(Shutdown::Both);
        lines.end();
    }

    fn write_some_of(&self, lines: &mut Relayed) -> io::Result<()> {
        let mut stream = &self.0;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if kind != [LINES] || length > MOST_TEXT {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut text = Vec::new();
        if stream.take(length).read_to_end(&mut text)? as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let is_written = lines.write(text).map_err(io::Error::other)?;
        let answer = if is_written { WRITTEN } else { NOT_WRITTEN };
        stream.write_all(&[answer])
    }
}

/// Ends the new process, which has failed like this, and waits until it has ended. The error says how it
/// ended where it did so by itself.
async fn end(child: &mut Child, error: anyhow::Error) -> anyhow::Error {
    let _ = child.start_kill();
    match tokio::time::timeout(START, child.wait()).await {
        Ok(Ok(status)) if status.code().is_some() => {
            error.context(format!("the new program ended with {status}"))
        }
        _ => error,
    }
}

/// Whether the other process has ended: reset, if it has not read everything.
fn is_end(error: &io::Error) -> bool {
    [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind())
}

/// Waits for this byte.
fn expect(mut stream: &UnixStream, byte: u8) -> Result<()> {
    let mut got = [0];
    let read = stream.read_exact(&mut got);
    match read {
        Ok(()) if got == [byte] => Ok(()),
        Err(error) if is_end(&error) => bail!("the other process has ended"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("the other process did not answer in time")
        }
        Ok(()) | Err(_) => bail!("the other process says something unexpected"),
    }
}
