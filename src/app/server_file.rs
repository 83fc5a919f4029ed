//! `server.json`: how other commands find the server of a data directory.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::files;

/// Where a running server listens; the content of `server.json`. Nothing in it is secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerFile {
    /// The process id, for `egret reload`.
    pub pid: u32,
    /// The proxy's address.
    pub proxy: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// Where paths name the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_url: Vec<SocketAddr>,
    /// The Unix sockets where paths name the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_url_sockets: Vec<PathBuf>,
    /// Where the proxy is spoken to over TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_tls: Vec<SocketAddr>,
    /// The same over TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_url_tls: Vec<SocketAddr>,
    /// What became of changes of the configuration. Absent where none can be made: an `egret run`
    /// keeps the configuration with which it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloads: Option<Reloads>,
    /// What became of attempts to have another program take over.
    #[serde(default)]
    pub upgrades: Upgrades,
    /// The names of the master keys that it accepts.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// The announcement of the server of a data directory, which several tasks bring up to date.
pub(super) struct Announcement {
    data_dir: PathBuf,
    file: Mutex<ServerFile>,
}

impl Announcement {
    pub(super) fn new(data_dir: &Path, file: ServerFile) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            file: Mutex::new(file),
        }
    }

    /// Changes what is announced, and announces it.
    pub(super) fn change(&self, edit: impl FnOnce(&mut ServerFile)) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut file);
        file.announce(&self.data_dir)
    }
}

/// How often a server has read its configuration since its start, and what came of it.
///
/// A reload that begins after this was read reads the configuration as it is now. So a
/// command that asks for one knows that it is over once `done` is past the `begun` that it read before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// How many reloads have begun.
    pub begun: u64,
    /// How many are over.
    pub done: u64,
    /// Why the last one changed nothing.
    pub problem: Option<String>,
    /// The keys whose change takes effect at the next start.
    pub at_restart: Vec<String>,
}

/// How often a server was to hand over to the program that is installed, and what came of it. One that
/// has succeeded is the end of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrades {
    /// How many have begun.
    pub begun: u64,
    /// The last one that failed.
    pub failed: u64,
    /// Why.
    pub problem: Option<String>,
}

impl Reloads {
    /// The next reload begins.
    pub fn begin(&mut self) {
        self.begun += 1;
    }

    /// The reload that has begun is over: with the keys that wait for the next start, or a reason why
    /// nothing changed.
    pub fn end(&mut self, outcome: Result<Vec<&'static str>, String>) {
        self.done = self.begun;
        (self.at_restart, self.problem) = match outcome {
            Ok(keys) => (keys.into_iter().map(str::to_owned).collect(), None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
    }
}

impl ServerFile {
    /// Where all of the server's listeners are.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let others = [&self.base_url, &self.proxy_tls, &self.base_url_tls];
        let all = [self.proxy, self.admin].into_iter();
        all.chain(others.into_iter().flatten().copied()).collect()
    }

    /// The path of the file in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(files::SERVER)
    }

    /// Reads what the last server of `data_dir` left; it may no longer run.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let text = fs::read(Self::path(data_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Says that this process is the server of `data_dir`.
    fn announce(&self, data_dir: &Path) -> anyhow::Result<()> {
        self.write(&Self::path(data_dir))
            .with_context(|| format!("cannot write {} in the data directory", files::SERVER))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        files::replace(path, &text, files::PRIVATE)
    }

    /// Takes the announcement back: commands look for another server from now on.
    pub fn remove(data_dir: &Path) -> io::Result<()> {
        fs::remove_file(Self::path(data_dir))
    }
}
