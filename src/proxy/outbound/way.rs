//! The way to a place that the operator has named: the issuer of keys, the identity provider, the
//! webhook of alerts. It leads through the parent proxy like everything else, and the policy for
//! addresses, which is about what clients name, is not asked.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::policy::destination::Host;
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::parent::{Parent, Target};

/// Longest time for a connection.
const DEADLINE: Duration = Duration::from_secs(10);

/// Connects directly, or through the parent proxy. Clones share it.
#[derive(Clone, Default)]
pub struct Way(Option<Arc<Parent>>);

impl Way {
    /// Through `parent`, if there is one.
    pub fn through(parent: Option<Arc<Parent>>) -> Self {
        Self(parent)
    }

    /// The parent proxy, unless `host` is reached without it.
    pub fn parent_for(&self, host: &Host) -> Option<&Parent> {
        self.0.as_deref().filter(|parent| !parent.is_exempt(host))
    }

    /// Opens a connection.
    pub async fn connect(&self, host: &Host, port: u16) -> io::Result<Connected> {
        if let Some(parent) = self.parent_for(host) {
            let host = host.clone();
            let target = Target { host, port };
            let opened = parent.open(&target, Instant::now() + DEADLINE).await;
            return opened.map_err(io::Error::other);
        }
        let connecting = async {
            match host.as_ip() {
                Some(address) => TcpStream::connect((address, port)).await,
                None => TcpStream::connect((host.to_string(), port)).await,
            }
        };
        let connected = tokio::time::timeout(DEADLINE, connecting).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Connected::Tcp(stream))
    }
}
