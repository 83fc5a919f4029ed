//! What the program needs: the configuration, checked and with every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;

use super::admin_url::AdminUrl;
use super::alerts::Alerts;
use super::issuer::Issuer;
use super::listener_tls::ListenerTls;
use super::openid::OpenId;
use super::parent_proxy::ParentProxy;
use super::s3::S3Target;
use super::ship::ShipTarget;
use super::treatment::{self, DestinationRule, OwnKeys, Treatment};
use super::witness::Witness;
use crate::files;
use crate::policy::destination::{Destination, Host};
use crate::policy::egress::OperatorEgress;
use crate::policy::floor::Floor;
use crate::policy::grant::HostPattern;
use crate::policy::use_limits::Rate;
use crate::vault::{KeySources, Principal, StoreUrl};

/// A valid configuration. Every path is absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lives that is not named otherwise. Mode 0700.
    pub data_dir: PathBuf,
    /// The listener that programs send their requests to.
    pub proxy: Proxy,
    /// The listener for health and administration.
    pub admin: Admin,
    /// The listeners for programs that know of no proxy.
    pub transparent: Transparent,
    /// The listeners whose paths name the destination.
    pub base_url: BaseUrl,
    /// Interception of TLS.
    pub tls: Tls,
    /// Connections to the destinations.
    pub upstream: Upstream,
    /// Bodies of requests.
    pub body: Body,
    /// The credential store.
    pub store: Store,
    /// What holds for every credential, whatever its owner allows.
    pub policy: Floor,
    /// Where clients may go.
    pub egress: Egress,
    /// How long owners have to answer.
    pub approvals: Approvals,
    /// What clients may ask for.
    pub requests: Requests,
    /// Where alerts go.
    pub alerts: Alerts,
    /// Whose JWTs are accepted as tokens. No two of them have the same name and audience, or the same
    /// label.
    pub issuers: Vec<Issuer>,
    /// Where people sign in beside local accounts.
    pub openid: Option<OpenId>,
    /// The usage record.
    pub ledger: Ledger,
    /// The collector of traces, if there is one.
    pub traces: Option<Uri>,
    /// The key that protects the store.
    pub keys: KeySources,
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
    /// The listeners with TLS.
    pub tls: ListenerTls,
    /// Whether a request needs a token. `false` only on a loopback address.
    pub require_auth: bool,
    /// Whose credentials a request without a token may use where `require_auth` is off.
    pub principal: Principal,
    /// Longest lifetime of a token that is made, and of an action token that is accepted.
    pub max_token_lifetime: Option<Duration>,
    /// The audience that a token has to name which a client signs itself (`aud`).
    pub audience: String,
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
    /// Where people open the page; `None` for `egret.localhost` at the port of the listener.
    pub url: Option<AdminUrl>,
    /// More names that it answers for.
    pub names: Vec<Host>,
    /// Reverse proxies, which say who asks and that the connection before them is protected.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a session lasts from its beginning.
    pub session_lifetime: Duration,
    /// How long a session lasts without a request.
    pub session_idle: Duration,
}

/// `[transparent]`
#[derive(Clone, Debug)]
pub struct Transparent {
    /// Where they listen. Only loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// Whose credentials a request that comes there may use. There if one listens.
    pub principal: Option<Principal>,
    /// What the ledger calls those requests.
    pub action: String,
}

/// `[base_url]`
#[derive(Clone, Debug)]
pub struct BaseUrl {
    /// Where they listen. Only loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// The Unix sockets at which they listen.
    pub sockets: Vec<PathBuf>,
    /// Where they listen with TLS, as the proxy does. Each request shows a token.
    pub tls_listen: Vec<SocketAddr>,
    /// Whose credentials a request that comes there may use; without one each shows a token.
    pub principal: Option<Principal>,
    /// What the ledger calls requests of the principal.
    pub action: String,
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
    /// Time from the end of a request to the head of its answer.
    pub first_byte_timeout: Duration,
    /// Time the body of an answer may be silent.
    pub idle_timeout: Duration,
    /// The same, of an answer that is a stream of events.
    pub stream_timeout: Duration,
    /// Time both sides of a WebSocket may be silent.
    pub websocket_timeout: Duration,
    /// Largest head of an answer, in bytes.
    pub max_header_bytes: usize,
    /// Names whose addresses are given here and not looked up.
    pub resolve: Vec<Resolve>,
    /// The proxy that connections go through.
    pub proxy: Option<ParentProxy>,
}

/// An entry of `upstream.resolve`, `"api.example.com:443=127.0.0.1:8443"`. The name is what
/// certificates and policies are checked against; the address is checked like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The host as requests name it.
    pub host: Host,
    /// The port as requests name it.
    pub port: u16,
    /// The addresses to connect to, in order. Never empty.
    pub addresses: Vec<SocketAddr>,
}

/// `[body]`
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Longest body that is held and decided on whole, in bytes. At least 1.
    pub buffer: usize,
    /// Most bytes of larger bodies that are kept on the disk until they were searched, all together.
    pub spool: u64,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Which store.
    pub url: StoreUrl,
}

/// `[approvals]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// How long a request waits for its owner's answer.
    pub wait: Duration,
    /// How long a question, and a yes for one request, are kept.
    pub keep: Duration,
}

/// `[requests]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Whether a request that names a credential which is not there asks for it.
    pub on_refusal: bool,
}

/// `[egress]`
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// What holds for every client.
    pub rules: OperatorEgress,
    /// Addresses that nothing is sent to, whatever name leads to them.
    pub deny_addresses: Vec<IpNet>,
    /// What a request does that brings a key which Egret does not hold, where no destination's rule
    /// says something else.
    pub own_keys: OwnKeys,
    /// How many requests a client may send in a time.
    pub client_rate: Option<Rate>,
    /// How many requests of a client may be under way at once. At least 1.
    pub client_requests: Option<usize>,
}

impl Egress {
    /// Whether the number of a client's requests is limited.
    pub fn limits_clients(&self) -> bool {
        self.client_rate.is_some() || self.client_requests.is_some()
    }
}

/// `[ledger]`
#[derive(Clone, Debug)]
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
    /// Where it is sent to.
    pub ship: Option<ShipTarget>,
    /// Where rotated files and checkpoints are stored, too.
    pub s3: Option<S3Target>,
    /// Who signs its checkpoints, too.
    pub witnesses: Vec<Witness>,
}

/// When a line of the ledger counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the disk has it, before any value leaves.
    Commit,
    /// At once; the disk gets it within this time, and a crash may lose that much.
    Interval(Duration),
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
        treatment::treatment(&self.destinations, destination, self.egress.own_keys)
    }

    /// The directory of the ledger.
    pub fn ledger_dir(&self) -> PathBuf {
        self.data_dir.join(files::LEDGER)
    }
}
