//! The session ticket, sent along with what comes after it.
//!
//! A server's last word in a TLS 1.3 handshake is the ticket with which the client may resume later
//! (RFC 8446 section 4.6.1). Nobody waits for it, and yet the TLS library writes it at once: a
//! system call, a segment and a wake-up of the client for each new connection. [`HoldTicket`]
//! stands below TLS and keeps it until something else is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first byte of an encrypted record (RFC 8446 section 5.2).
const APPLICATION_DATA: u8 = 23;
/// Buffers that are written at once, what was kept among them.
const SLICES: usize = 16;

/// A server's stream below TLS that holds back the ticket.
pub struct HoldTicket<S> {
    io: S,
    phase: Phase,
    /// Written by TLS and not passed on yet.
    held: Vec<u8>,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The server's: what it writes is waited for, all of it.
    Flight,
    /// The client has answered. If that was its last message, the server has nothing more to say
    /// but the ticket, encrypted. If not, what it says begins in the clear.
    Answered,
    /// Both may write.
    Open,
}

impl<S> HoldTicket<S> {
    /// Over a stream on which the handshake is about to begin.
    pub fn new(io: S) -> Self {
        Self {
            io,
            phase: Phase::Flight,
            held: Vec::new(),
        }
    }

    /// The handshake is over: what was kept goes with the next bytes.
    pub fn open(&mut self) {
        self.phase = Phase::Open;
    }

    /// Whether these bytes are to be kept.
    fn holds(&mut self, bytes: &[IoSlice<'_>]) -> bool {
        let first = bytes.iter().find_map(|slice| slice.first());
        match self.phase {
            Phase::Answered if first == Some(&APPLICATION_DATA) => true,
            Phase::Answered => {
                self.phase = Phase::Flight;
                false
            }
            Phase::Flight | Phase::Open => false,
        }
    }

    fn sent(&mut self, count: usize) {
        self.held.drain(..count);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncWrite + Unpin> HoldTicket<S> {
    /// Writes what was kept and these bytes, as one. Returns how many of these were written.
    fn poll_write_held(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut all = [IoSlice::new(&self.held); SLICES];
            let count = bytes.len().min(SLICES - 1);
            all[1..=count].copy_from_slice(&bytes[..count]);
            let io = Pin::new(&mut self.io);
            let written = ready!(io.poll_write_vectored(cx, &all[..=count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let own = written.min(self.held.len());
            self.sent(own);
            if written > own {
                return Poll::Ready(Ok(written - own));
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HoldTicket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        if self.phase == Phase::Flight && out.filled().len() > before {
            self.phase = Phase::Answered;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HoldTicket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.holds(bytes) {
            let before = self.held.len();
            bytes.iter().for_each(|b| self.held.extend_from_slice(b));
            return Poll::Ready(Ok(self.held.len() - before));
        }
        self.poll_write_held(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// After a handshake that failed, what was kept is the alert that says so.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            ready!(self.poll_write_held(cx, &[]))?;
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::super::authority::Authority;
    use super::super::leaf::LeafCache;
    use super::super::server::{Intercepted, intercept};
    use super::*;
    use crate::policy::destination::Host;

    const NAME: &str = "api.example.test";

    struct World {
        leaves: Arc<LeafCache>,
        client: Arc<ClientConfig>,
        _directory: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let authority = Authority::load_or_create(&path("c"), &path("k")).unwrap();
            let mut roots = RootCertStore::empty();
            let pem = authority.cert_pem().as_bytes();
            let root = rustls::pki_types::pem::PemObject::from_pem_slice(pem).unwrap();
            roots.add(root).unwrap();
            let client = ClientConfig::builder_with_provider(crate::tls::provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Self {
                leaves: Arc::new(LeafCache::new(authority, Vec::new()).unwrap()),
                client: Arc::new(client),
                _directory: directory,
            }
        }

        fn connect(&self) -> ClientConnection {
            let name = ServerName::try_from(NAME).unwrap();
            ClientConnection::new(Arc::clone(&self.client), name).unwrap()
        }

        async fn intercept(&self, io: DuplexStream) -> Option<Intercepted<DuplexStream>> {
            let host = Host::parse(NAME).unwrap();
            intercept(io, &host, &self.leaves).await.ok()
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

    /// The handshake, from the client's side, to its last message, which `alter` may change.
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

    /// Everything that can be read without waiting.
    fn unread(io: &mut DuplexStream) -> Vec<u8> {
        let mut read = vec![0; 16 * 1024];
        let mut into = ReadBuf::new(&mut read);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(io).poll_read(&mut cx, &mut into);
        into.filled().to_vec()
    }

    #[tokio::test]
    async fn the_ticket_comes_with_the_first_answer_and_is_good() {
        let world = World::new();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (mut near, far) = duplex(64 * 1024);
            let mut client = world.connect();
            let (served, ()) = tokio::join!(
                world.intercept(far),
                shake_hands(&mut client, &mut near, |_| {})
            );
            let mut stream = served.unwrap().stream;
            assert_eq!(client.handshake_kind(), Some(kind));
            assert_eq!(
                unread(&mut near),
                b"",
                "nothing but an answer is worth a segment"
            );
            stream.write_all(b"answer").await.unwrap();
            stream.flush().await.unwrap();
            receive(&mut client, &mut near).await;
            let mut answer = [0; 6];
            io::Read::read_exact(&mut client.reader(), &mut answer).unwrap();
            assert_eq!((&answer, client.tls13_tickets_received()), (b"answer", 1));
        }
    }

    #[tokio::test]
    async fn an_alert_that_ends_the_handshake_is_sent() {
        let world = World::new();
        let (mut near, far) = duplex(64 * 1024);
        let mut client = world.connect();
        let damage = |last: &mut Vec<u8>| *last.last_mut().unwrap() ^= 1;
        let (served, ()) = tokio::join!(
            world.intercept(far),
            shake_hands(&mut client, &mut near, damage)
        );
        assert!(served.is_none());
        let alert = unread(&mut near);
        assert_eq!(alert.first(), Some(&APPLICATION_DATA));
    }

    #[tokio::test]
    async fn a_write_of_part_of_it_goes_on_where_it_ended() {
        let (mut near, far) = duplex(4);
        let mut stream = HoldTicket::new(far);
        near.write_all(b"end").await.unwrap();
        let mut read = [0; 3];
        stream.read_exact(&mut read).await.unwrap();
        let ticket = [APPLICATION_DATA, 1, 2, 3, 4, 5, 6];
        assert_eq!(stream.write(&ticket).await.unwrap(), ticket.len());
        stream.open();
        let write = async {
            stream.write_all(b"answer").await.unwrap();
            drop(stream);
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(write, near.read_to_end(&mut all));
        read.unwrap();
        assert_eq!(all, [&ticket[..], b"answer"].concat());
    }
}
