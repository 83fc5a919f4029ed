//! The keys about TLS on the proxy's own listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::listener_tls::{CertificateFiles, ListenerTls};
use super::resolve::Resolver;
use super::units::FromValue;
use crate::policy::destination::Host;

const LISTEN: &str = "proxy.tls_listen";
const CERT: &str = "proxy.tls_cert";
const KEY: &str = "proxy.tls_key";

impl Resolver<'_> {
    pub(super) fn listener_tls(&mut self) -> ListenerTls {
        let names = self.list("proxy.tls_names", |value| {
            let text = String::from_value(value)?;
            Host::parse(&text).map_err(|error| format!("{text:?}: {error}"))
        });
        let certificate = match (self.optional_file(CERT), self.optional_file(KEY)) {
            (Some(chain), Some(key)) => Some(CertificateFiles { chain, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.complain(CERT, "set proxy.tls_key as well: the two belong together");
                None
            }
            (None, Some(_)) => {
                self.complain(KEY, "set proxy.tls_cert as well: the two belong together");
                None
            }
        };
        ListenerTls {
            listen: self.list(LISTEN, SocketAddr::from_value),
            names,
            certificate,
            client_ca: self.optional_file("proxy.tls_client_ca"),
        }
    }

    /// A file, or `none`.
    fn optional_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let text: String = self.read(key);
        (text != "none").then(|| self.data_dir.join(text))
    }

    /// Complains of a plain listener that others can reach, unless it is allowed in so many words: tokens
    /// and answers are in the clear there.
    pub(super) fn check_plain(&mut self, listen: SocketAddr) {
        let is_allowed: bool = self.read("proxy.allow_plain");
        if !listen.ip().is_loopback() && !is_allowed {
            let message = format!(
                "{listen} is no loopback address, and what clients send there, their tokens too, is \
                 not encrypted: set {LISTEN} for a listener with TLS, or say with \
                 proxy.allow_plain = true that the network is trusted"
            );
            self.complain("proxy.listen", &message);
        }
    }
}
