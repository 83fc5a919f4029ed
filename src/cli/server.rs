//! The server of a data directory: is there one, and starting one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use crate::app::{Server, ServerFile, reachable};
use crate::config::Config;
use crate::ledger::LedgerError;

/// How long a server on the same machine may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

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
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: egret\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
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
            stream.read_exact(&mut [0; 4])?;
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
