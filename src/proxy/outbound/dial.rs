//! From a destination to a connected socket: resolve once, check every address, dial a checked one.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::error::{Code, Refusal};
use crate::policy::address::{AddressPolicy, ForbiddenAddress};
use crate::policy::destination::{Destination, Host};
use crate::proxy::exchange::canary;
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::parent::Target;
use crate::proxy::outbound::way::Way;

/// How long a resolved and checked set of addresses is used again. `getaddrinfo` tells no TTL; this
/// is short enough for a failover and long enough to keep a burst off the resolver.
const RESOLUTION_LIFE: Duration = Duration::from_secs(10);
/// Most names kept. A hostile client can name any number.
const RESOLUTIONS: usize = 4_096;
/// Least time for one address when several share the connect timeout.
const LEAST_ATTEMPT: Duration = Duration::from_millis(250);

/// Where this process listens, known once it does.
pub type OwnAddresses = Arc<OnceLock<Own>>;

/// Where this process listens.
#[derive(Debug)]
pub struct Own {
    /// As a proxy and for administration: nothing is sent there.
    pub listeners: Vec<SocketAddr>,
    /// As the upstream of [`canary`], which is named and not looked up.
    pub canary: SocketAddr,
}

/// Resolves, checks and connects.
pub struct Dialer {
    policy: AddressPolicy,
    /// `upstream.resolve`: names that are not looked up.
    overrides: Vec<(String, Vec<SocketAddr>)>,
    connect_timeout: Duration,
    own: OwnAddresses,
    way: Way,
    resolved: DashMap<Destination, (Instant, Arc<[SocketAddr]>)>,
}

impl Dialer {
    /// A dialer under `policy`. `overrides` map `host:port` to fixed addresses. `way` says what goes
    /// through a parent proxy.
    pub fn new(
        policy: AddressPolicy,
        overrides: Vec<(String, Vec<SocketAddr>)>,
        connect_timeout: Duration,
        own: OwnAddresses,
        way: Way,
    ) -> Self {
        Self {
            policy,
            overrides,
            connect_timeout,
            own,
            way,
            resolved: DashMap::new(),
        }
    }

    /// Connects to `destination` with TCP_NODELAY set (a request is a small write followed by a
    /// wait: Nagle would add 40 ms).
    pub async fn dial(&self, destination: &Destination) -> Result<Connected, Refusal> {
        let deadline = Instant::now() + self.connect_timeout;
        // The built-in upstream is in this process, where no other proxy reaches it.
        if self.canary(destination).is_none()
            && let Some(parent) = self.way.parent_for(&destination.host)
        {
            let target = self.target(destination)?;
            let opened = parent.open(&target, deadline).await;
            return opened.map_err(|refusal| refusal.destination(destination.to_string()));
        }
        self.dial_directly(destination, deadline).await
    }

