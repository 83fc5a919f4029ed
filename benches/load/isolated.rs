//! What `egret run --isolate` costs against plain `egret run`: its start, and requests.
//!
//! Both use the same server. They take turns, because a machine that others use is not the same from one
//! minute to the next. The client is curl on one connection, one request after the other.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::client::Connection;
use crate::target::{HOST, PLACEHOLDER, Route, Stage};

/// Starts of each.
const STARTS: usize = 21;
/// Rounds of requests of each.
const ROUNDS: usize = 5;
/// Requests of a round.
const REQUESTS: usize = 2_000;

/// Prints the figures. Fails if a program does not end well, or no namespace can be made.
pub async fn run(stage: &Stage) -> Result<()> {
    let route = stage.start_egret(20_000).await?;
    let port = route.ports.tls.to_string();
    let ways: [(&str, &[&str]); 2] = [
        ("`egret run`", &[]),
        ("`egret run --isolate`", &["--isolate", "--port", &port]),
    ];
    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for ((_, options), taken) in ways.iter().zip(&mut starts) {
            taken.push(program(stage, options, &["true"])?);
        }
    }
    // The request as the other measurements send it, so that a wrong answer is no rate.
    Connection::tls(&route, HOST, &route.connectors.full)
        .await?
        .exchange(&crate::cells::get(&route, HOST, true))
        .await?
        .check(crate::origin::PROOF)?;
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ((_, options), taken) in ways.iter().zip(&mut rounds) {
            taken.push(requests(stage, &route, options)?);
        }
    }
    println!("{STARTS} starts and {ROUNDS} rounds of {REQUESTS} requests of each, in turns\n");
    println!("| | start, ms, median | requests/s, median |");
    println!("|---|---:|---:|");
    for ((name, _), (starts, rounds)) in ways.iter().zip(starts.into_iter().zip(rounds)) {
        let start = median(starts).as_secs_f64() * 1e3;
        let rate = REQUESTS as f64 / median(rounds).as_secs_f64();
        println!("| {name} | {start:.0} | {rate:.0} |");
    }
    Ok(())
}

/// How long a program takes from the start of `egret run` to its end.
fn program(stage: &Stage, options: &[&str], program: &[&str]) -> Result<Duration> {
    let home = stage.path().join("egret");
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command
        .env("EGRET_DATA_DIR", home.join("data"))
        .env("EGRET_CONFIG", home.join("egret.toml"))
        .args(["run", "--quiet"])
        .args(options)
        .arg("--")
        .args(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status().context("egret run")?;
    let taken = started.elapsed();
    ensure!(status.success(), "{program:?} with {options:?}: {status}");
    Ok(taken)
}

/// How long the requests take, without the start.
fn requests(stage: &Stage, route: &Route, options: &[&str]) -> Result<Duration> {
    let header = format!("Authorization: Bearer {PLACEHOLDER}");
    let ask = |count: usize| {
        // One connection: curl keeps it from one to the next.
        let url = format!("https://{HOST}:{}/auth?[1-{count}]", route.ports.tls);
        let curl = ["curl", "-sSf", "-o", "/dev/null", "-H", &header, &url];
        program(stage, options, &curl)
    };
    let one = ask(1)?;
    let all = ask(REQUESTS + 1)?;
    Ok(all.saturating_sub(one))
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort_unstable();
    taken[taken.len() / 2]
}
