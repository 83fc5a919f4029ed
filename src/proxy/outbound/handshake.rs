//! From a checked address to a connection that takes requests: TLS, and the protocol in it.

use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::h2_pool::Shareable;
use crate::proxy::runtime::measures::{Handshake, Side, measures};
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashSet;
use h2::client::{self as http2};
use h2::{Ping, PingPong};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{IpAddr as PkiIpAddr, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Host, Scheme};
use crate::proxy::outbound::answer_first::{Abort, AnswerFirst};
use crate::proxy::outbound::dial::Dialer;
use crate::proxy::outbound::h2_pool::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::proxy::outbound::http1::{Connection, Driver};
use crate::proxy::outbound::leftover::{Io, Leftover, drive as drive_http1};
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::outbound::reset_check::ResetCheck;
use crate::proxy::outbound::wire;
use crate::proxy::runtime::pacing::paced;
use crate::proxy::runtime::read_ahead::{ReadAhead, RecordCoalescer};

type TlsStream = tokio_rustls::client::TlsStream<ReadAhead<AnswerFirst<Connected>>>;

/// Names of the protocols in ALPN (RFC 7301; RFC 9113 section 3.1).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";
/// Most destinations remembered for their many fields. A hostile client can name any number.
const MANY_FIELDS: usize = 1_024;
/// A shared connection whose upstream has gone without a word holds up everyone on it, so it is
/// asked for a sign of life while something is on its way.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of the uploads may wait to be written, for one stream, in bytes.
const SEND_BUFFER: usize = 1024 * 1024;

/// Requests that an upstream is sent before its settings are known. They come with its first bytes.
const UNSETTLED: usize = 1;
/// How often they are asked for, and how many times.
const SETTINGS_POLL: Duration = Duration::from_millis(4);
const SETTINGS_POLLS: usize = 250;

/// What is to be spoken on a connection, if the destination speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// HTTP/1.1; HTTP/2 where the destination refuses that.
    Http1,
    /// HTTP/2; HTTP/1.1 where the destination chooses that. Without TLS there is no choice.
    Http2,
}

/// A connection that takes requests.
pub enum Opened {
    /// One at a time.
    Http1(Connection),
    /// Many at once. It completes once the upstream has said how many: until then it is one, because
    /// more would wait for one another for as long as their answers take.
    Http2(Shareable, oneshot::Receiver<()>),
}

/// Makes connections.
pub struct Handshaker {
    dialer: Dialer,
    http1: TlsConnector,
    http2: TlsConnector,
    limits: UpstreamLimits,
    /// Destinations whose answers have more fields than the library reads without setting memory aside
    /// for each answer.
    many_fields: DashSet<Destination>,
}

