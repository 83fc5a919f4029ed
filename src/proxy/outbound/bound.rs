//! Upstream connections on which the connection itself is authenticated.
//!
//! NTLM and Negotiate (RFC 4559 section 6) authenticate a connection, not a request: whoever sends
//! the next request on it is taken for the same user. Such a connection belongs to one client's
//! connection from the first request with such a header on, is closed with it, and never comes into
//! the pool that all share.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use http::header::{self, HeaderMap};

use crate::identity::Caller;
use crate::policy::destination::Destination;
use crate::proxy::outbound::h1_pool::{Pool, usable};
use crate::proxy::outbound::http1::Connection;
use crate::proxy::runtime::sync::lock;
use crate::vault::Principal;

/// Authentication schemes that authenticate the connection.
const SCHEMES: [&[u8]; 3] = [b"ntlm", b"negotiate", b"kerberos"];
/// Most destinations of one client connection. Past them the one bound first is closed.
const DESTINATIONS: usize = 16;

/// Whether a request with these fields authenticates the connection that it is sent on. Asked of
/// the fields as they are sent, so that a placeholder makes no difference.
pub fn authenticates_connection(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let value = value.as_bytes().trim_ascii_start();
        let end = value.iter().position(|b| matches!(b, b' ' | b'\t' | b','));
        let scheme = &value[..end.unwrap_or(value.len())];
        SCHEMES.iter().any(|s| scheme.eq_ignore_ascii_case(s))
    })
}

/// The upstream connections that belong to one client connection: none for nearly all of them.
#[derive(Default)]
pub struct BoundConnections(OnceLock<Mutex<Vec<Arc<Bound>>>>);

/// The upstream connection of one client connection to one destination.
pub struct Bound {
    owner: Owner,
    idle: Mutex<Option<Connection>>,
}

/// For whom and where to. One client connection may carry requests of several clients, where another
/// proxy is in between.
struct Owner {
    destination: Destination,
    client: Arc<str>,
    principal: Principal,
    /// The connections made under the same settings. A reload, and a revoked value, replace the pool,
    /// and end what was authenticated under the old one.
    pool: Weak<Pool>,
}

impl Owner {
    fn is(&self, destination: &Destination, caller: &Caller) -> bool {
        self.destination == *destination
            && self.client == caller.client
            && self.principal == caller.principal
    }
}

impl BoundConnections {
    /// Where the connection for such a request belongs, if there is one of its own already.
    pub fn find(
        &self,
        destination: &Destination,
        caller: &Caller,
        pool: &Arc<Pool>,
    ) -> Option<Arc<Bound>> {
        let mut all = lock(self.0.get()?);
        all.retain(|bound| bound.owner.pool.as_ptr() == Arc::as_ptr(pool));
        let found = all.iter().find(|b| b.owner.is(destination, caller));
        found.cloned()
    }

    /// The same; from now on there is one.
    pub fn bind(&self, destination: &Destination, caller: &Caller, pool: &Arc<Pool>) -> Arc<Bound> {
        if let Some(bound) = self.find(destination, caller, pool) {
            return bound;
        }
        let bound = Arc::new(Bound {
            owner: Owner {
                destination: destination.clone(),
                client: Arc::clone(&caller.client),
                principal: caller.principal.clone(),
                pool: Arc::downgrade(pool),
            },
            idle: Mutex::default(),
        });
        let mut all = lock(self.0.get_or_init(Mutex::default));
        if all.len() == DESTINATIONS {
            all.remove(0);
        }
        all.push(Arc::clone(&bound));
        bound
    }
}

impl Bound {
    /// The connection, if it can be used.
    pub async fn take(&self) -> Option<Connection> {
        let connection = lock(&self.idle).take()?;
        usable(connection).await
    }

    /// Keeps the connection for the next request.
    pub fn put(&self, mut connection: Connection) {
        connection.rest();
        *lock(&self.idle) = Some(connection);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn schemes_that_authenticate_a_connection_are_known_by_name() {
        let is_bound = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(line));
            }
            authenticates_connection(&headers)
        };
        for yes in [
            "NTLM TlRM",
            "ntlm",
            "Negotiate YII=",
            " NEGOTIATE\tx",
            "Kerberos x",
        ] {
            assert!(is_bound(&[yes]), "{yes}");
        }
        assert!(is_bound(&["Basic x", "Negotiate y"]));
        for no in [
            "Basic TlRM",
            "Bearer negotiate",
            "NTLMish x",
            "",
            "Digest username=\"ntlm\"",
        ] {
            assert!(!is_bound(&[no]), "{no}");
        }
        assert!(!is_bound(&[]));
    }
}
