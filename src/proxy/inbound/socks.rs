//! SOCKS5 (RFC 1928) on the proxy's own port, for programs that know no other kind of proxy.
//!
//! User name and password (RFC 1929) are action and token, as in the address of an HTTP proxy. What
//! comes after the handshake is a tunnel like that of CONNECT: TLS and HTTP in it are intercepted,
//! anything else is closed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::HeaderMap;
use http::header::{HeaderValue, PROXY_AUTHORIZATION};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::Refusal;
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::inbound::connect::{check_rules, is_passthrough};
use crate::proxy::inbound::destination::check_port;
use crate::proxy::inbound::entry::{PresentedIdentity, ProxyEntry};
use crate::proxy::inbound::service::Service;
use crate::proxy::inbound::tunnel::{self, ClientStream, Rewound, Tunnel};
use crate::proxy::runtime::measures::{Kind, measures};
use crate::proxy::runtime::slot::ConnectionSlot;

/// The version, which each message begins with.
pub const VERSION: u8 = 5;
/// The version of the negotiation of user name and password.
const LOGIN_VERSION: u8 = 1;

const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xFF;

const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why a request is not carried out (RFC 1928 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    NotAllowed = 2,
    Unreachable = 4,
    CommandUnknown = 7,
    AddressUnknown = 8,
}

/// How a handshake ended that leads to no tunnel.
enum Ended {
    /// The client went away or broke the protocol.
    Broken,
    /// The client was told no, for this reason of Egret's.
    Refused(Box<Refused>),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(Refused::from(refusal)))
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Serves the connection to its end.
pub async fn serve<A: Service>(proxy: Arc<Proxy>, mut stream: TcpStream, entry: ProxyEntry) {
    let _open = measures().open(Kind::Socks);
    let settings = proxy.settings.load_full();
    let limits = &settings.config.proxy;
    let draining = proxy.draining.child_token();
    let asked = timeout(
        limits.handshake_timeout,
        ask(&proxy, &settings, &mut stream, &entry),
    );
    let tunnel = match draining.run_until_cancelled(asked).await {
        Some(Ok(Ok(tunnel))) => tunnel,
        Some(Ok(Err(Ended::Refused(refused)))) => {
            let refusal = refused.record(&proxy.ledger, &proxy.ids.next()).await;
            proxy.counters.refuse(refusal.code);
            return tracing::info!(code = %refusal.code, destination = refusal.destination,
                "a SOCKS connection was refused");
        }
        Some(Ok(Err(Ended::Broken)) | Err(_)) | None => return,
    };
    proxy.counters.tunnel();
    if !is_passthrough(&settings, &tunnel.destination) {
        let answered = stream.write_all(&reply(0)).await;
        if answered.is_ok() {
            let stream = Rewound::new(ClientStream::Tcp(stream), BytesMut::new());
            tunnel::run_intercepted::<A>(proxy, tunnel, stream).await;
        }
        return;
    }
    match settings.upstream.dial_blind(&tunnel.destination).await {
        Ok(upstream) if stream.write_all(&reply(0)).await.is_ok() => {
            let stream = Rewound::new(ClientStream::Tcp(stream), BytesMut::new());
            tunnel::run_blind(proxy, tunnel, upstream, stream).await;
        }
        Ok(_) => {}
        Err(refusal) => {
            proxy.counters.refuse(refusal.code);
            // The client may be gone already, and then no one has to be told.
            let _ = stream.write_all(&reply(Failure::Unreachable as u8)).await;
        }
    }
}

/// The handshake, up to the answer to the request.
async fn ask(
    proxy: &Proxy,
    settings: &Settings,
    stream: &mut TcpStream,
    entry: &ProxyEntry,
) -> Result<Tunnel, Ended> {
    proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
    let identity = identify(settings, stream, entry).await?;
    let destination = match read_request(stream).await? {
        Ok(destination) => destination,
        Err(failure) => {
            stream.write_all(&reply(failure as u8)).await?;
            return Err(Ended::Broken);
        }
    };
    let client = match permit(proxy, settings, &identity, &destination) {
        Ok(client) => client,
        Err(refused) => {
            stream.write_all(&reply(Failure::NotAllowed as u8)).await?;
            return Err(Ended::Refused(Box::new(refused)));
        }
    };
    Ok(Tunnel {
        destination,
        identity,
        client,
        slot: ConnectionSlot::clone(&entry.slot),
    })
}

