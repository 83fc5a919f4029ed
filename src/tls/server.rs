//! The TLS server that clients meet in place of the destination.

use std::io;
use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::{AlertDescription, HandshakeKind};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::leaf::LeafCache;
use crate::policy::destination::Host;

/// A client's TLS session with the server name it asked for.
pub struct Intercepted<S> {
    /// The decrypted stream.
    pub stream: TlsStream<S>,
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
    /// The client said that it does not accept the certificate.
    #[error("the client refused the certificate: it does not trust Egret's CA (`egret ca path`)")]
    Untrusted,
    /// The client named no server, and nothing else says which it means.
    #[error("the client sent no TLS server name, so it names no destination")]
    Nameless,
    /// No leaf could be minted.
    #[error("no certificate could be minted for the host")]
    Mint,
}

/// Performs the server's side of the handshake with a leaf for the server name, or for
/// `connect_host` when the client names none (an IP address has no SNI). Without either the
/// connection is closed.
///
/// A server name that differs from the CONNECT authority gets its leaf, too. Otherwise the client
/// could not read the refusal that each of its requests receives.
///
/// It is kept which authority `client` accepted or refused, where it is known who that is.
pub async fn intercept<S>(
    io: S,
    connect_host: Option<&Host>,
    leaves: &Arc<LeafCache>,
    client: Option<&Arc<str>>,
) -> Result<Intercepted<S>, InterceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), io)
        .await
        .map_err(|_| InterceptError::Handshake)?;
    let server_name = start
        .client_hello()
        .server_name()
        .and_then(|name| Host::parse(name).ok());
    let host = server_name.as_ref().or(connect_host);
    let leaf = leaves
        .leaf_for(host.ok_or(InterceptError::Nameless)?)
        .map_err(|_| InterceptError::Mint)?;
    let (clients, authority) = (leaves.clients(), leaf.authority);
    let stream = match start.into_stream(leaf.config).await {
        Ok(stream) => stream,
        Err(error) if is_refusal(&error) => {
            if let Some(client) = client {
                clients.refused(client, &authority, now());
            }
            return Err(InterceptError::Untrusted);
        }
        Err(_) => return Err(InterceptError::Handshake),
    };
    // A session that is resumed shows no certificate.
    let is_shown = stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed);
    if let Some(client) = client.filter(|_| is_shown) {
        clients.accepted(client, &authority, now());
    }
    Ok(Intercepted {
        stream,
        server_name,
    })
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Whether the client ended the handshake because of the certificate. Which of these alerts it sends for an
/// authority that it does not know depends on its library.
fn is_refusal(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::BadCertificate
        ))
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::tls::authority::Authority;

    const NAME: &str = "api.example.test";

    struct World {
        leaves: Arc<LeafCache>,
        client: Arc<ClientConfig>,
        directory: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let authority = Authority::load_or_create(&path("c"), &path("k")).unwrap();
            let mut roots = RootCertStore::empty();
            let pem = authority.cert_pem().as_bytes();
            let root = rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap();
            roots.add(root).unwrap();
            let client = ClientConfig::builder_with_provider(crate::tls::provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Self {
                leaves: Arc::new(LeafCache::new(authority, Vec::new()).unwrap()),
                client: Arc::new(client),
                directory,
            }
        }

        fn connect(&self) -> ClientConnection {
            let name = ServerName::try_from(NAME).unwrap();
            ClientConnection::new(Arc::clone(&self.client), name).unwrap()
        }

        async fn intercept(
            &self,
            io: DuplexStream,
        ) -> Result<Intercepted<DuplexStream>, InterceptError> {
            let host = Host::parse(NAME).unwrap();
            intercept(io, Some(&host), &self.leaves, Some(&"someone".into())).await
        }
    }

    fn flight(client: &mut ClientConnection) -> Vec<u8> {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        flight
    }

    async fn receive(client: &mut ClientConnection, io: &mut DuplexStream) {
        let mut read = vec![0; 16 * 1024];
        let count = io.read(&mut read).await.unwrap();
        client.read_tls(&mut &read[..count]).unwrap();
        client.process_new_packets().unwrap();
    }

    /// The client's side of the handshake, to its last message, which `alter` may change.
    async fn shake_hands(
        client: &mut ClientConnection,
        io: &mut DuplexStream,
        alter: impl FnOnce(&mut Vec<u8>),
    ) {
        io.write_all(&flight(client)).await.unwrap();
        while client.is_handshaking() {
            receive(client, io).await;
        }
        let mut last = flight(client);
        alter(&mut last);
        io.write_all(&last).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_comes_again_resumes_its_session() {
        let world = World::new();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut near, far) = duplex(64 * 1024);
            let mut client = world.connect();
            let (served, ()) = tokio::join!(
                world.intercept(far),
                shake_hands(&mut client, &mut near, |_| {})
            );
            let mut intercepted = served.unwrap();
            assert_eq!(client.handshake_kind(), Some(kind));
            assert_eq!(intercepted.server_name, Host::parse(NAME).ok());
            intercepted.stream.write_all(b"answer").await.unwrap();
            intercepted.stream.flush().await.unwrap();
            let mut answer = Vec::new();
            while answer.is_empty() {
                receive(&mut client, &mut near).await;
                // The ticket may come before the answer.
                let _ = client.reader().read_to_end(&mut answer);
            }
            assert_eq!(answer, b"answer");
            assert_eq!(client.tls13_tickets_received(), 1);
        }
    }

    #[tokio::test]
    async fn it_is_kept_which_authority_a_client_accepted_and_refused() {
        let world = World::new();
        let signing = |world: &World| {
            let authority = world.leaves.authority();
            authority.fingerprint(OffsetDateTime::now_utc())
        };
        let known = |world: &World| world.leaves.clients().all().remove("someone").unwrap();
        let first = signing(&world);
        // The second one resumes its session after another authority came, and is not shown that one.
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut near, far) = duplex(64 * 1024);
            let mut client = world.connect();
            let shaken = shake_hands(&mut client, &mut near, |_| {});
            let (served, ()) = tokio::join!(world.intercept(far), shaken);
            let mut intercepted = served.unwrap();
            intercepted.stream.write_all(b"x").await.unwrap();
            intercepted.stream.flush().await.unwrap();
            while client.tls13_tickets_received() == 0 {
                receive(&mut client, &mut near).await;
            }
            assert_eq!(client.handshake_kind(), Some(kind));
            let path = |name: &str| world.directory.path().join(name);
            let other = Authority::load_or_create(&path("other-c"), &path("other-k"));
            world.leaves.replace(other.unwrap());
            assert_eq!(*known(&world).accepted.unwrap().authority, *first);
        }
        // A client that never had a session is shown it, and does not know it.
        let mut stranger = ClientConfig::clone(&world.client);
        stranger.resumption = rustls::client::Resumption::disabled();
        let world = World {
            client: Arc::new(stranger),
            ..world
        };
        let (mut near, far) = duplex(64 * 1024);
        let mut client = world.connect();
        let refuse = async {
            near.write_all(&flight(&mut client)).await.unwrap();
            let mut read = vec![0; 16 * 1024];
            let error = loop {
                let count = near.read(&mut read).await.unwrap();
                client.read_tls(&mut &read[..count]).unwrap();
                if let Err(error) = client.process_new_packets() {
                    break error;
                }
            };
            near.write_all(&flight(&mut client)).await.unwrap();
            error
        };
        let (served, error) = tokio::join!(world.intercept(far), refuse);
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)));
        assert!(matches!(served, Err(InterceptError::Untrusted)));
        let known = known(&world);
        assert_eq!(*known.refused.unwrap().authority, *signing(&world));
        assert_eq!(*known.accepted.unwrap().authority, *first);
    }

    #[tokio::test]
    async fn a_handshake_that_fails_ends_with_an_alert() {
        let world = World::new();
        let (mut near, far) = duplex(64 * 1024);
        let mut client = world.connect();
        let damage = |last: &mut Vec<u8>| *last.last_mut().unwrap() ^= 1;
        let (served, ()) = tokio::join!(
            world.intercept(far),
            shake_hands(&mut client, &mut near, damage)
        );
        assert!(matches!(served, Err(InterceptError::Handshake)));
        let mut alert = Vec::new();
        near.read_to_end(&mut alert).await.unwrap();
        // The alert is encrypted, as application data (RFC 8446 section 5.2).
        assert_eq!(alert.first(), Some(&23));
    }
}
