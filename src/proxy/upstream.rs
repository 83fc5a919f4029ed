//! The one way out: sends a recorded request to its destination.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{IpAddr as PkiIpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::body::{OutBody, Transfer};
use super::dial::Dialer;
use super::exchange::{Exchange, Recorded, Wire};
use super::http::HEADERS_ON_STACK;
use super::pool::{Lease, Pool};
use super::response::Answer;
use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Host, Scheme};

/// Largest head of an upstream's answer, and the read buffer of an upstream connection, in bytes.
const MAX_BUFFER: usize = 256 * 1024;
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// Bounds on waiting for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For any silence: before the answer, or in either body.
    pub idle: Duration,
    /// Most header lines of an answer.
    pub max_headers: usize,
}

/// Connections to destinations, made under one policy and one TLS configuration. A reload makes a
/// new one; exchanges under way keep theirs.
pub struct Upstream {
    dialer: Dialer,
    tls: TlsConnector,
    pool: Arc<Pool>,
    limits: UpstreamLimits,
}

impl Upstream {
    /// Sets up the way out. Must be called on a runtime: idle connections are swept by a task that
    /// ends with this value.
    pub fn new(dialer: Dialer, tls: Arc<ClientConfig>, limits: UpstreamLimits) -> Self {
        let pool = Arc::new(Pool::default());
        let swept = Arc::downgrade(&pool);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                match swept.upgrade() {
                    Some(pool) => pool.sweep(),
                    None => return,
                }
            }
        });
        Self {
            dialer,
            tls: TlsConnector::from(tls),
            pool,
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
    pub async fn send(&self, exchange: Exchange<Recorded>) -> Result<Answer, Refusal> {
        let Wire {
            request,
            facts,
            used,
            mut outcome,
            needles,
            accept_encoding,
        } = exchange.into_wire();
        let transfer = request.body().transfer();
        match self.exchange(&facts.destination, request, &transfer).await {
            Ok((response, lease)) => Ok(Answer {
                response,
                lease,
                transfer,
                outcome,
                facts,
                used,
                needles,
                accept_encoding,
            }),
            Err(refusal) => {
                outcome.failed(refusal.code);
                Err(refusal)
            }
        }
    }

    /// Opens a connection without a request, for a tunnel that Egret does not look into.
    pub async fn dial_blind(&self, destination: &Destination) -> Result<TcpStream, Refusal> {
        self.dialer.dial(destination).await
    }

    async fn exchange(
        &self,
        destination: &Destination,
        mut request: Request<OutBody>,
        transfer: &Arc<Transfer>,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        loop {
            let kept = self.pool.checkout(destination).await;
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect(destination).await?,
            };
            let sent = sender.try_send_request(request);
            let result = self.await_answer(sent, destination, transfer).await?;
            match result {
                Ok(response) => {
                    let lease = Lease::new(sender, destination.clone(), Arc::clone(&self.pool));
                    return Ok((response, lease));
                }
                // A kept connection may have been closed while it lay idle. The library returns the
                // request only if not a byte of it was written, so it is safe to send again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(failed(destination, transfer)),
                },
            }
        }
    }

    /// Waits for the answer's head as long as something moves: an upload may take any time, a
    /// silence may not.
    async fn await_answer<F: Future>(
        &self,
        sent: F,
        destination: &Destination,
        transfer: &Transfer,
    ) -> Result<F::Output, Refusal> {
        tokio::pin!(sent);
        let started = Instant::now();
        loop {
            let quiet_since = transfer.last_activity().max(started);
            match tokio::time::timeout_at(quiet_since + self.limits.idle, &mut sent).await {
                Ok(output) => return Ok(output),
                Err(_) if transfer.last_activity() > quiet_since => {}
                Err(_) => {
                    return Err(timed_out(
                        destination,
                        "answer within upstream.idle_timeout",
                    ));
                }
            }
        }
    }

    async fn connect(&self, destination: &Destination) -> Result<SendRequest<OutBody>, Refusal> {
        let stream = self.dialer.dial(destination).await?;
        match destination.scheme {
            Scheme::Http => handshake(stream, destination, self.limits).await,
            Scheme::Https => {
                let handshaken = self.tls.connect(server_name(&destination.host)?, stream);
                let stream = timeout(self.limits.handshake, handshaken)
                    .await
                    .map_err(|_| timed_out(destination, "complete its TLS handshake in time"))?
                    .map_err(|error| tls_failed(destination, &error))?;
                handshake(stream, destination, self.limits).await
            }
        }
    }
}

/// Starts HTTP/1.1 on a fresh connection. Its driver ends when the sender is dropped.
async fn handshake<S>(
    stream: S,
    destination: &Destination,
    limits: UpstreamLimits,
) -> Result<SendRequest<OutBody>, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).max_buf_size(MAX_BUFFER);
    if limits.max_headers > HEADERS_ON_STACK {
        builder.max_headers(limits.max_headers);
    }
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| protocol_error(destination))?;
    tokio::spawn(async move {
        // The exchange on this connection sees the error; here there is nobody to tell.
        let _ = connection.await;
    });
    Ok(sender)
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

/// Why no answer came. The library's own error is not asked: it quotes what it was sending.
fn failed(destination: &Destination, transfer: &Transfer) -> Refusal {
    transfer
        .fault()
        .unwrap_or_else(|| protocol_error(destination))
}

fn protocol_error(destination: &Destination) -> Refusal {
    Refusal::new(
        Code::UpstreamProtocolError,
        "the destination closed the connection before answering, or its answer is not HTTP/1.1",
    )
    .destination(destination.to_string())
}

fn timed_out(destination: &Destination, what: &str) -> Refusal {
    let detail = format!("the destination did not {what}");
    Refusal::new(Code::UpstreamTimeout, detail).destination(destination.to_string())
}

/// The kind of certificate problem is safe to tell and is what the operator needs.
fn tls_failed(destination: &Destination, error: &std::io::Error) -> Refusal {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let detail = match cause {
        Some(rustls::Error::InvalidCertificate(problem)) => format!(
            "the destination's certificate was not accepted ({problem}); if it is signed by a \
             private authority, add that to upstream.ca_files"
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the destination refused the TLS handshake ({alert:?})")
        }
        _ => "the TLS handshake with the destination failed".to_owned(),
    };
    Refusal::new(Code::UpstreamTlsFailed, detail).destination(destination.to_string())
}
