//! TCP connections that an isolated program may make beside HTTP: to hosts that the user names, at addresses
//! that Egret finds and checks. Nothing is put into them, and nobody looks into them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;

use anyhow::bail;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::app::{ServerFile, direct_dialer};
use crate::cli::context::actor;
use crate::cli::exit::usage;
use crate::config::Config;
use crate::policy::destination::{Destination, Host, Scheme};
use crate::policy::egress::Stance;
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::dial::Dialer;
use crate::vault::store::Event;
use crate::vault::{ClientName, Principal, Store, Vault};

/// Most destinations.
const MOST: usize = 16;

/// Where an isolated program may connect to, and how. By default nowhere.
#[derive(Default)]
pub(super) struct Tunnels {
    destinations: Vec<Destination>,
    open: Option<Opener>,
}

/// Opens tunnels, and puts them on record.
struct Opener {
    dialer: Dialer,
    store: Store,
    client: ClientName,
}

/// The destinations of the command line.
///
/// # Errors
/// When one is not understood.
pub(super) fn parse(all: &[String]) -> anyhow::Result<Vec<Destination>> {
    if all.len() > MOST {
        return Err(usage(format!("--allow-tcp names more than {MOST} hosts")));
    }
    let destination = |text: &String| {
        let has_port = text
            .rsplit_once(':')
            .is_some_and(|(_, port)| u16::from_str(port).is_ok());
        let parsed = Destination::from_authority(Scheme::Https, text);
        parsed
            .ok()
            .filter(|_| has_port)
            .ok_or_else(|| usage("--allow-tcp takes HOST:PORT, such as db.example.com:5432"))
    };
    all.iter().map(destination).collect()
}

/// Refuses a destination that the rules for egress close to this client.
pub(super) fn check_rules(
    vault: &Vault,
    config: &Config,
    principal: &Principal,
    client: &ClientName,
    destinations: &[Destination],
) -> anyhow::Result<()> {
    for destination in destinations {
        let operator = &config.egress.rules;
        let rules = vault.egress(principal, client.as_str(), destination, operator);
        let Ok(rules) = rules else {
            bail!("a rule for egress was changed in the store by something that is not Egret");
        };
        if rules.is_some_and(|rules| rules.decide_blind().stance == Stance::Deny) {
            bail!(
                "a rule for egress does not let the program reach {}",
                destination.authority()
            );
        }
    }
    Ok(())
}

impl Tunnels {
    pub(super) fn new(
        config: &Config,
        destinations: Vec<Destination>,
        store: Store,
        client: ClientName,
    ) -> anyhow::Result<Self> {
        if destinations.is_empty() {
            return Ok(Self::default());
        }
        if config.upstream.proxy.is_some() {
            bail!("--allow-tcp cannot be used with upstream.proxy, which carries HTTP only");
        }
        let server = ServerFile::read(&config.data_dir);
        let own = server.map(|file| file.listeners());
        let opener = Opener {
            dialer: direct_dialer(config, own.unwrap_or_default()),
            store,
            client,
        };
        Ok(Self {
            destinations,
            open: Some(opener),
        })
    }

    /// The ports that lead to a tunnel, each once.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.destinations.iter().map(|to| to.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The names that have an address of their own inside, so that a connection says which was meant.
    pub(super) fn names(&self) -> Vec<(String, Ipv4Addr)> {
        let numbered = self.destinations.iter().zip(1..);
        let named = numbered.filter(|(to, _)| to.host.as_ip().is_none());
        named
            .map(|(to, number)| (to.host.to_string(), self.address(&to.host, number)))
            .collect()
    }

    /// The address of a host inside: that of the first destination with the same host.
    fn address(&self, host: &Host, number: u8) -> Ipv4Addr {
        let first = self
            .destinations
            .iter()
            .zip(1..)
            .find(|(to, _)| to.host == *host);
        Ipv4Addr::new(198, 18, 1, first.map_or(number, |(_, first)| first))
    }

    /// Joins the connection to what the program meant. One that means nothing named is closed.
    pub(super) async fn pass_on(&self, mut client: TcpStream) {
        let to = client.local_addr().ok().and_then(|to| self.at(to));
        let (Some(to), Some(opener)) = (to, &self.open) else {
            return;
        };
        match opener.open(to).await {
            // Either side may close at any time, which is no error.
            Ok(mut upstream) => drop(copy_bidirectional(&mut client, &mut upstream).await),
            Err(error) => tracing::error!(to = %to.authority(), "no tunnel: {error:#}"),
        }
    }

    /// What is meant by an address inside.
    fn at(&self, address: SocketAddr) -> Option<&Destination> {
        let ip = address.ip().to_canonical();
        let names = self.names();
        let is_meant = |to: &&Destination| match to.host.as_ip() {
            Some(own) => own == ip,
            None => {
                let host = to.host.to_string();
                names
                    .iter()
                    .any(|(name, own)| *name == host && IpAddr::V4(*own) == ip)
            }
        };
        let mut all = self.destinations.iter();
        all.find(|to| to.port == address.port() && is_meant(to))
    }
}

impl Opener {
    /// Connects, and puts that on record before a byte is passed on.
    async fn open(&self, to: &Destination) -> anyhow::Result<Connected> {
        let upstream = self.dialer.dial(to).await;
        let upstream = upstream.map_err(|refusal| anyhow::anyhow!("{}", refusal.detail))?;
        let detail = format!("{}; {}", to.authority(), self.client);
        let actor = actor();
        let noted = self.store.note_event(&actor, Event::TunnelOpened, &detail);
        noted.await?;
        Ok(upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_has_a_host_and_a_port() {
        let all = ["db.example:5432".to_owned(), "[2001:db8::1]:22".to_owned()];
        assert_eq!(parse(&all).unwrap().len(), 2);
        for text in [
            "db.example",
            "db.example:x",
            "https://db.example:1",
            "u@h:1",
            "::1",
            "",
        ] {
            assert!(parse(&[text.to_owned()]).is_err(), "{text}");
        }
        let many = vec!["h:1".to_owned(); MOST + 1];
        assert!(parse(&many).is_err());
    }
}