impl Handshaker {
    /// Connections through `dialer` under `tls`, whose protocols are set here.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>, limits: UpstreamLimits) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::clone(&tls);
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Self {
            dialer,
            http1: offering(&[HTTP1]),
            http2: offering(&[HTTP2, HTTP1]),
            limits,
            many_fields: DashSet::new(),
        }
    }

    /// From now on connections to the destination read answers with many fields.
    pub fn expect_many_fields(&self, destination: &Destination) {
        if self.many_fields.len() >= MANY_FIELDS {
            self.many_fields.clear();
        }
        self.many_fields.insert(destination.clone());
    }

    /// Opens a connection on which nothing is spoken.
    pub async fn dial(&self, destination: &Destination) -> Result<Connected, Refusal> {
        self.dialer.dial(destination).await
    }

    /// Opens a connection for requests.
    pub async fn open(&self, destination: &Destination, wanted: Wanted) -> Result<Opened, Refusal> {
        if destination.scheme == Scheme::Http {
            let abort = Abort::default();
            let stream = self.dialer.dial(destination).await?;
            let stream = AnswerFirst::new(stream, Arc::clone(&abort));
            return match wanted {
                Wanted::Http1 => self.speak_http1(stream, abort, destination).await,
                Wanted::Http2 => self.speak_http2(stream, destination).await,
            };
        }
        let connector = match wanted {
            Wanted::Http1 => &self.http1,
            Wanted::Http2 => &self.http2,
        };
        let abort = Abort::default();
        let stream = match self.shake_hands(connector, &abort, destination).await? {
            Err(error) if wanted == Wanted::Http1 && wants_another_protocol(&error) => {
                let again = self.shake_hands(&self.http2, &abort, destination).await?;
                again.map_err(|error| tls_failed(destination, &error))?
            }
            shaken => shaken.map_err(|error| tls_failed(destination, &error))?,
        };
        match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => self.speak_http2(stream, destination).await,
            _ => {
                let stream = RecordCoalescer::new(stream);
                self.speak_http1(stream, abort, destination).await
            }
        }
    }

    /// The outer error is final; the inner one may lie with the protocols that were offered.
    async fn shake_hands(
        &self,
        connector: &TlsConnector,
        abort: &Abort,
        destination: &Destination,
    ) -> Result<std::io::Result<TlsStream>, Refusal> {
        let stream = self.dialer.dial(destination).await?;
        let stream = ReadAhead::new(AnswerFirst::new(stream, Arc::clone(abort)));
        let name = server_name(&destination.host)?;
        // Inside, because to begin is a step of its own: it makes the keys to exchange.
        let shaken = pin!(async move { connector.connect(name, stream).await });
        let shaken = timeout(self.limits.handshake, paced(shaken, Duration::ZERO)).await;
        measures().shaken(Side::Upstream, Handshake::of(&shaken));
        shaken.map_err(|_| {
            Refusal::new(
                Code::UpstreamTimeout,
                "the destination did not complete its TLS handshake in time",
            )
            .destination(destination.to_string())
        })
    }

    async fn speak_http1<S>(
        &self,
        stream: S,
        abort: Abort,
        destination: &Destination,
    ) -> Result<Opened, Refusal>
    where
        S: Io + 'static,
    {
        let has_many_fields = self.many_fields.contains(destination);
        let most = self.limits.max_header_bytes;
        let connection = http1_over(stream, abort, most, has_many_fields, Leftover::of).await;
        Ok(Opened::Http1(connection.map_err(|_| no_http(destination))?))
    }

    /// A connection on which the answer is read that the library stopped at. Requests on it go nowhere
    /// until the flag is set to false.
    pub async fn read_again(
        &self,
        left: Leftover,
        abort: Abort,
    ) -> hyper::Result<(Connection, Arc<AtomicBool>)> {
        let (stream, is_mute) = left.mute();
        let most = self.limits.max_header_bytes;
        let connection = http1_over(stream, abort, most, true, Leftover::again).await?;
        Ok((connection, is_mute))
    }

    async fn speak_http2<S>(&self, stream: S, destination: &Destination) -> Result<Opened, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(UNSETTLED)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(self.limits.max_header_bytes).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER);
        let handshake = builder.handshake(ResetCheck::new(stream));
        let (sender, connection) = timeout(self.limits.handshake, handshake)
            .await
            .map_err(|_| no_http(destination))?
            .map_err(|_| no_http(destination))?;
        let most = Arc::new(AtomicUsize::new(UNSETTLED));
        let streams = Arc::default();
        let (settle, settled) = oneshot::channel();
        let driven = drive(connection, Arc::clone(&most), Arc::clone(&streams), settle);
        tokio::spawn(driven);
        let shareable = Shareable {
            sender,
            most,
            streams,
        };
        Ok(Opened::Http2(shareable, settled))
    }
}

