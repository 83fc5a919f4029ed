//! `server.json`: how other commands find the server of a data directory.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

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
}

impl ServerFile {
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
    pub(super) fn announce(
        data_dir: &Path,
        proxy: SocketAddr,
        admin: SocketAddr,
    ) -> anyhow::Result<()> {
        let pid = std::process::id();
        let file = Self { pid, proxy, admin };
        file.write(&Self::path(data_dir))
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

/// The address to connect to for one that is listened on: a wildcard address cannot be dialled.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