    async fn dial_directly(
        &self,
        destination: &Destination,
        deadline: Instant,
    ) -> Result<Connected, Refusal> {
        let addresses = self.addresses(destination, deadline).await?;
        let mut last = None;
        for (n, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - n).unwrap_or(1);
            let until = Instant::now() + share.max(LEAST_ATTEMPT.min(left));
            match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it the connection is only slower.
                    let _ = stream.set_nodelay(true);
                    return Ok(Connected::Tcp(stream));
                }
                Ok(Err(error)) if is_out_of_files(&error) => return Err(out_of_files()),
                Ok(Err(error)) => last = Some(unreachable(destination, error.kind())),
                Err(_) => last = Some(timed_out(destination)),
            }
        }
        Err(last.unwrap_or_else(|| unresolved(destination)))
    }

    /// What a parent proxy is asked for. An address is checked; what a name leads to is the parent's to
    /// check, so only names are refused that mean the machine of whoever resolves them.
    fn target(&self, destination: &Destination) -> Result<Target, Refusal> {
        let (mut host, mut port) = (destination.host.clone(), destination.port);
        if let Some(fixed) = self.fixed(destination).and_then(|all| all.first()) {
            host = match fixed.ip() {
                IpAddr::V4(address) => Host::Ipv4(address),
                IpAddr::V6(address) => Host::Ipv6(address),
            };
            port = fixed.port();
        }
        if let Some(address) = host.as_ip() {
            self.check(destination, SocketAddr::new(address, port))?;
        } else if means_own_machine(&host) {
            return Err(Refusal::new(
                Code::DestinationForbidden,
                "the name means the machine of the proxy of upstream.proxy, or its cloud's metadata",
            )
            .destination(destination.to_string()));
        }
        Ok(Target { host, port })
    }

    /// The addresses that the configuration gives.
    fn fixed(&self, destination: &Destination) -> Option<&Vec<SocketAddr>> {
        let key = format!("{}:{}", destination.host, destination.port);
        let mut overrides = self.overrides.iter();
        let found = overrides.find(|(host, _)| *host == key);
        found.map(|(_, addresses)| addresses)
    }

    /// The addresses of `destination`, every one of them checked.
    async fn addresses(
        &self,
        destination: &Destination,
        deadline: Instant,
    ) -> Result<Arc<[SocketAddr]>, Refusal> {
        if let Some(kept) = self.resolved.get(destination)
            && kept.0.elapsed() < RESOLUTION_LIFE
        {
            return Ok(Arc::clone(&kept.1));
        }
        let found = timeout_at(deadline, self.resolve(destination))
            .await
            .map_err(|_| timed_out(destination))??;
        for address in found.iter() {
            self.check(destination, *address)?;
        }
        if self.resolved.len() >= RESOLUTIONS {
            self.resolved
                .retain(|_, (at, _)| at.elapsed() < RESOLUTION_LIFE);
        }
        if self.resolved.len() < RESOLUTIONS {
            let entry = (Instant::now(), Arc::clone(&found));
            self.resolved.insert(destination.clone(), entry);
        }
        Ok(found)
    }

    async fn resolve(&self, destination: &Destination) -> Result<Arc<[SocketAddr]>, Refusal> {
        if let Some(canary) = self.canary(destination) {
            return Ok([canary].into());
        }
        let port = destination.port;
        let name = destination.host.to_string();
        if let Some(addresses) = self.fixed(destination) {
            return Ok(addresses.clone().into());
        }
        if let Some(ip) = destination.host.as_ip() {
            return Ok([SocketAddr::new(ip, port)].into());
        }
        let found: Arc<[SocketAddr]> = lookup_host((name.as_str(), port))
            .await
            .map_err(|_| unresolved(destination))?
            .collect();
        if found.is_empty() {
            return Err(unresolved(destination));
        }
        Ok(found)
    }

    /// One forbidden address among several refuses them all: a name that answers with both a
    /// public and a private address is how a rebinding attack looks.
    fn check(&self, destination: &Destination, address: SocketAddr) -> Result<(), Refusal> {
        // It is on loopback, which is forbidden to every other name.
        if self.canary(destination) == Some(address) {
            return Ok(());
        }
        if self.is_own(address) {
            return Err(Refusal::new(
                Code::LoopDetected,
                "the destination is this proxy; send the request to the real upstream",
            )
            .destination(destination.to_string()));
        }
        self.policy.check(address.ip()).map_err(|forbidden| {
            let detail = match forbidden {
                ForbiddenAddress::Special { range } => format!(
                    "the destination resolves to an address in {range}; if that is meant, add \
                     the network to upstream.allow_private"
                ),
                ForbiddenAddress::Denied => "the destination resolves to an address that the \
                     operator denies (egress.deny_addresses)"
                    .to_owned(),
            };
            Refusal::new(Code::DestinationForbidden, detail).destination(destination.to_string())
        })
    }

    /// The address of the built-in upstream, if that is the destination.
    fn canary(&self, destination: &Destination) -> Option<SocketAddr> {
        let own = self.own.get().filter(|_| canary::is_canary(destination));
        own.map(|own| own.canary)
    }

    /// Whether a connection to this address would arrive at Egret itself. To connect to the
    /// unspecified address is to connect to this machine, and who listens at it listens at every
    /// address of the machine.
    fn is_own(&self, address: SocketAddr) -> bool {
        let named = address.ip().to_canonical();
        let same_ip = |own: IpAddr| {
            own == named || named.is_unspecified() || (own.is_unspecified() && is_of_machine(named))
        };
        self.own.get().is_some_and(|own| {
            own.listeners
                .iter()
                .any(|own| own.port() == address.port() && same_ip(own.ip().to_canonical()))
        })
    }
}

/// Names that every resolver reads as its own machine (RFC 6761 section 6.3), or that lead to the
/// metadata service of the cloud that the resolver is in.
fn means_own_machine(host: &Host) -> bool {
    let Host::Domain(name) = host else {
        return false;
    };
    let own = ["localhost", "metadata.google.internal"];
    own.contains(&&**name) || name.ends_with(".localhost")
}

/// Whether this machine has the address: only then can a socket be bound to it.
fn is_of_machine(address: IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// The process, or the system, can open no more files.
fn is_out_of_files(error: &std::io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    let code = error.raw_os_error();
    codes.iter().any(|errno| code == Some(errno.raw_os_error()))
}

fn out_of_files() -> Refusal {
    Refusal::new(
        Code::Overloaded,
        "no connection to the destination can be opened: the limit on open files is reached; try \
         again later",
    )
}

fn unresolved(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamUnreachable,
        "the destination's name cannot be resolved; check its spelling and this machine's DNS",
    )
    .destination(destination.to_string())
}

