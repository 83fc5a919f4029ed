//! The TLS server that clients meet in place of the destination.

use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::leaf::LeafCache;
use super::ticket::HoldTicket;
use crate::policy::destination::Host;

/// A client's TLS session with the server name it asked for.
pub struct Intercepted<S> {
    /// The decrypted stream.
    pub stream: TlsStream<HoldTicket<S>>,
    /// The TLS server name (SNI, RFC 6066 section 3), if the client sent one that is a host name.
    pub server_name: Option<Host>,
}

/// The handshake failed. The texts are safe to log.
#[derive(Debug, thiserror::Error)]
pub enum InterceptError {
    /// The client's handshake failed, or the client closed the connection. The usual cause is a
    /// client that does not trust Egret's authority.
    #[error("the client's TLS handshake failed; does it trust Egret's CA (`egret ca path`)?")]
    Handshake,
    /// No leaf could be minted.
    #[error("no certificate could be minted for the host")]
    Mint,
}

/// Performs the server's side of the handshake with a leaf for the server name, or for
/// `connect_host` when the client names none (an IP address has no SNI).
///
/// A server name that differs from the CONNECT authority gets its leaf, too. Otherwise the client
/// could not read the refusal that each of its requests receives.
pub async fn intercept<S>(
    io: S,
    connect_host: &Host,
    leaves: &Arc<LeafCache>,
) -> Result<Intercepted<S>, InterceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), HoldTicket::new(io))
        .await
        .map_err(|_| InterceptError::Handshake)?;
    let server_name = start
        .client_hello()
        .server_name()
        .and_then(|name| Host::parse(name).ok());
    let config = leaves
        .config_for(server_name.as_ref().unwrap_or(connect_host))
        .map_err(|_| InterceptError::Mint)?;
    let mut stream = match start.into_stream(config).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut io)) => {
            // With the alert, if the client still listens.
            let _ = io.shutdown().await;
            return Err(InterceptError::Handshake);
        }
    };
    stream.get_mut().0.open();
    Ok(Intercepted {
        stream,
        server_name,
    })
}
