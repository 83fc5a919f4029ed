//! A place that the operator has named by a URL, to which something is sent: one connection for each
//! request.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::policy::destination::Host;
use crate::proxy::outbound::connected::Connected;
use crate::proxy::outbound::way::Way;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where requests go, and how.
pub(super) struct Endpoint {
    pub url: Uri,
    pub tls: Arc<ClientConfig>,
    pub way: Way,
}

impl Endpoint {
    /// The beginning of a POST.
    pub fn post(&self) -> Builder {
        let target = self.url.path_and_query();
        let authority = self.url.authority();
        Request::post(target.map_or("/", |target| target.as_str()))
            .header(header::HOST, authority.map_or("", |host| host.as_str()))
    }

    /// Sends a request, and waits for the head of the answer.
    ///
    /// # Errors
    /// When there is no connection, or it breaks.
    pub async fn send<B>(&self, request: Request<B>) -> io::Result<StatusCode>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Ok(self.ask(request, 0).await?.status())
    }

    /// Sends a request, and waits for the answer with up to so many bytes.
    ///
    /// # Errors
    /// When there is no connection, it breaks, or there are more bytes.
    pub async fn ask<B>(&self, request: Request<B>, most: usize) -> io::Result<Response<Bytes>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if self.url.scheme_str() == Some("https") {
            exchange(self.connect_tls(443).await?, request, most).await
        } else {
            exchange(self.connect(80).await?, request, most).await
        }
    }

    /// A connection with TLS, to this port if the URL names none.
    ///
    /// # Errors
    /// When there is none, or the certificate is not accepted.
    pub async fn connect_tls(&self, port: u16) -> io::Result<TlsStream<Connected>> {
        let stream = self.connect(port).await?;
        let bare = self.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(name, stream).await
    }

    async fn connect(&self, port: u16) -> io::Result<Connected> {
        let named = Host::parse(self.host()).map_err(io::Error::other)?;
        let port = self.url.port_u16().unwrap_or(port);
        self.way.connect(&named, port).await
    }

    fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<B>,
    most: usize,
) -> io::Result<Response<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(io::Error::other)?.into_parts();
        // Where nobody asks for the body, nobody waits for it.
        let body = if most > 0 {
            let whole = Limited::new(body, most).collect().await;
            whole.map_err(io::Error::other)?.to_bytes()
        } else {
            Bytes::new()
        };
        Ok(Response::from_parts(head, body))
    };
    let answer = answer.await;
    connection.abort();
    answer
}
