//! Instructions for each request, counted by callgrind: unlike a time, the same on a busy machine.
//!
//! A process is run twice, with few requests and with many; what the first requests prepare is in both, so
//! the difference is the price of the requests between. Counts what runs in user space; what the
//! kernel does is not in it. Counting begins when the program has started: a start with a hundred thousand
//! credentials would take a quarter of an hour under it. Valgrind counts `rep stosb` and
//! `rep movsb` byte by byte, 8,192 for a buffer that the machine wipes in 100 ns; so the C library is told
//! to fill and copy with vectors. One caveat is left: valgrind knows no SHA instructions, so that hashing
//! counts for ten times what it costs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep_until};

use crate::cells::get;
use crate::client::Connection;
use crate::origin::PROOF;
use crate::process;
use crate::target::{HOST, Route, Stage, Target};

const FEW: u32 = 200;
const MANY: u32 = 1_700;
/// The sizes from which on the C library would fill and copy by one instruction.
const VECTORS: &str = "GLIBC_TUNABLES=glibc.cpu.x86_rep_stosb_threshold=1000000000\
     :glibc.cpu.x86_rep_movsb_threshold=1000000000";
/// What only threads that serve clients run. Others may end a connection.
const SERVES: &str =
    "<hyper::proto::h1::role::Server as hyper::proto::h1::Http1Transaction>::parse";
/// After so long the program has given back the memory of its start, for which it reads a long list of its
/// pages. A run that ends earlier would have this in the price of the requests of the other.
const SETTLED: Duration = Duration::from_secs(15);

/// Counts for each target, with the value and without, and prints a line for each.
///
/// What the serving threads do is the same from run to run. What the ledger, archive and log threads do
/// depends on how many lines they find each time they look, and so on the machine: it is shown by itself.
pub async fn run(stage: &Stage, targets: &[Target]) -> Result<()> {
    println!(
        "| instructions per request | with the value | of these serving | without | of these serving |\n\
         |---|---:|---:|---:|---:|"
    );
    for target in targets.iter().filter(|target| target.is_a_proxy()) {
        let with = per_request(stage, target, true).await?;
        let without = per_request(stage, target, false).await?;
        println!(
            "| {} | {} | {} | {} | {} |",
            target.name,
            with.all(),
            with.serving,
            without.all(),
            without.serving
        );
    }
    Ok(())
}

/// Instructions by the threads that made them.
#[derive(Default)]
struct Counts {
    serving: u64,
    others: u64,
}

impl Counts {
    fn all(&self) -> u64 {
        self.serving + self.others
    }

    fn add(&mut self, thread: &str) {
        let count = total(thread).unwrap_or_default();
        if thread.contains(SERVES) {
            self.serving += count;
        } else {
            self.others += count;
        }
    }
}

async fn per_request(stage: &Stage, target: &Target, with_value: bool) -> Result<Counts> {
    let few = count(stage, target, with_value, FEW).await?;
    let many = count(stage, target, with_value, MANY).await?;
    let requests = u64::from(MANY - FEW);
    Ok(Counts {
        serving: many.serving.saturating_sub(few.serving) / requests,
        others: many.others.saturating_sub(few.others) / requests,
    })
}

async fn count(stage: &Stage, target: &Target, with_value: bool, requests: u32) -> Result<Counts> {
    let name = format!("{}.{with_value}.{requests}", target.name.replace(' ', "-"));
    let directory = stage.path().join(format!("callgrind.{name}"));
    fs::create_dir_all(&directory)?;
    let prefix = [
        "env".to_owned(),
        VECTORS.to_owned(),
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--separate-threads=yes".to_owned(),
        "--instr-atstart=no".to_owned(),
        format!(
            "--callgrind-out-file={}",
            directory.join("counts").display()
        ),
    ];
    let mut route = stage.start_under(target, &prefix).await?;
    begin(&route)?;
    let settled = Instant::now() + SETTLED;
    let request = get(&route, HOST, with_value);
    let mut connection = Connection::tls(&route, HOST, &route.connectors.full).await?;
    for _ in 0..requests {
        connection.exchange(&request).await?.check(PROOF)?;
    }
    drop(connection);
    sleep_until(settled).await;
    // The counts are written when the program ends, a file for each thread.
    process::end(&mut route)?;
    let mut counts = Counts::default();
    for file in fs::read_dir(&directory)? {
        let file = file?;
        counts.add(&fs::read_to_string(file.path())?);
        if let Some(kept) = std::env::var_os("EGRET_BENCH_KEEP") {
            let thread = file.file_name();
            let name = format!("{name}.{}", thread.to_string_lossy());
            fs::copy(file.path(), Path::new(&kept).join(name))?;
        }
    }
    ensure!(counts.serving > 0, "no counts; is valgrind installed?");
    Ok(counts)
}

/// Has valgrind count from now on.
fn begin(route: &Route) -> Result<()> {
    let pid = route.pid.context("a proxy is a process")?;
    let mut control = Command::new("callgrind_control");
    let begun = control.arg("--instr=on").arg(pid.to_string()).output()?;
    ensure!(begun.status.success(), "callgrind_control: {begun:?}");
    Ok(())
}

/// The sum of all counts in callgrind's format.
fn total(text: &str) -> Option<u64> {
    let mut is_call = false;
    let mut total = 0;
    for line in text.lines() {
        if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            // The count behind a call is the callee's, which has its own lines.
            if !std::mem::take(&mut is_call) {
                total += line.split(' ').nth(1)?.parse::<u64>().ok()?;
            }
        }
    }
    (total > 0).then_some(total)
}
