//! Instructions for each request, counted by callgrind: unlike a time, the same on a busy machine.
//!
//! A process is run twice, with few requests and with many; what the start costs is in both, so
//! the difference is the price of the requests between. Counts what runs in user space; what the
//! kernel does is not in it. Left out is the gathering of entropy at the start, which takes a
//! thousand times as long as a request, and another time each time. Two caveats: valgrind knows no
//! SHA instructions, so that hashing counts for ten times what it costs, and it counts a large copy
//! byte by byte.

use std::collections::HashMap;
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
    let total = total(&text, "jitterentropy").context("callgrind wrote no counts")?;
    if let Some(kept) = std::env::var_os("EGRET_BENCH_KEEP") {
        let name = format!("{}.{with_value}.{requests}", target.name);
        fs::copy(&file, std::path::Path::new(&kept).join(name))?;
    }
    Ok(total)
}

/// The sum of all counts in callgrind's format, without those of source files whose path holds
/// `left_out`.
fn total(text: &str, left_out: &str) -> Option<u64> {
    let mut is_out = HashMap::new();
    let (mut skips, mut is_call) = (false, false);
    let mut total = 0;
    for line in text.lines() {
        if let Some((key, file)) = line.split_once('=')
            && matches!(key, "fl" | "fi" | "fe" | "cfi" | "cfl")
        {
            // A number, and the first time the path it stands for.
            let (number, path) = file.split_once(' ').unwrap_or((file, ""));
            if !path.is_empty() {
                is_out.insert(number, path.contains(left_out));
            }
            // Where a call leads is not where the counts that follow belong.
            if !key.starts_with('c') {
                skips = *is_out.get(number)?;
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            // The count behind a call is the callee's, which has its own lines.
            if !std::mem::take(&mut is_call) && !skips {
                total += line.split(' ').nth(1)?.parse::<u64>().ok()?;
            }
        }
    }
    (total > 0).then_some(total)
}
