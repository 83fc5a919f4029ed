//! WebSocket through the proxy, with frames written by hand.

mod drained;
mod ends;
mod handshakes;
mod http2;
mod messages;
pub mod socket;

use serde_json::Value;

use crate::world::{Builder, HOST, SLUG, VALUE, World};
use socket::{Socket, Upstream, agree, handshake, tunnelled};

/// A world around one WebSocket upstream, with [`SLUG`] saved for every place.
pub async fn world() -> (World, Upstream) {
    world_with(World::builder()).await
}

async fn world_with(builder: Builder) -> (World, Upstream) {
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .start()
        .await;
    save(&world, SLUG, VALUE).await;
    (world, upstream)
}

async fn save(world: &World, slug: &str, value: &str) {
    let limits = [
        "--host", HOST, "--in", "header", "--in", "query", "--in", "body",
    ];
    world.save(slug, value, &limits).await;
}

/// Both ends of a new conversation.
async fn conversation(world: &World, upstream: &Upstream) -> (Socket, Socket) {
    let mut client = tunnelled(world).await;
    let (server, ..) = agree(&mut client, upstream, &handshake("/chat", &[])).await;
    (client, server)
}

/// The ledger lines of an event.
fn lines(world: &World, event: &str) -> Vec<Value> {
    let lines = world.ledger().into_iter();
    lines.filter(|line| line["event"] == event).collect()
}

/// Waits for the `result` line of a conversation.
async fn result(world: &World) -> Value {
    world
        .ledger_line("a result", |line| line["event"] == "result")
        .await
}
