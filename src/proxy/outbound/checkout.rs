//! A connection for one request: one that is there, or a new one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::Refusal;
use crate::identity::Caller;
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::outbound::answer::Home;
use crate::proxy::outbound::answer_first::Abort;
use crate::proxy::outbound::bound::{Bound, BoundConnections};
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::h1_pool::Pool;
use crate::proxy::outbound::h2_pool::{H2Host, H2Pool, NegotiatedProtocol, Stream};
use crate::proxy::outbound::handshake::{Handshaker, Opened, Wanted};
use crate::proxy::outbound::http1::Connection;
use crate::proxy::outbound::leftover::Leftover;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// A connection with room for one request.
pub enum Checkout {
    /// HTTP/1.1: all of it.
    Exclusive {
        /// The connection.
        connection: Connection,
        /// Where it belongs.
        home: Home,
        /// It has served another request before.
        is_reused: bool,
    },
    /// HTTP/2: one stream of it.
    Shared {
        /// The stream.
        stream: Stream,
        /// What is known of the destination.
        h2_host: Arc<H2Host>,
        /// Its connection was there before the request.
        is_reused: bool,
    },
}

/// All connections to destinations, and what makes new ones.
pub struct Connections {
    handshaker: Arc<Handshaker>,
    pool: Arc<Pool>,
    h2_pool: Arc<H2Pool>,
}

