//! The one way out: sends a recorded request to its destination.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use crate::error::{Code, Refusal};
use crate::policy::destination::Destination;
use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::expectation::Expectation;
use crate::proxy::exchange::last_look::LastLook;
use crate::proxy::exchange::out_body::{OutBody, Transfer};
use crate::proxy::exchange::pipeline::{Exchange, Recorded};
use crate::proxy::exchange::upgrade;
use crate::proxy::exchange::via;
use crate::proxy::outbound::answer::{Answer, Home, Lease};
use crate::proxy::outbound::bound::{Bound, BoundConnections, authenticates_connection};
use crate::proxy::outbound::checkout::{Checkout, Connections};
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::dial::Dialer;
use crate::proxy::outbound::h2_pool::{H2Host, Stream};
use crate::proxy::outbound::handshake::{Handshaker, Wanted};
use crate::proxy::outbound::http1::Connection;
use crate::proxy::outbound::http2::{Arriving, Sent};
use crate::proxy::outbound::interim::{self, OnInterim};
use crate::proxy::outbound::leftover::Leftover;
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::outbound::wire::{self, Again, HeadCopy};
use crate::proxy::runtime::idle::LazyTimer;
use crate::proxy::runtime::measures::measures;

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
    connections: Connections,
    limits: UpstreamLimits,
}

