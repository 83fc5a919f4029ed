//! The ways of a request through the proxy: TLS or not, and both versions of HTTP.

use std::sync::Arc;

use crate::client::{basic, request};
use crate::http2::client::{Client, Request as Http2};
use crate::upstream::Stub;
use crate::wire::{Framing, Request, Response};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World};

/// How a request gets to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http1,
    Http2,
    Plain,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Plain];

    /// A world with an upstream of that kind, and [`SLUG`] saved for `places`.
    pub async fn world(self, settings: &[(&str, &str)], places: &[&str]) -> (World, Stub) {
        let mut builder = World::builder();
        for (key, value) in settings {
            builder = builder.set(key, *value);
        }
        let (stub, port) = match self {
            Self::Http1 => (Stub::tls(builder.pki(), &[HOST]).await, 443),
            Self::Http2 => (Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await, 443),
            Self::Plain => (Stub::plain().await, 80),
        };
        let builder = builder.route(&format!("{HOST}:{port}"), stub.addr);
        let world = builder.start().await;
        self.save(&world, SLUG, VALUE, places).await;
        (world, stub)
    }

    /// Saves a credential for this upstream.
    pub async fn save(self, world: &World, slug: &str, value: impl AsRef<[u8]>, places: &[&str]) {
        let plain = format!("http://{HOST}");
        let mut limits = vec![
            "--host",
            match self {
                Self::Plain => plain.as_str(),
                _ => HOST,
            },
        ];
        limits.extend(places.iter().flat_map(|place| ["--in", place]));
        world.save(slug, value, &limits).await;
    }

    /// Sends a POST whose body has a declared length.
    pub async fn post(self, world: &World, lines: &[&str], body: &[u8]) -> Response {
        self.post_to(world, "/x", lines, body).await
    }

    /// The same, for this target.
    pub async fn post_to(
        self,
        world: &World,
        target: &str,
        lines: &[&str],
        body: &[u8],
    ) -> Response {
        let length = format!("Content-Length: {}", body.len());
        if self == Self::Http2 {
            let mut client = Client::open(world).await;
            let mut ask =
                Http2::new("POST", target).field("content-length", body.len().to_string());
            for line in lines {
                let (name, value) = line.split_once(": ").expect("a field line");
                ask = ask.field(&name.to_ascii_lowercase(), value);
            }
            return client.response(&ask.data(body)).await;
        }
        let mut lines = lines.to_vec();
        lines.push(&length);
        let authorization = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
        if self == Self::Http1 {
            let head = request("POST", target, &lines, "");
            return world
                .tunnel()
                .await
                .roundtrip([head.as_bytes(), body].concat())
                .await;
        }
        lines.push(&authorization);
        let head = request("POST", &format!("http://{HOST}{target}"), &lines, "");
        let mut wire = world.dial().await;
        // An early answer may come, and the connection close, before all of it is written.
        let _ = wire.send([head.as_bytes(), body].concat()).await;
        let answer = within("an answer", wire.response(false)).await;
        answer.expect("an answer")
    }

    /// What arrived of an upload that was let through.
    pub async fn accepted(
        self,
        world: &World,
        stub: &Stub,
        lines: &[&str],
        body: &[u8],
    ) -> Arc<Request> {
        let answer = self.post(world, lines, body).await;
        assert_eq!(answer.status, 200, "{self:?} {answer:?} {}", answer.text());
        stub.take_one()
    }

    /// Asserts that the upstream was told the right length.
    pub fn assert_length(self, seen: &Request) {
        let length = seen.body.len().to_string();
        assert_eq!(seen.header("content-length"), Some(length), "{self:?}");
        if self != Self::Http2 {
            assert_eq!(seen.framing, Framing::Length(seen.body.len() as u64));
        }
    }
}
