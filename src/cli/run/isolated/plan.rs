//! What `egret run` tells the process that prepares the namespaces.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the proxy listens inside. Nothing else is there yet, so that any port is free.
pub(super) const PROXY_PORT: u16 = 61_070;

/// What is to be prepared.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Ports on which any address leads to Egret.
    pub(super) ports: Vec<u16>,
    /// Ports on which some addresses lead to a tunnel.
    pub(super) tunnel_ports: Vec<u16>,
    /// Ports of the host's loopback interface that are reachable inside.
    pub(super) host_ports: Vec<u16>,
    /// The directory that holds Egret's own files.
    pub(super) data_dir: PathBuf,
    /// Files in it that stay visible: certificates.
    pub(super) shown: Vec<PathBuf>,
    /// Directories that are empty inside.
    pub(super) directories: Vec<PathBuf>,
    /// Files and sockets that are empty inside.
    pub(super) files: Vec<PathBuf>,
    /// What is in some of them instead.
    pub(super) masks: BTreeMap<PathBuf, String>,
}