impl Upstream {
    /// Sets up the way out. Must be called on a runtime: idle connections are swept by a task that
    /// ends with this value.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>, limits: UpstreamLimits) -> Self {
        let handshaker = Arc::new(Handshaker::new(dialer, tls, limits));
        Self {
            connections: Connections::new(handshaker),
            limits,
        }
    }

    /// The same way out without its connections. The buffers of a connection hold what was sent
    /// and received last until something else is; closed, they are wiped.
    pub fn renewed(&self) -> Self {
        Self {
            connections: self.connections.renewed(),
            limits: self.limits,
        }
    }

    /// The bounds that answers are read under.
    pub fn limits(&self) -> UpstreamLimits {
        self.limits
    }

    /// Sends the request and waits for the head of its answer. `bound` are the upstream connections
    /// that belong to the client's connection. `on_interim` is told of interim answers. `look` is
    /// asked once there is a connection, right before anything is written to it.
    ///
    /// This is the only function that lets a secret leave the process, and it takes nothing but an
    /// exchange whose uses are durably on record.
    pub fn send(
        &self,
        exchange: Exchange<Recorded>,
        bound: &BoundConnections,
        on_interim: Option<OnInterim>,
        look: LastLook<'_>,
    ) -> impl Future<Output = Result<Answer, Refusal>> {
        let (mut request, mut awaited) = exchange.into_wire();
        let received = request.version();
        via::add(request.headers_mut(), received);
        let transfer = request.body().transfer();
        let own = self.own(&request, &awaited, bound);
        let mut unsent = Some(request);
        async move {
            let begun = Instant::now();
            let watch = Watch {
                transfer: transfer.as_deref(),
                on_interim: on_interim.as_ref(),
            };
            let sent = pin!(self.exchange(&awaited, &mut unsent, watch, own, look)).await;
            measure(&awaited, sent.as_ref().err(), begun.elapsed());
            match sent {
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

    /// Whether the request needs a connection that others do not use.
    fn own(
        &self,
        request: &Request<OutBody>,
        awaited: &Awaited,
        bound: &BoundConnections,
    ) -> Option<Own> {
        let binds = awaited.asked.has_authorization && authenticates_connection(request.headers());
        if request.version() == Version::HTTP_2 {
            // Its requests come at once, so that none can be said to come after it.
            return binds.then_some(Own(None));
        }
        let context = awaited.outcome.context();
        let (destination, caller) = (&context.destination, &context.caller);
        let bound = self.connections.bound(bound, destination, caller, binds);
        bound.map(|bound| Own(Some(bound)))
    }

    /// Opens a connection without a request, for a tunnel that Egret does not look into.
    pub async fn dial_blind(&self, destination: &Destination) -> Result<Connected, Refusal> {
        self.connections.dial_blind(destination).await
    }

    /// Takes the request out of `unsent` to send it. One that the upstream has not looked at comes
    /// back there, and is sent again.
    async fn exchange(
        &self,
        awaited: &Awaited,
        unsent: &mut Option<Request<OutBody>>,
        watch: Watch<'_>,
        own: Option<Own>,
        look: LastLook<'_>,
    ) -> Result<Answered, Refusal> {
        let destination = &awaited.outcome.context().destination;
        let mut resends = 0;
        // After a failure on a connection that was kept, the others that were kept are no better.
        let mut is_fresh = false;
        while let Some(request) = unsent {
            let wanted = match request.version() {
                Version::HTTP_2 => Wanted::Http2,
                _ => Wanted::Http1,
            };
            let is_upgrade = request.extensions().get::<upgrade::Asked>().is_some();
            let checkout = match &own {
                // In a box, because hardly any request has one.
                Some(own) => Box::pin(self.connections.own(destination, own.0.as_ref())).await?,
                None => {
                    self.connections
                        .place(destination, wanted, is_fresh)
                        .await?
                }
            };
            is_fresh = true;
            look.check(awaited).await?;
            let sent = match checkout {
                Checkout::Exclusive {
                    connection,
                    home,
                    is_reused,
                } => {
                    let lease = (connection, home);
                    self.send_http1(awaited, unsent, watch, lease, is_reused)
                        .await?
                }
                Checkout::Shared { .. } if is_upgrade => return Err(only_http2(destination)),
                Checkout::Shared {
                    stream,
                    h2_host,
                    is_reused,
                } => {
                    resends += 1;
                    // In a box: what sends an HTTP/1.1 request need not have room for it.
                    let sent =
                        self.send_http2(destination, unsent, watch, (stream, is_reused), &h2_host);
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
        Err(failed(destination, watch.transfer))
    }

    async fn send_http1(
        &self,
        awaited: &Awaited,
        unsent: &mut Option<Request<OutBody>>,
        watch: Watch<'_>,
        (mut connection, home): (Connection, Home),
        is_reused: bool,
    ) -> Result<Option<Answered>, Refusal> {
        let destination = &awaited.outcome.context().destination;
        let Some(request) = unsent.take() else {
            return Ok(None);
        };
        let transfer = watch.transfer;
        let is_whole = transfer.is_none_or(Transfer::is_complete);
        let expectation = transfer.and_then(Transfer::expectation);
        let is_upgrade = request.extensions().get::<upgrade::Asked>().is_some();
        if is_upgrade {
            connection.detach_for_upgrade();
        } else if !is_whole && expectation.is_none() {
            connection.detach();
        }
        if let Some(transfer) = transfer {
            transfer.sets_on_fault(connection.abort());
        }
        let mut request = wire::for_http1(request)?;
        let asked = AskedHttp1 {
            has_body: !request.body().is_end_stream(),
            is_upgrade,
        };
        interim::note(&mut request, watch.on_interim.cloned());
        let again = wire::repeatable(&request);
        let started = Instant::now();
        let mut sent = pin!(connection.sender().try_send_request(request));
        let sent = poll_fn(|cx| {
            let mut polled = connection.poll_with(cx, |cx| sent.as_mut().poll(cx));
            if polled.is_pending() && expectation.is_some_and(Expectation::is_met) {
                // From now on it is an upload like any other.
                connection.detach();
                polled = sent.as_mut().poll(cx);
            }
            if polled.is_pending() {
                let late = connection
                    .timer()
                    .poll_due(cx, || self.due(started, transfer));
                return late.map(|()| Err(is_late(destination)));
            }
            polled.map(Ok)
        });
        let sent = sent.await?;
        if let Some(expectation) = expectation {
            expectation.answered();
        }
        match sent {
            Ok(response) => {
                let lease = Lease::Exclusive { connection, home };
                self.answered(destination, response, lease).map(Some)
            }
            // A kept connection may have been closed while it lay idle. The library returns the
            // request if not a byte of it was written. Otherwise the upstream may have seen it, and
            // it is sent again only if that does no harm (RFC 9110 section 9.2.2).
            Err(mut error) => {
                if let Some(broken) = wire::Broken::of(error.error()) {
                    // In a box, because hardly any request gets here.
                    let lease = (connection, home);
                    let read = self.read_again(awaited, broken, watch, lease, asked);
                    return Box::pin(read).await.map(Some);
                }
                let whole = error.take_message().filter(|_| is_reused);
                let again = again.filter(|_| is_reused);
                *unsent = whole.or_else(|| again.and_then(Again::into_request));
                Ok(None)
            }
        }
    }

    /// The answer, if its head says one length at most.
    fn answered(
        &self,
        destination: &Destination,
        mut response: Response<Incoming>,
        lease: Lease,
    ) -> Result<Answered, Refusal> {
        if wire::settle_length(response.headers_mut()).is_err() {
            let broken = wire::Broken::Length;
            return Err(broken.refuse(destination, self.limits.max_header_bytes));
        }
        Ok((response.map(Arriving::Http1), lease))
    }

    /// Reads an answer once more whose head the library stopped at, as one that may have many fields,
    /// and without its folds. The request is not sent again.
    async fn read_again(
        &self,
        awaited: &Awaited,
        broken: wire::Broken,
        watch: Watch<'_>,
        (mut connection, home): (Connection, Home),
        asked: AskedHttp1,
    ) -> Result<Answered, Refusal> {
        let context = awaited.outcome.context();
        let (destination, most) = (&context.destination, self.limits.max_header_bytes);
        let left = match broken {
            wire::Broken::TooLarge | wire::Broken::Field => connection.leftover().await,
            wire::Broken::Status | wire::Broken::Length => None,
        };
        // What is broken in another way is so however often it is read.
        let is_readable = |left: &Leftover| broken == wire::Broken::TooLarge || left.has_fold();
        let left = left.filter(is_readable);
        let left = left.ok_or_else(|| broken.refuse(destination, most))?;
        if broken == wire::Broken::TooLarge {
            self.connections.expect_many_fields(destination);
        }
        // What was not sent of the body is lost, and such an answer is not the last one.
        if asked.has_body && left.begins_interim() {
            return Err(wire::Broken::refuse_interim(destination));
        }
        let needles = awaited.needles.with_used(&awaited.outcome.used().values());
        let abort = Arc::clone(connection.abort());
        let answer = async move {
            let left = left.unfolded(&needles, most).await;
            let (mut again, is_mute) = self.connections.read_again(left, abort).await?;
            if asked.is_upgrade {
                again.detach_for_upgrade();
            }
            let mut request = Request::new(OutBody::held(Held::default()));
            request.method_mut().clone_from(&context.method);
            interim::note(&mut request, watch.on_interim.cloned());
            let mut sent = pin!(again.sender().send_request(request));
            let response = poll_fn(|cx| again.poll_with(cx, |cx| sent.as_mut().poll(cx))).await?;
            is_mute.store(false, Ordering::Release);
            Ok::<_, hyper::Error>((response, again))
        };
        let answer = timeout(self.limits.first_byte, answer);
        let answer = answer.await.map_err(|_| is_late(destination))?;
        let (response, connection) = answer.map_err(|error| {
            let broken = wire::Broken::of(&error);
            broken.map_or_else(
                || failed(destination, watch.transfer),
                |broken| broken.refuse(destination, most),
            )
        })?;
        // Whether all of a body was written before the answer came is not known.
        let home = match home {
            Home::Bound(_) if !asked.has_body => home,
            _ => Home::None,
        };
        self.answered(destination, response, Lease::Exclusive { connection, home })
    }

    async fn send_http2(
        &self,
        destination: &Destination,
        unsent: &mut Option<Request<OutBody>>,
        watch: Watch<'_>,
        (mut stream, is_reused): (Stream, bool),
        h2_host: &H2Host,
    ) -> Result<Option<Answered>, Refusal> {
        if let Some((sent, again)) = start(&mut stream, unsent, destination, watch)? {
            let (mut sent, mut timer) = (pin!(sent), LazyTimer::default());
            let started = Instant::now();
            let sent = poll_fn(|cx| match sent.as_mut().poll(cx) {
                Poll::Pending => {
                    let late = timer.poll_due(cx, || self.due(started, watch.transfer));
                    late.map(|()| Err(is_late(destination)))
                }
                polled => polled.map(Ok),
            });
            match sent.await? {
                Ok(response) => return Ok(Some((response, Lease::Shared(stream)))),
                Err(error) => {
                    let is_unseen = wire::was_refused(&error);
                    let has_ended = is_reused && error.is_io();
                    let again = again.filter(|again| is_unseen || has_ended && again.is_harmless());
                    *unsent = again.and_then(Again::into_request);
                }
            }
        }
        h2_host.retire(&stream);
        Ok(None)
    }

    /// When the head of an answer is late: an upload may take any time, a silence may not.
    fn due(&self, started: Instant, transfer: Option<&Transfer>) -> Instant {
        let moved = transfer.map(Transfer::last_activity);
        moved.map_or(started, |moved| moved.max(started)) + self.limits.first_byte
    }
}

/// The refusal for an answer that did not begin in time.
fn is_late(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamTimeout,
        "the destination did not begin its answer within upstream.first_byte_timeout",
    )
    .destination(destination.to_string())
}

/// Counts how a destination did.
fn measure(awaited: &Awaited, refusal: Option<&Refusal>, after: Duration) {
    let outcome = &awaited.outcome;
    let origin = &outcome.context().origin;
    let is_credentialed = outcome.used().count() > 0;
    match refusal {
        None => measures().answered(origin, is_credentialed, after),
        Some(refusal) => measures().failed(origin, is_credentialed, refusal.code),
    }
}

/// A connection that the request shares with no other, and where that belongs.
struct Own(Option<Arc<Bound>>);

/// Sends a request over HTTP/2, if its connection takes it. Where that has ended the request stays
/// in `unsent`: not a byte of it was written.
fn start(
    stream: &mut Stream,
    unsent: &mut Option<Request<OutBody>>,
    destination: &Destination,
    watch: Watch<'_>,
) -> Result<Option<(Sent, Option<Again>)>, Refusal> {
    let Some(request) = unsent.take() else {
        return Ok(None);
    };
    let request = wire::for_http2(request, destination)?;
    let copy = HeadCopy::of(&request);
    let (head, body) = request.into_parts();
    let head = Request::from_parts(head, ());
    match stream.sender().send_request(head, body.is_end_stream()) {
        Ok((answer, outgoing)) => {
            let again = body.to_held().map(|held| Again::new(copy, held));
            Ok(Some((
                Sent::begin(answer, outgoing, body, watch.on_interim.cloned()),
                again,
            )))
        }
        Err(error) => {
            // Any other error is about the request itself.
            if error.is_go_away() || error.is_io() {
                *unsent = copy.into_request(body);
            }
            Ok(None)
        }
    }
}

/// What of a request is looked at while its answer is awaited.
#[derive(Clone, Copy)]
struct Watch<'a> {
    /// The upload, if there is one that streams.
    transfer: Option<&'a Transfer>,
    on_interim: Option<&'a OnInterim>,
}

/// What has to be known of a request over HTTP/1.1 to read its answer once more.
#[derive(Clone, Copy)]
struct AskedHttp1 {
    has_body: bool,
    is_upgrade: bool,
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
