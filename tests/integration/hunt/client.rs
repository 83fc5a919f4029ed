//! The client's side: the ways to use a value, over each protocol.

use super::canary::{Canary, Chance};
use crate::client::{Tunnel, Wanted, basic, request};
use crate::coded::open;
use crate::http2::client as http2;
use crate::wire::Response;
use crate::world::{HOST, World};

/// How the client talks to the proxy. A protocol that comes to be spoken gets a line here and in
/// [`Client::exchange`]; every case is then played over it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.1 in a tunnel, TLS inside.
    Http1,
    /// HTTP/2 in a tunnel, and so to the upstream too.
    Http2,
}

impl Mode {
    pub const ALL: &[Mode] = &[Mode::Http1, Mode::Http2];
}

/// What a client sends.
pub struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<String>,
    body: String,
}

impl Sent {
    /// The same, for an answer that has a body whatever was asked for.
    pub fn asking_for_a_body(mut self) -> Self {
        if self.method == "HEAD" {
            self.method = "GET";
        }
        self
    }
}

const ACCEPTED: &[&str] = &[
    "",
    "gzip",
    "gzip, deflate, br, zstd",
    "gzip;q=1, identity;q=0",
    "br;q=1.0, identity;q=0",
    "zstd, *;q=0",
    "identity",
    "*",
];

/// A request that uses a canary somewhere, or only could.
pub fn using(chance: &mut Chance, canary: &Canary) -> Sent {
    let p = format!("<<{}>>", canary.slug);
    let mut sent = Sent {
        method: "GET",
        target: "/x".to_owned(),
        headers: Vec::new(),
        body: String::new(),
    };
    let mut post = |media_type: &str, body: String| {
        sent.method = "POST";
        sent.headers.push(format!("Content-Type: {media_type}"));
        sent.body = body;
    };
    match chance.below(9) {
        0 => sent.target = format!("/p/{p}/q"),
        1 => sent.target = format!("/x?k={p}"),
        2 => sent
            .headers
            .push(format!("Authorization: {}", basic("u", &p))),
        3 => post("application/json", format!("{{\"k\":\"{p}\"}}")),
        4 => post("application/x-www-form-urlencoded", format!("k={p}")),
        5 => post("text/plain", format!("{p} {p}")),
        // No value is used; the answer may hold one all the same.
        6 => {}
        _ => sent.headers.push(format!("X-Api-Key: {p}")),
    }
    if chance.once_in(12) && sent.method == "GET" {
        sent.method = "HEAD";
    }
    let accepted = chance.pick(ACCEPTED);
    if !accepted.is_empty() {
        sent.headers.push(format!("Accept-Encoding: {accepted}"));
    }
    sent
}

/// A client with connections that it keeps while they last.
pub struct Client {
    mode: Mode,
    wanted: Wanted,
    tunnel: Option<Tunnel>,
    http2: Option<http2::Client>,
}

impl Client {
    pub fn new(mode: Mode, wanted: Wanted) -> Self {
        Self {
            mode,
            wanted,
            tunnel: None,
            http2: None,
        }
    }

    /// Sends a request; every byte that came back, as it came and opened, and the answer if it was
    /// one.
    pub async fn exchange(&mut self, world: &World, sent: &Sent) -> (Vec<u8>, Option<Response>) {
        match self.mode {
            Mode::Http1 => self.exchange_http1(world, sent).await,
            Mode::Http2 => self.exchange_http2(world, sent).await,
        }
    }

    async fn exchange_http2(&mut self, world: &World, sent: &Sent) -> (Vec<u8>, Option<Response>) {
        let mut client = match self.http2.take() {
            Some(client) => client,
            None => http2::Client::try_open(world, self.wanted.clone())
                .await
                .expect("a tunnel"),
        };
        // As every client of HTTP/2 writes it: raw, a placeholder is no part of a URI (RFC 3986).
        let target = sent.target.replace('<', "%3C").replace('>', "%3E");
        let mut request = http2::Request::new(sent.method, &target);
        for line in &sent.headers {
            let (name, value) = line.split_once(": ").expect("a header line");
            request = request.field(&name.to_ascii_lowercase(), value);
        }
        if !sent.body.is_empty() {
            request = request.data(sent.body.as_str());
        }
        client.peer.received.clear();
        let message = client.exchange(&request).await;
        let mut received = std::mem::take(&mut client.peer.received);
        if !message.ended {
            return (received, None);
        }
        let answer = http2::response(&message);
        received.extend_from_slice(b"\n--body\n");
        received.extend_from_slice(&opened(&answer));
        self.http2 = Some(client);
        (received, Some(answer))
    }

