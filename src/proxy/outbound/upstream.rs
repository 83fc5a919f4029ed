//! The one way out: sends a recorded request to its destination.

use crate::proxy::outbound::answer::Lease;
use crate::proxy::outbound::limits::UpstreamLimits;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body as _;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::out_body::{OutBody, Transfer};
use crate::proxy::exchange::pipeline::{Exchange, Recorded};
use crate::proxy::exchange::upgrade;
use crate::proxy::outbound::answer::Answer;
use crate::proxy::outbound::dial::Dialer;
use crate::proxy::outbound::h1_pool::{HostPool, Pool};
use crate::proxy::outbound::h2_pool::{H2Host, H2Pool, NegotiatedProtocol, Stream};
use crate::proxy::outbound::handshake::{Handshaker, Opened, Wanted};
use crate::proxy::outbound::http1::Connection;
use crate::proxy::outbound::http2::{Arriving, Sent};
use crate::proxy::outbound::wire;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// How often one request is sent on another connection because the upstream is leaving the one it
/// was sent on (GOAWAY, REFUSED_STREAM).
const RESENDS: usize = 2;

/// Connections to destinations, made under one policy and one TLS configuration. A reload makes a
/// new one; exchanges under way keep theirs.
///
/// Egret speaks to the upstream what the client speaks to Egret: a client of HTTP/1.1 gets the
/// order and case of its header lines through, and one of HTTP/2 its streams. Where the upstream
/// will not have that it gets the other.
pub struct Upstream {
    handshaker: Arc<Handshaker>,
    pool: Arc<Pool>,
    h2_pool: Arc<H2Pool>,
    limits: UpstreamLimits,
}

