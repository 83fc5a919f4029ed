//! Sends the bytes of a case as it says, and collects everything that comes back.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::client::{Wanted, basic, trusting};
use crate::http2::client::{Client, Request, response};
use crate::wire::{Response, Wire, WireError};
use crate::within;

use super::case::{Case, Via};
use super::script::Script;
use super::stage::Set;

/// What the client saw.
#[derive(Default)]
pub struct Outcome {
    /// The answer to the CONNECT, where the bytes of the case are a CONNECT.
    pub connect: Option<Response>,
    /// Answers, in order.
    pub answers: Vec<Response>,
    /// Why there were fewer answers than asked for.
    pub broken: Option<String>,
    /// Whether the proxy closed the connection afterwards, or instead.
    pub closed: bool,
    pub is_http2: bool,
    /// The code with which the stream or the connection was ended, over HTTP/2.
    pub stream_error: Option<u32>,
    /// Every byte that reached the client, decrypted.
    pub bytes: Vec<u8>,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
}

/// Plays the request of a case.
pub async fn play(set: &Set, case: &Case, script: &Script) -> Outcome {
    let started = Instant::now();
    let mut outcome = match (script, case.via) {
        (Script::Http2(request), _) => over_http2(set, case, request).await,
        (Script::Bytes(raw), Via::ConnectTlsH1) => through_tls(set, case, raw).await,
        (Script::Bytes(raw), Via::ConnectPlainH1) => through_plain_tunnel(set, case, raw).await,
        (Script::Bytes(raw), Via::AbsoluteHttp | Via::RawProxyPort) => {
            to_the_port(set, case, raw).await
        }
        (Script::Bytes(_), Via::ConnectTlsH2) => unreachable!("its script is no bytes"),
    };
    if outcome.took.is_zero() {
        outcome.took = started.elapsed();
    }
    outcome
}

fn wanted(set: &Set, case: &Case) -> Wanted {
    let mut wanted = Wanted::new(&set.world);
    wanted.authority = case.connect_target.clone().expect("connect_target");
    wanted.server_name = case.sni.clone().expect("sni");
    wanted.authorization = authorization(set, case);
    wanted
}

fn authorization(set: &Set, case: &Case) -> Option<String> {
    case.action
        .as_ref()
        .map(|action| basic(action, &set.world.token))
}

async fn over_http2(set: &Set, case: &Case, request: &Request) -> Outcome {
    let mut client = match Client::try_open(&set.world, wanted(set, case)).await {
        Ok(client) => client,
        Err(refusal) => return refused(refusal),
    };
    let message = client.exchange(request).await;
    let mut outcome = Outcome {
        is_http2: true,
        stream_error: message.reset.or(client.peer.goaway),
        ..Outcome::default()
    };
    if !message.headers.is_empty() {
        outcome.answers.push(response(&message));
    }
    if !message.ended {
        outcome.broken = Some(format!("the stream was cut off: {:?}", message.reset));
        outcome.closed = true;
    }
    outcome.bytes = client.peer.received;
    outcome
}

async fn through_tls(set: &Set, case: &Case, raw: &[u8]) -> Outcome {
    let mut wanted = wanted(set, case);
    wanted.tls = Some(trusting(&set.world.ca_pem().await));
    match wanted.open(&set.world).await {
        Ok(tunnel) => converse(tunnel.wire, case, raw.to_vec()).await,
        Err(refusal) => refused(refusal),
    }
}

async fn through_plain_tunnel(set: &Set, case: &Case, raw: &[u8]) -> Outcome {
    match wanted(set, case).connect(&set.world).await {
        Ok(socket) => converse(Wire::new(socket), case, raw.to_vec()).await,
        Err(refusal) => refused(refusal),
    }
}

/// A CONNECT that is refused is an answer to the client like any other.
fn refused(refusal: Response) -> Outcome {
    Outcome {
        bytes: format!("{refusal:?}").into_bytes(),
        answers: vec![refusal],
        ..Outcome::default()
    }
}

async fn to_the_port(set: &Set, case: &Case, raw: &[u8]) -> Outcome {
    let is_http = raw.starts_with(b"CONNECT ") || case.via == Via::AbsoluteHttp;
    let raw = match authorization(set, case) {
        Some(value) if is_http => with_authorization(raw, &value),
        _ => raw.to_vec(),
    };
    let wire = set.world.dial().await;
    if raw.starts_with(b"CONNECT ") {
        return connect_by_hand(wire, raw).await;
    }
    converse(wire, case, raw).await
}

/// The cases leave the token out of bytes that are sent to the proxy's port directly.
fn with_authorization(raw: &[u8], value: &str) -> Vec<u8> {
    let end = memchr::memmem::find(raw, b"\r\n").expect("a first line") + 2;
    let header = format!("Proxy-Authorization: {value}\r\n");
    [&raw[..end], header.as_bytes(), &raw[end..]].concat()
}

async fn connect_by_hand(mut wire: Wire<tokio::net::TcpStream>, raw: Vec<u8>) -> Outcome {
    let mut outcome = Outcome::default();
    let _ = wire.send(&raw).await;
    match within("the answer to a CONNECT", wire.connect_response()).await {
        Ok(answer) => outcome.connect = Some(answer),
        Err(e) => outcome.broken = Some(e.to_string()),
    }
    outcome.bytes = wire.received;
    outcome
}

async fn converse<S>(wire: Wire<S>, case: &Case, raw: Vec<u8>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut outcome = Outcome::default();
    let started = Instant::now();
    let (reader, mut writer) = tokio::io::split(wire.io);
    let splits = case.request.writes.clone().unwrap_or_default();
    // The proxy may answer and close before it has read everything.
    let writing = tokio::spawn(async move {
        let mut from = 0;
        for to in splits.into_iter().chain([raw.len()]) {
            if writer.write_all(&raw[from..to]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            from = to;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        writer
    });
    let to_head = case.request.method == "HEAD";
    let mut wire = Wire::new(reader);
    for _ in 0..case.responses.unwrap_or(1) {
        match within("an answer", wire.response(to_head)).await {
            Ok(answer) => outcome.answers.push(answer),
            Err(e) => {
                outcome.closed = !matches!(e, WireError::Malformed(_));
                outcome.broken = Some(e.to_string());
                break;
            }
        }
    }
    // The client of the case does not wait any longer: from here on the time does not count.
    outcome.took = started.elapsed();
    let writer = within("the request to be written", writing)
        .await
        .expect("the writer");
    if !outcome.closed {
        let grace = Duration::from_millis(300);
        outcome.closed = tokio::time::timeout(grace, wire.until_closed())
            .await
            .is_ok();
    }
    drop(writer);
    outcome.bytes = wire.received;
    outcome
}
