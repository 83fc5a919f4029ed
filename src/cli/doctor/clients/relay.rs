//! A port in front of the proxy, which sees how far a client comes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use crate::proxy::inbound::arrival;

/// How much of what a client says first is looked at, in bytes.
const LOOKED_AT: usize = 4096;
/// The type of an encrypted record, and the length of one that holds an alert: two bytes, its real type and the
/// tag.
const ENCRYPTED: u8 = 23;
const LONGEST_ALERT: usize = 2 + 1 + 16;
/// The length of what a CONNECT ends with.
const END_OF_HEAD: usize = 4;
/// What a CONNECT ends with, and how the handshake of TLS begins that follows it.
const TLS_AFTER_HEAD: &[u8] = b"\r\n\r\n\x16\x03";

/// What was seen of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It connected to the proxy, and named no other host.
    pub(super) connected: bool,
    /// It began a TLS handshake in a tunnel.
    pub(super) began_tls: bool,
    /// It went on after it had seen the certificate.
    pub(super) trusts: bool,
}

/// What was seen in one turn. What a client leaves behind that had its turn before does not count.
#[derive(Default)]
struct Turn {
    number: u64,
    seen: Seen,
}

pub(super) struct Relay {
    address: SocketAddr,
    turn: Arc<Mutex<Turn>>,
}

impl Relay {
    /// In front of `proxy`, with the credentials of a client (as in `Proxy-Authorization`).
    /// What is said of other hosts than `host` is not looked at.
    pub(super) async fn open(
        proxy: SocketAddr,
        credentials: String,
        host: &'static str,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let turn = Arc::<Mutex<Turn>>::default();
        let noted = Arc::clone(&turn);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let header = arrival::header(&credentials, None);
                let watch = Watch::new(host, Arc::clone(&noted));
                tokio::spawn(pass_on(client, proxy, header, watch));
            }
        });
        Ok(Self { address, turn })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen since the last call. The next client has its turn.
    pub(super) fn take(&self) -> Seen {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.number += 1;
        std::mem::take(&mut turn.seen)
    }
}

/// What is looked for in what a client says first on a connection.
struct Watch {
    host: &'static str,
    first: Vec<u8>,
    /// In which turn the client came.
    number: u64,
    turn: Arc<Mutex<Turn>>,
}

impl Watch {
    fn new(host: &'static str, turn: Arc<Mutex<Turn>>) -> Self {
        let number = turn.lock().unwrap_or_else(PoisonError::into_inner).number;
        Self {
            host,
            first: Vec::new(),
            number,
            turn,
        }
    }

    /// The client said this; nothing where it has ended.
    fn hear(&mut self, piece: &[u8]) {
        if self.first.len() >= LOOKED_AT {
            return;
        }
        self.first.extend_from_slice(piece);
        // A method, and not TLS, SOCKS or nothing.
        if self.first.first().is_some_and(u8::is_ascii_uppercase) {
            let Some(end) = memchr::memmem::find(&self.first, b"\r\n") else {
                return;
            };
            // News about a program, or the model of an assistant: no sign of the request that was to be made.
            if memchr::memmem::find(&self.first[..end], self.host.as_bytes()).is_none() {
                return;
            }
        }
        let tls = memchr::memmem::find(&self.first, TLS_AFTER_HEAD);
        let records = tls.map(|at| &self.first[at + END_OF_HEAD..]);
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.number == self.number {
            turn.seen.connected = true;
            turn.seen.began_tls |= tls.is_some();
            turn.seen.trusts |= records.is_some_and(goes_on);
        }
    }
}

/// Whether a client's TLS records go on after it has seen the certificate. In TLS 1.3 the first encrypted
/// record says so, unless it is as short as an alert (RFC 8446 sections 5.2 and 6); in TLS 1.2 it has part of
/// the request.
fn goes_on(mut records: &[u8]) -> bool {
    while let [kind, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == ENCRYPTED && length > LONGEST_ALERT {
            return true;
        }
        records = rest.get(length..).unwrap_or_default();
    }
    false
}

async fn pass_on(
    mut client: TcpStream,
    proxy: SocketAddr,
    header: Zeroizing<Vec<u8>>,
    mut watch: Watch,
) {
    let Ok(mut upstream) = TcpStream::connect(proxy).await else {
        return;
    };
    if upstream.write_all(&header).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_proxy, mut to_proxy) = upstream.split();
    let up = async {
        let mut piece = [0; 8192];
        loop {
            let read = from_client.read(&mut piece).await?;
            watch.hear(&piece[..read]);
            if read == 0 {
                return to_proxy.shutdown().await;
            }
            to_proxy.write_all(&piece[..read]).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut from_proxy, &mut to_client).await?;
        to_client.shutdown().await
    };
    // Ends with the connection, or with this command.
    let _ = tokio::join!(up, down);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> Seen {
        let turn = Arc::<Mutex<Turn>>::default();
        let mut watch = Watch::new("h.test", Arc::clone(&turn));
        for piece in pieces {
            watch.hear(piece);
        }
        let turn = turn.lock().expect("no panic");
        turn.seen
    }

    #[test]
    fn what_is_said_of_other_hosts_is_no_sign() {
        let is = |connected, began_tls| Seen {
            connected,
            began_tls,
            trusts: false,
        };
        let ours: &[u8] = b"CONNECT h.test:443 HTTP/1.1\r\n\r\n";
        let other: &[u8] = b"CONNECT news.test:443 HTTP/1.1\r\nX: h.test\r\n\r\n";
        assert_eq!(seen(&[ours, b"\x16\x03\x01"]), is(true, true));
        assert_eq!(seen(&[&ours[..9], &ours[9..]]), is(true, false));
        assert_eq!(seen(&[other, b"\x16\x03\x01"]), is(false, false));
        // TLS to the proxy itself, or nothing at all: it came to the proxy.
        assert_eq!(seen(&[b"\x16\x03\x01"]), is(true, false));
        assert_eq!(seen(&[b""]), is(true, false));
    }

    #[test]
    fn a_client_that_goes_on_after_the_certificate_trusts_it() {
        let hello: &[u8] = b"CONNECT h.test:443 HTTP/1.1\r\n\r\n\x16\x03\x01\x00\x02hi";
        let record = |kind: u8, length: u8| {
            let mut record = vec![kind, 3, 3, 0, length];
            record.resize(5 + usize::from(length), 0);
            record
        };
        let trusts = |more: &[Vec<u8>]| seen(&[hello, &more.concat()]).trusts;
        let spec = record(20, 1);
        assert!(trusts(&[spec.clone(), record(23, 53)]));
        assert!(
            !trusts(&[spec.clone(), record(23, 19)]),
            "an alert, encrypted"
        );
        assert!(!trusts(&[record(21, 2)]), "an alert");
        assert!(!trusts(&[spec, record(22, 40)]), "the handshake of TLS 1.2");
    }

    #[test]
    fn what_a_client_leaves_behind_is_not_the_next_ones() {
        let turn = Arc::<Mutex<Turn>>::default();
        let mut before = Watch::new("h.test", Arc::clone(&turn));
        turn.lock().expect("no panic").number += 1;
        before.hear(b"CONNECT h.test:443 HTTP/1.1\r\n\r\n");
        assert_eq!(turn.lock().expect("no panic").seen, Seen::default());
    }
}