impl Upstream {
    /// Sets up the way out. Must be called on a runtime: idle connections are swept by a task that
    /// ends with this value.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>, limits: UpstreamLimits) -> Self {
        Self::with(Arc::new(Handshaker::new(dialer, tls, limits)), limits)
    }

    /// The same way out without its connections. The buffers of a connection hold what was sent
    /// and received last until something else is; closed, they are wiped.
    pub fn renewed(&self) -> Self {
        Self::with(Arc::clone(&self.handshaker), self.limits)
    }

    fn with(handshaker: Arc<Handshaker>, limits: UpstreamLimits) -> Self {
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
            limits,
        }
    }

    /// The bounds that answers are read under.
    pub fn limits(&self) -> UpstreamLimits {
        self.limits
    }

    /// Sends the request and waits for the head of its answer.
    ///
    /// This is the only function that lets a secret leave the process, and it takes nothing but an
    /// exchange whose uses are durably on record.
    pub fn send(
        &self,
        exchange: Exchange<Recorded>,
    ) -> impl Future<Output = Result<Answer, Refusal>> {
        let (request, mut awaited) = exchange.into_wire();
        let transfer = request.body().transfer();
        let mut unsent = Some(request);
        async move {
            let destination = &awaited.outcome.context().destination;
            match self
                .exchange(destination, &mut unsent, transfer.as_deref())
                .await
            {
                Ok((response, lease)) => Ok(Answer {
                    response,
                    lease,
                    transfer,
                    awaited,
                }),
                Err(refusal) => {
                    // Without this the result says that the client has gone.
                    if !transfer.is_some_and(|transfer| transfer.is_client_gone()) {
                        awaited.outcome.failed(refusal.code);
                    }
                    Err(refusal)
                }
            }
        }
    }

    /// Opens a connection without a request, for a tunnel that Egret does not look into.
    pub async fn dial_blind(&self, destination: &Destination) -> Result<TcpStream, Refusal> {
        self.handshaker.dial(destination).await
    }

    /// Takes the request out of `unsent` to send it. One that the upstream has not looked at comes
    /// back there, and is sent again.
    async fn exchange(
        &self,
        destination: &Destination,
        unsent: &mut Option<Request<OutBody>>,
        transfer: Option<&Transfer>,
    ) -> Result<Answered, Refusal> {
        let mut resends = 0;
        while let Some(request) = unsent {
            let wanted = match request.version() {
                Version::HTTP_2 => Wanted::Http2,
                _ => Wanted::Http1,
            };
            let sent = match self.place(destination, wanted).await? {
                Checkout::Exclusive {
                    connection,
                    host_pool,
                    is_reused,
                } => {
                    let lease = (connection, host_pool);
                    self.send_http1(destination, unsent, transfer, lease, is_reused)
                        .await?
                }
                Checkout::Shared { .. }
                    if request.extensions().get::<upgrade::Asked>().is_some() =>
                {
                    return Err(only_http2(destination));
                }
                Checkout::Shared { stream, h2_host } => {
                    resends += 1;
                    // In a box: what sends an HTTP/1.1 request need not have room for it.
                    let sent = self.send_http2(destination, unsent, transfer, stream, &h2_host);
                    Box::pin(sent).await?
                }
            };
            if let Some(answer) = sent {
                return Ok(answer);
            }
            if resends > RESENDS {
                break;
            }
        }
        Err(failed(destination, transfer))
    }

    /// A connection for one request.
    async fn place(&self, destination: &Destination, wanted: Wanted) -> Result<Checkout, Refusal> {
        if wanted == Wanted::Http1 {
            return self.exclusive(destination).await;
        }
        match self.h2_pool.spoken(destination) {
            // Without TLS there is no ALPN: the client's own version is used.
            NegotiatedProtocol::Http1 if destination.scheme == Scheme::Https => {
                self.exclusive(destination).await
            }
            _ => self.shared(destination).await,
        }
    }

    async fn exclusive(&self, destination: &Destination) -> Result<Checkout, Refusal> {
        let host_pool = match self.pool.take(destination).await {
            Ok((connection, host_pool)) => {
                return Ok(Checkout::Exclusive {
                    connection,
                    host_pool,
                    is_reused: true,
                });
            }
            Err(host_pool) => host_pool,
        };
        if self.h2_pool.spoken(destination) == NegotiatedProtocol::OnlyHttp2 {
            return Box::pin(self.shared(destination)).await;
        }
        Ok(match self.open(destination, Wanted::Http1).await? {
            Opened::Http1(connection) => Checkout::Exclusive {
                connection,
                host_pool,
                is_reused: false,
            },
            Opened::Http2(shareable, _) => {
                let h2_host = self.h2_pool.h2_host(destination);
                h2_host.set_spoken(NegotiatedProtocol::OnlyHttp2);
                Checkout::Shared {
                    stream: h2_host.add(shareable),
                    h2_host,
                }
            }
        })
    }

    /// In a box, because every request carries this future with it, 8 KiB of it, and few run it.
    async fn open(&self, destination: &Destination, wanted: Wanted) -> Result<Opened, Refusal> {
        Box::pin(self.handshaker.open(destination, wanted)).await
    }

    /// A place on a shared connection; one is opened where none has room.
    async fn shared(&self, destination: &Destination) -> Result<Checkout, Refusal> {
        let h2_host = self.h2_pool.h2_host(destination);
        if let Some(stream) = h2_host.checkout() {
            return Ok(Checkout::Shared { stream, h2_host });
        }
        let opening = h2_host.opening().lock_owned().await;
        // Whoever opened one meanwhile opened it for all that waited.
        if let Some(stream) = h2_host.checkout() {
            return Ok(Checkout::Shared { stream, h2_host });
        }
        if h2_host.spoken() == NegotiatedProtocol::Http1 && destination.scheme == Scheme::Https {
            // Whoever asked meanwhile learned that there is nothing to share.
            drop(opening);
            return self.exclusive(destination).await;
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
                Checkout::Shared { stream, h2_host }
            }
            Opened::Http1(connection) => {
                h2_host.set_spoken(NegotiatedProtocol::Http1);
                Checkout::Exclusive {
                    connection,
                    host_pool: self.pool.host_pool(destination),
                    is_reused: false,
                }
            }
        })
    }

    async fn send_http1(
        &self,
        destination: &Destination,
        unsent: &mut Option<Request<OutBody>>,
        transfer: Option<&Transfer>,
        (mut connection, host_pool): (Connection, Arc<HostPool>),
        is_reused: bool,
    ) -> Result<Option<Answered>, Refusal> {
        let Some(request) = unsent.take() else {
            return Ok(None);
        };
        let is_whole = transfer.is_none_or(Transfer::is_complete);
        if !is_whole || request.extensions().get::<upgrade::Asked>().is_some() {
            connection.detach();
        }
        let request = wire::for_http1(request)?;
        let mut sent = pin!(connection.sender().try_send_request(request));
        let sent = poll_fn(|cx| connection.poll_with(cx, |cx| sent.as_mut().poll(cx)));
        Ok(
            match self.await_answer(sent, destination, transfer).await? {
                Ok(response) => Some((
                    response.map(Arriving::Http1),
                    Lease::Exclusive {
                        connection,
                        host_pool,
                    },
                )),
                // A kept connection may have been closed while it lay idle. The library returns the
                // request only if not a byte of it was written, so it is safe to send again.
                Err(mut error) => {
                    *unsent = error.take_message().filter(|_| is_reused);
                    None
                }
            },
        )
    }

    async fn send_http2(
        &self,
        destination: &Destination,
        unsent: &mut Option<Request<OutBody>>,
        transfer: Option<&Transfer>,
        mut stream: Stream,
        h2_host: &H2Host,
    ) -> Result<Option<Answered>, Refusal> {
        if let Some((sent, again)) = start(&mut stream, unsent, destination)? {
            match self.await_answer(sent, destination, transfer).await? {
                Ok(response) => return Ok(Some((response, Lease::Shared(stream)))),
                Err(error) => {
                    let again = again.filter(|_| wire::was_refused(&error));
                    *unsent = again.map(|(head, held)| {
                        let body = OutBody::held(held);
                        Request::from_parts(head, body)
                    });
                }
            }
        }
        h2_host.retire(&stream);
        Ok(None)
    }

    /// Waits for the answer's head as long as something moves: an upload may take any time, a
    /// silence may not.
    async fn await_answer<F: Future>(
        &self,
        sent: F,
        destination: &Destination,
        transfer: Option<&Transfer>,
    ) -> Result<F::Output, Refusal> {
        tokio::pin!(sent);
        let started = Instant::now();
        let last_activity = || transfer.map_or(started, Transfer::last_activity);
        loop {
            let quiet_since = last_activity().max(started);
            match tokio::time::timeout_at(quiet_since + self.limits.idle, &mut sent).await {
                Ok(output) => return Ok(output),
                Err(_) if last_activity() > quiet_since => {}
                Err(_) => {
                    return Err(Refusal::new(
                        Code::UpstreamTimeout,
                        "the destination did not answer within upstream.idle_timeout",
                    )
                    .destination(destination.to_string()));
                }
            }
        }
    }
}

