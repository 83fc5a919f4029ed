//! Mixed load for minutes: every answer must be the right one, and memory must stay flat.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memchr::memmem;

use crate::cells::{exchange_http2, get, get_http2};
use crate::client::{Connection, http2};
use crate::origin::PROOF;
use crate::process;
use crate::target::{COLD_HOSTS, HOST, Route, SECRET, Stage};

/// How much memory may grow between the first look, after a warm-up, and the last: allocators do
/// not give back every page.
const GROWTH: f64 = 1.25;
/// Plus so many MiB, whatever the beginning was.
const SLACK: f64 = 8.0;

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    turn: AtomicUsize,
}

/// Runs for `duration` and fails if anything was wrong.
pub async fn run(stage: &Stage, duration: Duration) -> Result<()> {
    let route = stage.start_egret(20_000).await?;
    let counts = Counts::default();
    let end = Instant::now() + duration;
    let resident = || process::memory(route.pid.unwrap_or(0)).0 as f64 / 1024.0;
    let looks = async {
        let mut looks = Vec::new();
        let every = (duration / 20).max(Duration::from_millis(500));
        while Instant::now() + every < end {
            tokio::time::sleep(every).await;
            looks.push(resident());
            let (right, wrong) = (&counts.right, &counts.wrong);
            eprintln!(
                "{:>6.0} s left  {:>9} right  {} wrong  {:.1} MiB",
                (end - Instant::now()).as_secs_f64(),
                right.load(Ordering::Relaxed),
                wrong.load(Ordering::Relaxed),
                resident()
            );
        }
        looks
    };
    let worker = || async {
        while Instant::now() < end {
            let turn = counts.turn.fetch_add(1, Ordering::Relaxed);
            let count = match visit(&route, turn).await {
                Ok(()) => &counts.right,
                Err(error) => {
                    eprintln!("visit {turn}: {error:#}");
                    &counts.wrong
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (looks, ..) = tokio::join!(
        looks,
        worker(),
        worker(),
        worker(),
        worker(),
        worker(),
        worker(),
        worker(),
        worker()
    );
    let (right, wrong) = (counts.right.into_inner(), counts.wrong.into_inner());
    let warm = looks.get(looks.len() / 5).copied().unwrap_or(0.0);
    let last = looks.last().copied().unwrap_or(0.0);
    println!(
        "{} of mixed load: {right} visits right, {wrong} wrong; {warm:.1} MiB after a fifth, {last:.1} MiB at the end",
        humantime::format_duration(duration)
    );
    ensure!(wrong == 0, "{wrong} answers were wrong");
    ensure!(
        last <= warm * GROWTH + SLACK,
        "memory grew from {warm:.1} to {last:.1} MiB"
    );
    Ok(())
}

/// One connection and what is asked on it.
async fn visit(route: &Route, turn: usize) -> Result<()> {
    if turn % 5 == 4 {
        let mut sender = http2(route).await?;
        for _ in 0..20 {
            exchange_http2(&mut sender, get_http2(route)?).await?;
        }
        return Ok(());
    }
    let cold = format!("h{}.{HOST}", turn % COLD_HOSTS);
    let (host, connector) = match turn % 4 {
        0 => (cold.as_str(), &route.connectors.full),
        1 => (HOST, &route.connectors.full),
        _ => (HOST, &route.connectors.resuming),
    };
    let mut connection = Connection::tls(route, host, connector).await?;
    for _ in 0..20 {
        connection
            .exchange(&get(route, host, true))
            .await?
            .check(PROOF)?;
    }
    connection
        .exchange(&get(route, host, false))
        .await?
        .check(PROOF)?;
    echo(route, &mut connection, host).await?;
    stream(route, &mut connection, host).await?;
    upload(route, &mut connection, host).await?;
    refusal(route, &mut connection, host).await?;
    if turn % 8 == 7 {
        // A client that leaves in the middle.
        let port = route.ports.tls;
        let request = format!("GET /bytes/4000000 HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        connection.receive().await?;
    }
    Ok(())
}

/// The origin repeats the value, in a header and in the body. Nothing of it may come here.
async fn echo(route: &Route, connection: &mut Connection, host: &str) -> Result<()> {
    let request = String::from_utf8(get(route, host, true))?.replacen("/auth", "/echo", 1);
    let answer = connection.exchange(request.as_bytes()).await?;
    answer.check(PROOF)?;
    let leaked = [&answer.head, &answer.body]
        .iter()
        .any(|text| memmem::find(text, SECRET.as_bytes()).is_some());
    ensure!(!leaked, "the value came back");
    ensure!(
        memmem::find(&answer.body, b"<<bench>>").is_some(),
        "the echo is not marked"
    );
    Ok(())
}

async fn stream(route: &Route, connection: &mut Connection, host: &str) -> Result<()> {
    let port = route.ports.tls;
    let request = format!("GET /sse?events=3&ms=2 HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let answer = connection.exchange(request.as_bytes()).await?;
    let events = memmem::find_iter(&answer.body, b"data: ").count();
    ensure!(events == 3, "{events} events of 3");
    Ok(())
}

/// Two placeholders in a held body.
async fn upload(route: &Route, connection: &mut Connection, host: &str) -> Result<()> {
    let body = format!(r#"{{"a":"{0}","b":["{0}"]}}"#, route.written);
    let request = format!(
        "POST /sink?expect=2 HTTP/1.1\r\nHost: {host}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        route.ports.tls,
        body.len()
    );
    connection.exchange(request.as_bytes()).await?.check(PROOF)
}

/// A slug that nobody has.
async fn refusal(route: &Route, connection: &mut Connection, host: &str) -> Result<()> {
    let request = format!(
        "GET /auth HTTP/1.1\r\nHost: {host}:{}\r\nAuthorization: Bearer <<nobody>>\r\n\r\n",
        route.ports.tls
    );
    let answer = connection.exchange(request.as_bytes()).await?;
    ensure!(
        answer.status == 424,
        "status {} in place of 424",
        answer.status
    );
    Ok(())
}
