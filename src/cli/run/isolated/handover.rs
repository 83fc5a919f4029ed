//! The connection between `egret run` and the process that prepares the namespaces: a plan goes in,
//! sockets come out.
//!
//! It is made before the namespaces are, by an abstract name, and closes when the program is
//! executed.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use super::plan::Plan;
use crate::descriptors;

/// Most sockets that are handed over.
pub(super) const MOST_SOCKETS: usize = descriptors::MOST;
/// Longest plan, and longest text about a failure.
const LONGEST_PLAN: u32 = 4 * 1024 * 1024;
const LONGEST_TEXT: usize = 4 * 1024;
/// How long one side waits for the other.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Everything is prepared.
const READY: u8 = b'R';
/// Something failed; a text follows.
const FAILED: u8 = b'F';
/// The program may be executed.
const GO: u8 = b'G';

/// Listens under a name that nobody can guess.
pub(super) fn listen() -> anyhow::Result<(String, UnixListener)> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("egret-run-{random}");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    Ok((name, listener))
}

/// The inner side.
pub(super) struct Inner(UnixStream);

impl Inner {
    pub(super) fn connect(name: &str) -> io::Result<Self> {
        let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    pub(super) fn plan(&mut self) -> io::Result<Plan> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST_PLAN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; length as usize];
        self.0.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Hands the sockets over and waits for leave to execute the program.
    pub(super) fn ready(mut self, sockets: &[OwnedFd]) -> io::Result<()> {
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        descriptors::send(&self.0, READY, &sockets)?;
        let mut answer = [0];
        self.0.read_exact(&mut answer)?;
        if answer == [GO] {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }

    pub(super) fn failed(mut self, text: &str) {
        let text = &text.as_bytes()[..text.len().min(LONGEST_TEXT)];
        // The other side finds out by the process's end, too.
        let _ = self.0.write_all(&[&[FAILED], text].concat());
    }
}

/// What came back from the inner side.
pub(super) enum Reply {
    /// The sockets, in the order of the plan.
    Ready(Vec<OwnedFd>),
    /// What failed.
    Failed(String),
}

/// Sends the plan.
pub(super) fn send_plan(mut stream: &UnixStream, plan: &Plan) -> io::Result<()> {
    let text = serde_json::to_vec(plan)?;
    let length = u32::try_from(text.len())
        .ok()
        .filter(|length| *length <= LONGEST_PLAN);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&text)
}

/// Waits for the sockets.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Reply> {
    let (first, sockets) = descriptors::receive(stream)?;
    if first == READY {
        return Ok(Reply::Ready(sockets));
    }
    let mut text = Vec::new();
    stream.take(LONGEST_TEXT as u64).read_to_end(&mut text)?;
    Ok(Reply::Failed(String::from_utf8_lossy(&text).into_owned()))
}

/// Gives leave to execute the program.
pub(super) fn go(mut stream: &UnixStream) -> io::Result<()> {
    stream.write_all(&[GO])
}
