//! From a destination to a connected socket: resolve once, check every address, dial a checked one.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::error::{Code, Refusal};
use crate::policy::address::AddressPolicy;
use crate::policy::destination::Destination;

/// How long a resolved and checked set of addresses is used again. `getaddrinfo` tells no TTL; this
/// is short enough for a failover and long enough to keep a burst off the resolver.
const RESOLUTION_LIFE: Duration = Duration::from_secs(10);
/// Most names kept. A hostile client can name any number.
const RESOLUTIONS: usize = 4_096;
/// Least time for one address when several share the connect timeout.
const LEAST_ATTEMPT: Duration = Duration::from_millis(250);

/// The addresses that Egret itself listens on, known once it does.
pub type OwnAddresses = Arc<OnceLock<Vec<SocketAddr>>>;

/// Resolves, checks and connects.
pub struct Dialer {
    policy: AddressPolicy,
    /// `upstream.resolve`: names that are not looked up.
    overrides: Vec<(String, Vec<SocketAddr>)>,
    connect_timeout: Duration,
    own: OwnAddresses,
    resolved: DashMap<Destination, (Instant, Arc<[SocketAddr]>)>,
}

impl Dialer {
    /// A dialer under `policy`. `overrides` map `host:port` to fixed addresses.
    pub fn new(
        policy: AddressPolicy,
        overrides: Vec<(String, Vec<SocketAddr>)>,
        connect_timeout: Duration,
        own: OwnAddresses,
    ) -> Self {
        Self {
            policy,
            overrides,
            connect_timeout,
            own,
            resolved: DashMap::new(),
        }
    }

    /// Connects to `destination` with TCP_NODELAY set (a request is a small write followed by a
    /// wait: Nagle would add 40 ms).
    pub async fn dial(&self, destination: &Destination) -> Result<TcpStream, Refusal> {
        let deadline = Instant::now() + self.connect_timeout;
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
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(unreachable(destination, error.kind())),
                Err(_) => last = Some(timed_out(destination)),
            }
        }
        Err(last.unwrap_or_else(|| unresolved(destination)))
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
        let port = destination.port;
        let name = destination.host.to_string();
        let key = format!("{name}:{port}");
        if let Some((_, addresses)) = self.overrides.iter().find(|(host, _)| *host == key) {
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
        if self.is_own(address) {
            return Err(Refusal::new(
                Code::LoopDetected,
                "the destination is this proxy; send the request to the real upstream",
            )
            .destination(destination.to_string()));
        }
        self.policy.check(address.ip()).map_err(|forbidden| {
            Refusal::new(
                Code::DestinationForbidden,
                format!(
                    "the destination resolves to an address in {range}; if that is meant, add \
                     the network to upstream.allow_private",
                    range = forbidden.range
                ),
            )
            .destination(destination.to_string())
        })
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let same_ip = |own: IpAddr| {
            own == address.ip().to_canonical()
                || (own.is_unspecified() && address.ip().to_canonical().is_loopback())
        };
        self.own.get().is_some_and(|own| {
            own.iter()
                .any(|own| own.port() == address.port() && same_ip(own.ip().to_canonical()))
        })
    }
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
        )
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
        dialer.own.set(vec![address]).unwrap();
        let target = format!("127.0.0.1:{}", address.port());
        assert_eq!(code(&dialer, &target).await, Some(Code::LoopDetected));
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
