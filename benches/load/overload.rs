//! More connections than fit: those that were accepted are served as before, the others are told
//! so at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;

use crate::cells::get;
use crate::client::Connection;
use crate::origin::PROOF;
use crate::target::{HOST, Stage};

/// `proxy.max_connections` of this run.
const PLACES: usize = 100;
/// How many more try.
const MORE: usize = 400;
/// How long saying no may take.
const QUICKLY: Duration = Duration::from_millis(250);

/// Fails if a turned-away client waits, or an accepted one is not served.
pub async fn run(stage: &Stage) -> Result<()> {
    let route = stage.start_egret(PLACES).await?;
    let request = get(&route, HOST, true);
    let mut accepted = Vec::new();
    for _ in 0..PLACES {
        let mut connection = Connection::tls(&route, HOST, &route.connectors.full).await?;
        connection.exchange(&request).await?.check(PROOF)?;
        accepted.push(connection);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..MORE {
        let started = Instant::now();
        let mut refused = Connection::plain(&route).await?;
        let answer = refused
            .answer()
            .await
            .context("a client that is turned away")?;
        let told = memmem::find(&answer.head, b"overloaded").is_some();
        ensure!(answer.status == 503 && told, "status {}", answer.status);
        slowest = slowest.max(started.elapsed());
        // In between, those that were accepted go on.
        let at = accepted.len() / 2;
        accepted[at].exchange(&request).await?.check(PROOF)?;
    }
    for connection in &mut accepted {
        connection.exchange(&request).await?.check(PROOF)?;
    }
    println!(
        "{MORE} of {MORE} clients beyond proxy.max_connections = {PLACES} were told `overloaded`, \
         the slowest after {:.1} ms; all {PLACES} that were accepted were served",
        slowest.as_secs_f64() * 1e3
    );
    ensure!(slowest < QUICKLY, "saying no took {slowest:?}");
    drop(accepted);
    Ok(())
}
