//! A port in front of the proxy, which sees how far a client comes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::inbound::arrival;

/// How much of what a client says first is looked at, in bytes.
const LOOKED_AT: usize = 4096;
/// What a CONNECT ends with, and how the handshake of TLS begins that follows it.
const TLS_AFTER_HEAD: &[u8] = b"\r\n\r\n\x16\x03";

/// What was seen of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It connected to the proxy.
    pub(super) connected: bool,
    /// It began a TLS handshake in a tunnel.
    pub(super) began_tls: bool,
}

pub(super) struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    /// In front of `proxy`, with the credentials of a client (as in `Proxy-Authorization`).
    pub(super) async fn open(proxy: SocketAddr, credentials: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                note(&noted, |seen| seen.connected = true);
                tokio::spawn(pass_on(
                    client,
                    proxy,
                    credentials.clone(),
                    Arc::clone(&noted),
                ));
            }
        });
        Ok(Self { address, seen })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen since the last call.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(seen: &Mutex<Seen>, change: impl FnOnce(&mut Seen)) {
    change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn pass_on(
    mut client: TcpStream,
    proxy: SocketAddr,
    credentials: String,
    seen: Arc<Mutex<Seen>>,
) {
    let Ok(mut upstream) = TcpStream::connect(proxy).await else {
        return;
    };
    let header = arrival::header(&credentials, None);
    if upstream.write_all(&header).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_proxy, mut to_proxy) = upstream.split();
    let up = async {
        let mut first = Vec::new();
        let mut piece = [0; 8192];
        loop {
            let read = from_client.read(&mut piece).await?;
            if read == 0 {
                return to_proxy.shutdown().await;
            }
            if first.len() < LOOKED_AT {
                first.extend_from_slice(&piece[..read]);
                if memchr::memmem::find(&first, TLS_AFTER_HEAD).is_some() {
                    note(&seen, |seen| seen.began_tls = true);
                }
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