/// What CONNECT is asked, too: the port, and the rules for egress. Returns the client's name.
fn permit(
    proxy: &Proxy,
    settings: &Settings,
    identity: &PresentedIdentity,
    destination: &Destination,
) -> Result<Arc<str>, Refused> {
    check_port(&settings.config.proxy.connect_ports, destination)?;
    let caller = Arc::new(identity.caller(settings, &HeaderMap::new())?);
    let (id, started) = (proxy.ids.next(), Instant::now());
    let client = Arc::clone(&caller.client);
    let context = RequestContext::of_connect(id, caller, destination.clone(), started);
    let is_blind = is_passthrough(settings, destination);
    check_rules(proxy, settings, &context, is_blind)?;
    Ok(client)
}

/// Agrees on a method, and takes the token if there is one.
///
/// Java offers both methods whether it has a password or not, so one is asked for only where it is
/// needed.
async fn identify(
    settings: &Settings,
    stream: &mut TcpStream,
    entry: &ProxyEntry,
) -> Result<PresentedIdentity, Ended> {
    let [version, count] = [stream.read_u8().await?, stream.read_u8().await?];
    let mut methods = vec![0; usize::from(count)];
    stream.read_exact(&mut methods).await?;
    if version != VERSION {
        return Err(Ended::Broken);
    }
    let is_vouched = entry.holder.is_some();
    let preferred = if is_vouched {
        [NO_LOGIN, LOGIN]
    } else {
        [LOGIN, NO_LOGIN]
    };
    let method = preferred
        .into_iter()
        .find(|method| methods.contains(method));
    stream
        .write_all(&[VERSION, method.unwrap_or(NO_METHOD)])
        .await?;
    let mut headers = HeaderMap::new();
    match method {
        Some(LOGIN) => {
            headers.insert(PROXY_AUTHORIZATION, read_login(stream).await?);
        }
        Some(_) => {}
        None => return Err(Ended::Broken),
    }
    let identity = entry.identity(settings, &headers);
    let known = identity.caller(settings, &HeaderMap::new());
    if method == Some(LOGIN) {
        stream
            .write_all(&[LOGIN_VERSION, u8::from(known.is_err())])
            .await?;
    } else if known.is_err() {
        // There is no answer to a greeting that says no; the one to the request does.
        let _ = read_request(stream).await?;
        stream.write_all(&reply(Failure::NotAllowed as u8)).await?;
    }
    known?;
    Ok(identity)
}

/// User name and password, as `Proxy-Authorization` would carry them.
async fn read_login(stream: &mut TcpStream) -> Result<HeaderValue, Ended> {
    if stream.read_u8().await? != LOGIN_VERSION {
        return Err(Ended::Broken);
    }
    let mut pair = Zeroizing::new(Vec::new());
    let user = read_counted(stream).await?;
    // Decoded again where a header is read; a colon ends the user name there.
    for byte in user.iter() {
        match byte {
            b'%' => pair.extend_from_slice(b"%25"),
            b':' => pair.extend_from_slice(b"%3A"),
            byte => pair.push(*byte),
        }
    }
    pair.push(b':');
    pair.extend_from_slice(&read_counted(stream).await?);
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Ended::Broken)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read_counted(stream: &mut TcpStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = stream.read_u8().await?;
    let mut text = Zeroizing::new(vec![0; usize::from(length)]);
    stream.read_exact(&mut text).await?;
    Ok(text)
}

/// What is asked for, read to its end.
async fn read_request(stream: &mut TcpStream) -> io::Result<Result<Destination, Failure>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, _reserved, kind] = head;
    if version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let host = match kind {
        IPV4 => {
            let mut octets = [0; 4];
            stream.read_exact(&mut octets).await?;
            Some(Ipv4Addr::from(octets).to_string())
        }
        IPV6 => {
            let mut octets = [0; 16];
            stream.read_exact(&mut octets).await?;
            Some(format!("[{}]", Ipv6Addr::from(octets)))
        }
        NAME => String::from_utf8(read_counted(stream).await?.to_vec()).ok(),
        _ => return Ok(Err(Failure::AddressUnknown)),
    };
    let port = stream.read_u16().await?;
    if command != CONNECT {
        return Ok(Err(Failure::CommandUnknown));
    }
    let named = host.and_then(|host| {
        Destination::from_authority(Scheme::Https, &format!("{host}:{port}")).ok()
    });
    Ok(named.ok_or(Failure::AddressUnknown))
}

/// The answer to a request: zero, or why not. The address of Egret's own end says nothing.
fn reply(code: u8) -> [u8; 10] {
    [VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]
}