impl Connections {
    /// None yet. Must be called on a runtime: idle connections are swept by a task that ends with
    /// this value.
    pub fn new(handshaker: Arc<Handshaker>) -> Self {
        let pool = Arc::new(Pool::default());
        let h2_pool = Arc::new(H2Pool::default());
        let swept = (Arc::downgrade(&pool), Arc::downgrade(&h2_pool));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let (Some(pool), Some(h2_pool)) = (swept.0.upgrade(), swept.1.upgrade()) else {
                    return;
                };
                pool.sweep();
                h2_pool.sweep();
            }
        });
        Self {
            handshaker,
            pool,
            h2_pool,
        }
    }

    /// The same without the connections.
    pub fn renewed(&self) -> Self {
        Self::new(Arc::clone(&self.handshaker))
    }

    /// Opens a connection without a request.
    pub async fn dial_blind(&self, destination: &Destination) -> Result<Connected, Refusal> {
        self.handshaker.dial(destination).await
    }

    /// From now on connections to the destination read answers with many fields.
    pub fn expect_many_fields(&self, destination: &Destination) {
        self.handshaker.expect_many_fields(destination);
    }

    /// See [`Handshaker::read_again`].
    pub async fn read_again(
        &self,
        left: Leftover,
        abort: Abort,
    ) -> hyper::Result<(Connection, Arc<AtomicBool>)> {
        self.handshaker.read_again(left, abort).await
    }

    /// The connection of this client connection to the destination, if it has one of its own. With
    /// `binds`, because the request authenticates its connection, it has one from now on.
    pub fn bound(
        &self,
        of: &BoundConnections,
        destination: &Destination,
        caller: &Caller,
        binds: bool,
    ) -> Option<Arc<Bound>> {
        if binds {
            return Some(of.bind(destination, caller, &self.pool));
        }
        of.find(destination, caller, &self.pool)
    }

    /// A connection that no one else uses, before this request or after it. Where it belongs is
    /// `bound`; without that it is closed after the request.
    pub async fn own(
        &self,
        destination: &Destination,
        bound: Option<&Arc<Bound>>,
    ) -> Result<Checkout, Refusal> {
        if let Some(bound) = bound
            && let Some(connection) = bound.take().await
        {
            return Ok(Checkout::Exclusive {
                connection,
                home: Home::Bound(Arc::clone(bound)),
                is_reused: true,
            });
        }
        Ok(match self.open(destination, Wanted::Http1).await? {
            Opened::Http1(connection) => Checkout::Exclusive {
                connection,
                home: bound.map_or(Home::None, |bound| Home::Bound(Arc::clone(bound))),
                is_reused: false,
            },
            // HTTP/2 has no authentication of connections (RFC 9113 section 9.1.1 lets others share
            // one). What an upstream makes of it ends with the request.
            Opened::Http2(shareable, _) => Checkout::Shared {
                stream: Stream::alone(shareable),
                h2_host: self.h2_pool.h2_host(destination),
                is_reused: false,
            },
        })
    }

    /// A connection for one request. With `is_fresh` it is one that served no request before.
    pub async fn place(
        &self,
        destination: &Destination,
        wanted: Wanted,
        is_fresh: bool,
    ) -> Result<Checkout, Refusal> {
        if wanted == Wanted::Http1 {
            return self.exclusive(destination, is_fresh).await;
        }
        match self.h2_pool.spoken(destination) {
            // Without TLS there is no ALPN: the client's own version is used.
            NegotiatedProtocol::Http1 if destination.scheme == Scheme::Https => {
                self.exclusive(destination, is_fresh).await
            }
            _ => self.shared(destination, is_fresh).await,
        }
    }

    async fn exclusive(
        &self,
        destination: &Destination,
        is_fresh: bool,
    ) -> Result<Checkout, Refusal> {
        let taken = if is_fresh {
            Err(self.pool.host_pool(destination))
        } else {
            self.pool.take(destination).await
        };
        let host_pool = match taken {
            Ok((connection, host_pool)) => {
                return Ok(Checkout::Exclusive {
                    connection,
                    home: Home::Pool(host_pool),
                    is_reused: true,
                });
            }
            Err(host_pool) => host_pool,
        };
        if self.h2_pool.spoken(destination) == NegotiatedProtocol::OnlyHttp2 {
            return Box::pin(self.shared(destination, is_fresh)).await;
        }
        Ok(match self.open(destination, Wanted::Http1).await? {
            Opened::Http1(connection) => Checkout::Exclusive {
                connection,
                home: Home::Pool(host_pool),
                is_reused: false,
            },
            Opened::Http2(shareable, _) => {
                let h2_host = self.h2_pool.h2_host(destination);
                h2_host.set_spoken(NegotiatedProtocol::OnlyHttp2);
                Checkout::Shared {
                    stream: h2_host.add(shareable),
                    h2_host,
                    is_reused: false,
                }
            }
        })
    }

    /// In a box, because every request carries this future with it, 8 KiB of it, and few run it.
    async fn open(&self, destination: &Destination, wanted: Wanted) -> Result<Opened, Refusal> {
        Box::pin(self.handshaker.open(destination, wanted)).await
    }

    /// A place on a shared connection; one is opened where none has room.
    async fn shared(&self, destination: &Destination, is_fresh: bool) -> Result<Checkout, Refusal> {
        let h2_host = self.h2_pool.h2_host(destination);
        let is_reused = true;
        if !is_fresh && let Some(stream) = h2_host.checkout() {
            return Ok(Checkout::Shared {
                stream,
                h2_host,
                is_reused,
            });
        }
        let opening = h2_host.opening().lock_owned().await;
        // Whoever opened one meanwhile opened it for all that waited.
        if let Some(stream) = h2_host.checkout() {
            return Ok(Checkout::Shared {
                stream,
                h2_host,
                is_reused,
            });
        }
        if h2_host.spoken() == NegotiatedProtocol::Http1 && destination.scheme == Scheme::Https {
            // Whoever asked meanwhile learned that there is nothing to share.
            drop(opening);
            return self.exclusive(destination, is_fresh).await;
        }
        let opened = self.open(destination, Wanted::Http2).await?;
        Ok(match opened {
            Opened::Http2(shareable, settled) => {
                if h2_host.spoken() == NegotiatedProtocol::Unknown {
                    h2_host.set_spoken(NegotiatedProtocol::Http2);
                }
                let stream = h2_host.add(shareable);
                tokio::spawn(async move {
                    // It ends as well if the connection does.
                    let _ = settled.await;
                    drop(opening);
                });
                Checkout::Shared {
                    stream,
                    h2_host,
                    is_reused: false,
                }
            }
            Opened::Http1(connection) => {
                h2_host.set_spoken(NegotiatedProtocol::Http1);
                Checkout::Exclusive {
                    connection,
                    home: Home::Pool(self.pool.host_pool(destination)),
                    is_reused: false,
                }
            }
        })
    }
}
