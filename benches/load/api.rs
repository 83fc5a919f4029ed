//! A thousand calls of the API a second beside requests through the proxy: what they cost the proxy
//! beyond their own CPU time, and what requests wait for them.
//!
//! Both come in open loop: a request is due whatever the answers do. On a machine with few cores the same
//! work takes more CPU time while others work beside it, because cores share caches and execution units.
//! So calls and requests come once to one process, and once to two processes at the same time: the
//! difference is what calls cost requests inside of the program. Rounds take turns, because a machine
//! that others use is not the same from one minute to the next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::cells::get;
use crate::cells::pace::Pace;
use crate::client::Connection;
use crate::origin::PROOF;
use crate::process::Cpu;
use crate::target::{HOST, Route, Stage};

/// Requests through the proxy, a second.
const REQUESTS: u32 = 2_000;
/// Calls of the API, a second.
const CALLS: u32 = 1_000;
/// Connections of each kind.
const CONNECTIONS: usize = 8;
/// Rounds of each of the four.
const ROUNDS: usize = 5;
/// How long a round is.
const ROUND: Duration = Duration::from_secs(4);
/// What is asked for: the cheapest, a list, which knows when each was last used, and one thing.
const PATHS: [&str; 3] = [
    "/api/v1/me",
    "/api/v1/credentials",
    "/api/v1/credentials/default/bench",
];

/// What a round took: CPU seconds of the servers, and microseconds of requests and calls.
#[derive(Default)]
struct Round {
    cpu: f64,
    requests: Vec<u128>,
    calls: Vec<u128>,
}

/// Prints the figures. Fails if an answer is wrong.
pub async fn run(stage: &Stage) -> Result<()> {
    let one = Server::start(stage, "egret").await?;
    let other = Server::start(stage, "another egret").await?;
    // What is done once is no cost of a call.
    round(Some(&one), Some(&one)).await?;
    round(Some(&other), Some(&other)).await?;
    let mut requests = Vec::new();
    let mut calls = Vec::new();
    let mut apart = Vec::new();
    let mut together = Vec::new();
    for number in 0..ROUNDS {
        requests.push(round(Some(&one), None).await?);
        calls.push(round(None, Some(&one)).await?);
        apart.push(round(Some(&one), Some(&other)).await?);
        together.push(round(Some(&one), Some(&one)).await?);
        eprintln!("round {} of {ROUNDS}", number + 1);
    }
    let cpu = |rounds: &[Round]| rounds.iter().map(|round| round.cpu).sum::<f64>();
    let seconds = ROUND.as_secs_f64() * ROUNDS as f64;
    println!(
        "{REQUESTS} requests/s through the proxy, {CALLS} calls/s of the API, {ROUNDS} rounds of {ROUND:?} each\n"
    );
    println!("| | CPU, ms a second | requests p50 / p99 us | calls p50 / p99 us |");
    println!("|---|---:|---:|---:|");
    for (name, rounds) in [
        ("requests", &requests),
        ("calls", &calls),
        ("both, to two processes", &apart),
        ("both, to one process", &together),
    ] {
        let cpu = cpu(rounds) * 1e3 / seconds;
        let requests = shown(rounds.iter().flat_map(|round| &round.requests));
        let calls = shown(rounds.iter().flat_map(|round| &round.calls));
        println!("| {name} | {cpu:.0} | {requests} | {calls} |");
    }
    let sum = cpu(&requests) + cpu(&calls);
    println!("\nboth / (requests + calls): {:.2}", cpu(&together) / sum);
    println!("one process / two: {:.2}", cpu(&together) / cpu(&apart));
    Ok(())
}

/// A proxy with an API, and the calls that are made there.
struct Server {
    route: Arc<Route>,
    admin: SocketAddr,
    calls: Arc<Vec<Vec<u8>>>,
}

impl Server {
    async fn start(stage: &Stage, name: &str) -> Result<Self> {
        let (route, admin, token) = stage.start_with_api(name).await?;
        let calls = PATHS.map(|path| call(admin, &token, path)).to_vec();
        Ok(Self {
            route: Arc::new(route),
            admin,
            calls: Arc::new(calls),
        })
    }
}

/// A call, as bytes.
fn call(admin: SocketAddr, token: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

/// The middle and the slowest hundredth.
fn shown<'a>(times: impl Iterator<Item = &'a u128>) -> String {
    let mut times: Vec<u128> = times.copied().collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied();
    match (at(50), at(99)) {
        (Some(middle), Some(slow)) => format!("{middle} / {slow}"),
        _ => "-".to_owned(),
    }
}

/// Requests through one server and calls of one, which may be the same.
async fn round(proxy: Option<&Server>, called: Option<&Server>) -> Result<Round> {
    let mut requests = JoinSet::new();
    let mut calls = JoinSet::new();
    let servers: HashMap<u32, &Route> = [proxy, called]
        .into_iter()
        .flatten()
        .filter_map(|server| Some((server.route.pid?, &*server.route)))
        .collect();
    let before: Vec<Cpu> = servers.values().map(|route| Cpu::read(route)).collect();
    let end = Instant::now() + ROUND;
    if let Some(server) = proxy {
        let pace = Pace::start(REQUESTS);
        for _ in 0..CONNECTIONS {
            requests.spawn(send(Arc::clone(&server.route), Arc::clone(&pace), end));
        }
    }
    if let Some(server) = called {
        let pace = Pace::start(CALLS);
        for _ in 0..CONNECTIONS {
            let calls_made = Arc::clone(&server.calls);
            calls.spawn(ask(server.admin, calls_made, Arc::clone(&pace), end));
        }
    }
    let mut round = Round::default();
    while let Some(times) = requests.join_next().await {
        round.requests.extend(times??);
    }
    while let Some(times) = calls.join_next().await {
        round.calls.extend(times??);
    }
    // What the ledger's index has not taken in yet is taken in for an answer, and belongs to this round.
    for server in [proxy, called].into_iter().flatten() {
        let mut connection = Connection::to(server.admin).await?;
        connection.exchange(&server.calls[1]).await?;
    }
    for (route, before) in servers.values().zip(&before) {
        round.cpu += Cpu::read(route).since(before).proxy();
    }
    Ok(round)
}

/// Requests through the proxy until `end`, and how long each took from when it was due.
async fn send(route: Arc<Route>, pace: Arc<Pace>, end: Instant) -> Result<Vec<u128>> {
    let request = get(&route, HOST, true);
    let mut connection = Connection::tls(&route, HOST, &route.connectors.full).await?;
    let mut times = Vec::new();
    loop {
        let due = pace.next().await;
        if due > end {
            return Ok(times);
        }
        connection.exchange(&request).await?.check(PROOF)?;
        times.push(due.elapsed().as_micros());
    }
}

/// Calls of the API until `end`, and how long each took from when it was due.
async fn ask(
    admin: SocketAddr,
    calls: Arc<Vec<Vec<u8>>>,
    pace: Arc<Pace>,
    end: Instant,
) -> Result<Vec<u128>> {
    let mut connection = Connection::to(admin).await?;
    let mut times = Vec::new();
    for request in calls.iter().cycle() {
        let due = pace.next().await;
        if due > end {
            break;
        }
        // A person's connection lives for a while only.
        let answer = match connection.exchange(request).await {
            Ok(answer) => answer,
            Err(_) => {
                connection = Connection::to(admin).await?;
                let again = connection.exchange(request).await;
                again.context("a call of the API")?
            }
        };
        ensure!(answer.status == 200, "the API answered {}", answer.status);
        times.push(due.elapsed().as_micros());
    }
    Ok(times)
}