/// A connection with room for one request.
enum Checkout {
    Exclusive {
        connection: Connection,
        /// Where it belongs.
        host_pool: Arc<HostPool>,
        /// It has served another request before.
        is_reused: bool,
    },
    Shared {
        stream: Stream,
        h2_host: Arc<H2Host>,
    },
}

/// What it takes to send a request again, if all of it is here.
type Again = Option<(Parts, Held)>;

/// Sends a request over HTTP/2, if its connection takes it. Where that has ended the request stays
/// in `unsent`: not a byte of it was written.
fn start(
    stream: &mut Stream,
    unsent: &mut Option<Request<OutBody>>,
    destination: &Destination,
) -> Result<Option<(Sent, Again)>, Refusal> {
    let Some(request) = unsent.take() else {
        return Ok(None);
    };
    let (head, body) = wire::for_http2(request, destination)?.into_parts();
    let copy = wire::copy(&head);
    let head = Request::from_parts(head, ());
    match stream.sender().send_request(head, body.is_end_stream()) {
        Ok((answer, outgoing)) => {
            let again = body.to_held().map(|held| (copy, held));
            Ok(Some((Sent::begin(answer, outgoing, body), again)))
        }
        Err(error) => {
            // Any other error is about the request itself.
            if error.is_go_away() || error.is_io() {
                *unsent = Some(Request::from_parts(copy, body));
            }
            Ok(None)
        }
    }
}

/// An answer, and the connection that it comes on.
type Answered = (Response<Arriving>, Lease);

/// RFC 9113 section 8.6: there is no upgrade in HTTP/2.
fn only_http2(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamProtocolError,
        "the destination speaks HTTP/2 only, and WebSocket is passed on over HTTP/1.1",
    )
    .destination(destination.to_string())
}

/// Why no answer came. The library's own error is not asked: it quotes what it was sending.
fn failed(destination: &Destination, transfer: Option<&Transfer>) -> Refusal {
    transfer.and_then(Transfer::fault).unwrap_or_else(|| {
        Refusal::new(
            Code::UpstreamProtocolError,
            "the destination closed the connection before answering, or its answer is not HTTP",
        )
        .destination(destination.to_string())
    })
}