/// Speaks HTTP/1.1. A connection that is not made for many fields reads up to
/// [`HEADERS_ON_STACK`](crate::proxy::runtime::limits::HEADERS_ON_STACK).
async fn http1_over<S>(
    stream: S,
    abort: Abort,
    max_bytes: usize,
    has_many_fields: bool,
    leave: fn(Bytes, S) -> Leftover,
) -> hyper::Result<Connection>
where
    S: Io + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        // RFC 9112 section 5.1: an intermediary repairs it. Folds (section 5.2) are taken out by
        // `unfold`, which knows what they cut.
        .allow_spaces_after_header_name_in_responses(true)
        .max_buf_size(max_bytes);
    if has_many_fields {
        builder.max_headers(wire::max_fields(max_bytes));
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let aborts = Arc::clone(&abort);
    let driver = |changes_protocol| -> Driver {
        Box::pin(drive_http1(connection, changes_protocol, aborts, leave))
    };
    Ok(Connection::new(sender, driver, abort))
}

/// Drives a connection to its end, or until the upstream gives no sign of life, and keeps `most` up
/// to date. The library has to be asked for the upstream's settings, so until they are there it is,
/// every few milliseconds.
async fn drive<S>(
    mut connection: http2::Connection<S, Bytes>,
    most: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
    settle: oneshot::Sender<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pings = connection.ping_pong();
    let mut driven = std::future::poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        most.store(connection.max_concurrent_send_streams(), Ordering::Relaxed);
        polled
    });
    for _ in 0..SETTINGS_POLLS {
        if timeout(SETTINGS_POLL, &mut driven).await.is_ok() {
            return;
        }
        if most.load(Ordering::Relaxed) != UNSETTLED {
            break;
        }
    }
    // Nobody waits for it any more, or everybody did.
    let _ = settle.send(());
    tokio::select! {
        // Its error is seen by the exchanges on it.
        _ = driven => {}
        () = gone(pings, &streams) => {}
    }
}

/// Completes when the upstream leaves a ping unanswered while something is on its way.
async fn gone(pings: Option<PingPong>, streams: &AtomicUsize) {
    let Some(mut pings) = pings else {
        // They were taken elsewhere, and so is the watch.
        return std::future::pending().await;
    };
    loop {
        sleep(PING_INTERVAL).await;
        if streams.load(Ordering::Relaxed) > 0 {
            let pong = timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await;
            if !matches!(pong, Ok(Ok(_))) {
                return;
            }
        }
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, Refusal> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.to_string()).map_err(|_| {
            Refusal::new(
                Code::UpstreamTlsFailed,
                "the destination's name cannot be a TLS server name (RFC 6066 section 3)",
            )
        }),
        Host::Ipv4(ip) => Ok(ServerName::IpAddress(PkiIpAddr::from(
            std::net::IpAddr::from(*ip),
        ))),
        Host::Ipv6(ip) => Ok(ServerName::IpAddress(PkiIpAddr::from(
            std::net::IpAddr::from(*ip),
        ))),
    }
}

fn no_http(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamProtocolError,
        "the destination accepts connections but does not speak HTTP on them",
    )
    .destination(destination.to_string())
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// RFC 7301 section 3.2: none of the protocols that were offered is spoken there.
fn wants_another_protocol(error: &std::io::Error) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::AlertReceived(
            AlertDescription::NoApplicationProtocol
        ))
    )
}

/// What is wrong with a certificate. Not the library's own text, which quotes the names in it: an
/// upstream can write anything there, also a value that it was sent.
fn certificate_problem(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "it cannot be parsed",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::Revoked => "it was revoked",
        CertificateError::UnknownIssuer => "its issuer is not known",
        CertificateError::BadSignature => "its signature does not hold",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not valid for the destination's name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for a server"
        }
        _ => "it breaks another rule",
    }
}

/// The kind of certificate problem is safe to tell and is what the operator needs.
fn tls_failed(destination: &Destination, error: &std::io::Error) -> Refusal {
    let detail = match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(problem)) => format!(
            "the destination's certificate was not accepted ({}); if it is signed by a private \
             authority, add that to upstream.ca_files",
            certificate_problem(problem)
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the destination refused the TLS handshake ({alert:?})")
        }
        _ => "the TLS handshake with the destination failed".to_owned(),
    };
    Refusal::new(Code::UpstreamTlsFailed, detail).destination(destination.to_string())
}