    async fn exchange_http1(&mut self, world: &World, sent: &Sent) -> (Vec<u8>, Option<Response>) {
        let mut tunnel = match self.tunnel.take() {
            Some(tunnel) => tunnel,
            None => world.tunnel_for(&self.wanted).await,
        };
        let headers: Vec<&str> = sent.headers.iter().map(String::as_str).collect();
        let text = request(sent.method, &sent.target, &headers, &sent.body);
        tunnel.wire.received.clear();
        let answer = tunnel.try_roundtrip(text).await;
        let mut received = std::mem::take(&mut tunnel.wire.received);
        let answer = answer.ok();
        if let Some(answer) = &answer {
            received.extend_from_slice(b"\n--body\n");
            received.extend_from_slice(&opened(answer));
            let closes = answer.header("connection").is_some_and(|c| c == "close");
            // An answer may have been sent before all of the request was read.
            if !closes && answer.egret_error().is_none() {
                self.tunnel = Some(tunnel);
            }
        }
        (received, answer)
    }
}

/// The body without its codings.
fn opened(answer: &Response) -> Vec<u8> {
    let mut body = answer.body.clone();
    let coding = answer.header("content-encoding").unwrap_or_default();
    if body.is_empty() || answer.egret_error().is_some() {
        return body;
    }
    for coding in coding.split(',').rev().map(str::trim) {
        if !coding.is_empty() && crate::coded::CODINGS.contains(&coding) {
            body = open(coding, &body);
        }
    }
    body
}

/// Requests that hold a value in the clear, or are wrong in ways that an error could quote.
pub fn careless(canary: &Canary, token: &str) -> Vec<(&'static str, Vec<u8>)> {
    let raw = String::from_utf8_lossy(&canary.value).into_owned();
    let percent = crate::leak::percent(&canary.value, true, |b| b.is_ascii_alphanumeric());
    let percent = String::from_utf8_lossy(&percent).into_owned();
    let auth = format!("Proxy-Authorization: {}", basic("act-1", token));
    let absolute = |line: &str, headers: &[&str], body: &str| {
        let mut text = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{auth}\r\n");
        for header in headers {
            text.push_str(&format!("{header}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        text.into_bytes()
    };
    let url = format!("GET http://{HOST}:443");
    vec![
        ("path", absolute(&format!("{url}/{percent}"), &[], "")),
        ("query", absolute(&format!("{url}/?k={percent}"), &[], "")),
        ("header", absolute(&url, &[&format!("X-Key: {raw}")], "")),
        (
            "header name",
            absolute(&url, &[&format!("{percent}: 1")], ""),
        ),
        (
            "body",
            absolute(&format!("POST http://{HOST}:443/"), &[], &raw),
        ),
        (
            "method",
            absolute(&format!("{percent} http://{HOST}/"), &[], ""),
        ),
        (
            "raw request line",
            absolute(&format!("GET /{raw}"), &[], ""),
        ),
        ("host", absolute(&format!("GET http://{percent}/"), &[], "")),
        (
            "user info",
            absolute(&format!("GET http://u:{percent}@{HOST}/"), &[], ""),
        ),
        (
            "connect",
            absolute(&format!("CONNECT {percent}:443"), &[], ""),
        ),
        (
            "placeholder",
            absolute(&format!("{url}/<<{percent}>>"), &[], ""),
        ),
        (
            "action",
            absolute(&url, &[&format!("Egret-Action: {raw}")], ""),
        ),
        (
            "run",
            absolute(&url, &[&format!("Egret-Run: {percent}")], ""),
        ),
        ("expect", absolute(&url, &[&format!("Expect: {raw}")], "")),
        (
            "coding",
            absolute(&url, &[&format!("Content-Encoding: {raw}")], "x"),
        ),
        (
            "framing",
            absolute(&url, &[&format!("Transfer-Encoding: {raw}")], "x"),
        ),
        (
            "type",
            absolute(&url, &[&format!("Content-Type: {raw}")], "<<x>>"),
        ),
        (
            "token",
            format!(
                "GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {}\r\n\r\n",
                basic("act-1", &raw)
            )
            .into_bytes(),
        ),
        ("no HTTP", [canary.value.as_slice(), b"\r\n\r\n"].concat()),
    ]
}
