//! What the program needs: the configuration, checked and with every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::treatment::{self, DestinationRule, Treatment};
use crate::files;
use crate::policy::destination::{Destination, Host};
use crate::policy::grant::HostPattern;
use crate::vault::{KeySource, Principal, StoreUrl};

/// A valid configuration. Every path is absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lives that is not named otherwise. Mode 0700.
    pub data_dir: PathBuf,
    /// The listener that programs send their requests to.
    pub proxy: Proxy,
    /// The listener for health and administration.
    pub admin: Admin,
    /// Interception of TLS.
    pub tls: Tls,
    /// Connections to the destinations.
    pub upstream: Upstream,
    /// Bodies of requests.
    pub body: Body,
    /// The credential store.
    pub store: Store,
    /// The usage record.
    pub ledger: Ledger,
    /// The key that protects the store.
    pub keys: Keys,
    /// What is logged and how.
    pub log: Log,
    /// What differs by destination: the user's rules, then the shipped preset.
    pub destinations: Vec<DestinationRule>,
}

/// `[proxy]`
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it listens. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether a request needs a token. `false` only on a loopback address.
    pub require_auth: bool,
    /// Whose credentials a request without a token may use where `require_auth` is off.
    pub principal: Principal,
    /// Protocols offered to clients inside TLS, the preferred one first. Never empty.
    pub alpn: Vec<Alpn>,
    /// Ports below 1024, other than 80 and 443, that CONNECT may name.
    pub connect_ports: Vec<u16>,
    /// Client connections at a time. At least 1.
    pub max_connections: usize,
    /// Longest header section of a request, in bytes.
    pub max_header_bytes: usize,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Time a client has for its TLS handshake, or for the first byte inside a tunnel.
    pub handshake_timeout: Duration,
    /// Time a client has for a request's header section.
    pub header_timeout: Duration,
    /// Time a connection or a tunnel may be silent.
    pub idle_timeout: Duration,
    /// Time that open requests have to finish after a request to stop.
    pub drain_timeout: Duration,
}

/// A protocol that TLS can agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`
    Http11,
    /// `h2`
    H2,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens. Port 0 picks a free one.
    pub listen: SocketAddr,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// The CA that clients have to trust, PEM. Created with its key when both are absent.
    pub ca_cert: PathBuf,
    /// Its private key, PEM.
    pub ca_key: PathBuf,
    /// Hosts whose tunnels are passed on unopened, so no placeholder works there.
    pub passthrough: Vec<HostPattern>,
}

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// CAs trusted in addition to the system's, PEM.
    pub ca_files: Vec<PathBuf>,
    /// Address ranges that are reached although they are private.
    pub allow_private: Vec<IpNet>,
    /// Time to resolve a name, connect and finish the TLS handshake.
    pub connect_timeout: Duration,
    /// Time an upstream may be silent, in a request or between two.
    pub idle_timeout: Duration,
    /// Names that are not looked up: the addresses stand here.
    pub resolve: Vec<Resolve>,
}

/// An entry of `upstream.resolve`, `"api.example.com:443=127.0.0.1:8443"`. The name is what
/// certificates and policies are checked against; the address is checked like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The host as requests name it.
    pub host: Host,
    /// The port as requests name it.
    pub port: u16,
    /// What is dialled instead, in order. Never empty.
    pub addresses: Vec<SocketAddr>,
}

/// `[body]`
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Longest body that is held and decided on whole, in bytes. At least 1.
    pub buffer: usize,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Which store.
    pub url: StoreUrl,
}

/// `[ledger]`
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    /// When a line counts as written.
    pub durability: Durability,
    /// Time a request waits for its line before it is refused.
    pub deadline: Duration,
    /// Longest time without a checkpoint.
    pub heartbeat: Duration,
    /// Size in bytes from which on a file is rotated.
    pub max_size: u64,
    /// How long rotated files are kept; `None` is for ever.
    pub keep_for: Option<Duration>,
    /// How many bytes the files may have together before the oldest go; `None` is no limit.
    pub keep_size: Option<u64>,
}

/// When a line of the ledger counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the disk has it, before any value leaves.
    Commit,
    /// At once; the disk gets it within this time, and a crash may lose that much.
    Interval(Duration),
}

/// `[keys]`
#[derive(Clone, Debug)]
pub struct Keys {
    /// Where the master key comes from.
    pub master: KeySource,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least severe level, or a `tracing` filter such as `info,egret::proxy=debug`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// How requests to `destination` are treated: each property comes from the first rule that
    /// covers the destination and states it. So a rule of the user's that only sets `range`
    /// leaves the preset's `scan` in force.
    pub fn treatment(&self, destination: &Destination) -> Treatment {
        treatment::treatment(&self.destinations, destination)
    }

    /// The directory of the ledger.
    pub fn ledger_dir(&self) -> PathBuf {
        self.data_dir.join(files::LEDGER)
    }
}