fn unreachable(destination: &Destination, kind: std::io::ErrorKind) -> Refusal {
    Refusal::new(
        Code::UpstreamUnreachable,
        format!("the destination cannot be connected to: {kind}"),
    )
    .destination(destination.to_string())
}

fn timed_out(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamTimeout,
        "the destination did not accept a connection within upstream.connect_timeout",
    )
    .destination(destination.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::destination::Scheme;

    fn dialer(allow: &[&str], overrides: &[(&str, SocketAddr)]) -> Dialer {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        let overrides = overrides
            .iter()
            .map(|(name, address)| (name.to_string(), vec![*address]))
            .collect();
        Dialer::new(
            AddressPolicy::new(allow),
            overrides,
            Duration::from_secs(2),
            OwnAddresses::default(),
            Way::default(),
        )
    }

    fn own_addresses(listener: SocketAddr) -> Own {
        Own {
            listeners: vec![listener],
            canary: ([127, 0, 0, 1], 1).into(),
        }
    }

    /// No other name, scheme or port leads to the built-in upstream, and it leads nowhere else.
    #[tokio::test]
    async fn the_built_in_upstream_has_one_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let canary = listener.local_addr().unwrap();
        let dialer = dialer(&[], &[("other.test:80", canary)]);
        let listeners = Vec::new();
        dialer.own.set(Own { listeners, canary }).unwrap();
        let dial = async |scheme, authority: &str| {
            let destination = Destination::from_authority(scheme, authority).unwrap();
            dialer
                .dial(&destination)
                .await
                .err()
                .map(|refused| refused.code)
        };
        assert_eq!(dial(Scheme::Http, canary::HOST).await, None);
        let forbidden = Some(Code::DestinationForbidden);
        assert_eq!(dial(Scheme::Http, "other.test").await, forbidden);
        assert_eq!(dial(Scheme::Http, &canary.to_string()).await, forbidden);
        assert_ne!(dial(Scheme::Https, canary::HOST).await, None);
        assert_ne!(
            dial(Scheme::Http, &format!("{}:81", canary::HOST)).await,
            None
        );
    }

    async fn code(dialer: &Dialer, authority: &str) -> Option<Code> {
        let destination = Destination::from_authority(Scheme::Https, authority).unwrap();
        dialer.dial(&destination).await.err().map(|r| r.code)
    }

    #[tokio::test]
    async fn forbidden_addresses_are_not_dialled_whatever_names_them() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let strict = dialer(&[], &[("name.test:443", address)]);
        for target in [
            format!("127.0.0.1:{}", address.port()),
            format!("[::ffff:127.0.0.1]:{}", address.port()),
            format!("localhost:{}", address.port()),
            "name.test:443".to_owned(),
            "169.254.169.254:80".to_owned(),
        ] {
            assert_eq!(
                code(&strict, &target).await,
                Some(Code::DestinationForbidden),
                "{target}"
            );
        }
        let open = dialer(&["127.0.0.0/8"], &[("name.test:443", address)]);
        assert_eq!(code(&open, "name.test:443").await, None);
    }

    #[tokio::test]
    async fn the_proxy_does_not_call_itself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dialer = dialer(&["127.0.0.0/8"], &[]);
        dialer.own.set(own_addresses(address)).unwrap();
        let target = format!("127.0.0.1:{}", address.port());
        assert_eq!(code(&dialer, &target).await, Some(Code::LoopDetected));
    }

    #[tokio::test]
    async fn the_proxy_does_not_call_itself_by_another_name_of_the_machine() {
        let any = ["0.0.0.0/0", "::/0"];
        for own in ["127.0.0.1:7070", "0.0.0.0:7070", "[::]:7070", "[::1]:7070"] {
            let dialer = dialer(&any, &[]);
            dialer.own.set(own_addresses(own.parse().unwrap())).unwrap();
            for named in ["0.0.0.0:7070", "[::]:7070", "[::ffff:0.0.0.0]:7070"] {
                assert_eq!(
                    code(&dialer, named).await,
                    Some(Code::LoopDetected),
                    "{own}"
                );
            }
            let is_any = own.starts_with("0.0.0.0") || own.starts_with("[::]");
            for named in ["127.0.0.1:7070", "127.8.8.8:7070", "[::1]:7070"] {
                let is_own = dialer.is_own(named.parse().unwrap());
                assert!(is_own == (is_any || own == named), "{own} {named}");
            }
            assert!(!dialer.is_own("127.0.0.1:7071".parse().unwrap()));
            assert!(!dialer.is_own("192.0.2.1:7070".parse().unwrap()));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let dialer = dialer(&["127.0.0.0/8"], &[]);
        let target = format!("127.0.0.1:{}", address.port());
        assert_eq!(
            code(&dialer, &target).await,
            Some(Code::UpstreamUnreachable)
        );
    }
}
