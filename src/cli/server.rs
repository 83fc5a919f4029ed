//! The server of a data directory: is there one, and starting one.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use crate::app::{Server, ServerFile, reachable};
use crate::config::Config;
use crate::ledger::LedgerError;

/// How long a server on the same machine may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest answer of an admin listener that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How long a start waits for a command that is writing a ledger line.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running server of a data directory.
///
/// The file alone proves nothing. A server that was killed does not remove it, and its process id
/// may be another program's by now, which a signal would end. So the server is asked over HTTP.
pub(super) fn live(data_dir: &Path) -> Option<ServerFile> {
    let file = ServerFile::read(data_dir)?;
    process(&file)?;
    answers(reachable(file.admin)).then_some(file)
}

/// The process of a server, if there is one of that id that signals can reach.
pub(super) fn process(file: &ServerFile) -> Option<Pid> {
    let pid = Pid::from_raw(i32::try_from(file.pid).ok()?)?;
    test_kill_process(pid).is_ok().then_some(pid)
}

fn answers(admin: SocketAddr) -> bool {
    // 503 is an answer too: of a server that should be restarted.
    get(admin, "/healthz").is_ok_and(|answer| matches!(answer.status, 200 | 503))
}

/// What the admin listener answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks the admin listener for a page.
pub(super) fn get(admin: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut limited = stream.take(LONGEST);
    let deadline = Instant::now() + ANSWER;
    let mut piece = [0; 1024];
    // A deadline for the whole answer: one byte every second would pass the timeout of each read.
    loop {
        match limited.read(&mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Answer::parse(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP/1.1"))
}

impl Answer {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let body = body.to_owned();
        Some(Self { status, body })
    }
}

/// Whether an error says that the ledger is in use by another process.
pub(super) fn is_locked(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref())
        .any(|cause| matches!(cause, LedgerError::Locked(_)))
}

/// Starts a server. Another command may have the ledger for a moment.
pub(super) async fn start(config: &Config) -> anyhow::Result<Server> {
    let start = Instant::now();
    loop {
        match Server::start(config.clone()).await {
            Err(error) if is_locked(&error) && start.elapsed() < PATIENCE => {
                if live(&config.data_dir).is_some() {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn write(directory: &Path, pid: u32, admin: SocketAddr) {
        let text = format!(r#"{{"pid":{pid},"proxy":"127.0.0.1:1","admin":"{admin}"}}"#);
        std::fs::write(ServerFile::path(directory), text).expect("a writable directory");
    }

    /// Answers one connection with `answer`.
    fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                asked.extend_from_slice(&byte);
            }
            stream.write_all(answer)
        });
        address
    }

    #[test]
    fn a_server_that_answers_is_live() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(live(directory.path()).is_none());
        write(
            directory.path(),
            std::process::id(),
            answering(b"HTTP/1.1 200 OK\r\n\r\n"),
        );
        assert!(live(directory.path()).is_some());
    }

    #[test]
    fn a_file_left_behind_is_no_server() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        write(
            directory.path(),
            std::process::id(),
            closed.expect("an address"),
        );
        assert!(live(directory.path()).is_none());
        write(
            directory.path(),
            std::process::id(),
            answering(b"SSH-2.0-OpenSSH\r\n"),
        );
        assert!(live(directory.path()).is_none());
        // No process has the largest id.
        write(
            directory.path(),
            i32::MAX as u32,
            answering(b"HTTP/1.1 200 OK\r\n\r\n"),
        );
        assert!(live(directory.path()).is_none());
    }
}
