//! Instructions for each request, counted by callgrind: unlike a time, the same on a busy machine.
//!
//! A process is run twice, with few requests and with many; what the start costs is in both, so
//! the difference is the price of the requests between. Counts what runs in user space; system
//! calls are counted as calls only.

use std::fs;

use anyhow::{Context as _, Result};

use crate::cells::get;
use crate::client::Connection;
use crate::origin::PROOF;
use crate::process;
use crate::target::{HOST, Stage, Target};

const FEW: u32 = 200;
const MANY: u32 = 1_200;

/// Counts for each target, with the value and without, and prints a line for each.
pub async fn run(stage: &Stage, targets: &[Target]) -> Result<()> {
    println!("| instructions per request | with the value | without |\n|---|---:|---:|");
    for target in targets.iter().filter(|target| target.is_a_proxy()) {
        let with = per_request(stage, target, true).await?;
        let without = per_request(stage, target, false).await?;
        println!("| {} | {with} | {without} |", target.name);
    }
    Ok(())
}

async fn per_request(stage: &Stage, target: &Target, with_value: bool) -> Result<u64> {
    let few = count(stage, target, with_value, FEW).await?;
    let many = count(stage, target, with_value, MANY).await?;
    Ok((many - few) / u64::from(MANY - FEW))
}

async fn count(stage: &Stage, target: &Target, with_value: bool, requests: u32) -> Result<u64> {
    let file = stage
        .path()
        .join(format!("callgrind.{}", target.name.replace(' ', "-")));
    let prefix = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
    ];
    let mut route = stage.start_under(target, &prefix).await?;
    let request = get(&route, HOST, with_value);
    let mut connection = Connection::tls(&route, HOST, &route.connectors.full).await?;
    for _ in 0..requests {
        connection.exchange(&request).await?.check(PROOF)?;
    }
    drop(connection);
    // The counts are written when the program ends.
    process::end(&mut route)?;
    let text = fs::read_to_string(&file).context("no counts; is valgrind installed?")?;
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = line.context("callgrind wrote no total")?.trim().parse()?;
    if let Some(kept) = std::env::var_os("EGRET_BENCH_KEEP") {
        let name = format!("{}.{with_value}.{requests}", target.name);
        fs::copy(&file, std::path::Path::new(&kept).join(name))?;
    }
    Ok(total)
}
