//! Measures Egret under load, beside the least that a proxy on the same libraries can cost.
//!
//! ```text
//! cargo bench --bench load                  # a quarter of an hour; prints the table of docs/performance.md
//! cargo bench --bench load -- --quick       # one short pass
//! cargo bench --bench load -- --soak 10m    # mixed load: memory must stay flat, answers right
//! cargo bench --bench load -- --instructions --only floor,egret   # counted by valgrind
//! cargo bench --bench load -- --overload    # more than fits: shed quickly, serve what was accepted
//! cargo bench --bench load -- --isolated    # start and requests under `egret run`, with --isolate and without
//! cargo bench --bench load -- --api         # a thousand calls of the API a second beside requests
//! ```
//!
//! Four programs take part, all on loopback, each a process of its own so that its CPU time can be
//! told apart: this one is the client; the *origin* is what requests are for; the *floor* is a bare
//! hyper + rustls interception proxy ([`floor`]); and Egret is the binary that users run, with a
//! data directory of its own. Targets take turns (one repetition each, then again), because a
//! machine that others use is not the same from one minute to the next: the columns to trust are
//! ratios within one run, and CPU before rates.

mod api;
mod cells;
mod client;
mod floor;
mod instructions;
mod isolated;
mod origin;
mod overload;
mod pki;
mod process;
mod soak;
mod stored;
mod table;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use cells::{Cell, Scale};
use process::Cpu;
use table::Results;
use target::{Route, Stage, Target};

/// Time enough for the ledger's index to have had its look, which comes every five seconds.
const INDEXED: Duration = Duration::from_secs(6);

/// What the command line asks for.
struct Options {
    quick: bool,
    repetitions: usize,
    only: Vec<String>,
    cells: Vec<String>,
    /// Other builds of Egret to run beside this one, as `name=path`.
    builds: Vec<(String, PathBuf)>,
    stored: usize,
    soak: Option<Duration>,
    overload: bool,
    api: bool,
    isolated: bool,
    instructions: bool,
    write: Option<PathBuf>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            quick: false,
            repetitions: 3,
            only: Vec::new(),
            cells: Vec::new(),
            builds: Vec::new(),
            stored: 100_000,
            soak: None,
            overload: false,
            api: false,
            isolated: false,
            instructions: false,
            write: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            let list = |text: String| text.split(',').map(str::to_owned).collect();
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--reps" => options.repetitions = value()?.parse()?,
                "--only" => options.only = list(value()?),
                "--cells" => options.cells = list(value()?),
                "--build" => {
                    let text = value()?;
                    let (name, path) = text.split_once('=').context("--build NAME=PATH")?;
                    options.builds.push((name.to_owned(), path.into()));
                }
                "--stored" => options.stored = value()?.parse()?,
                "--soak" => options.soak = Some(humantime::parse_duration(&value()?)?),
                "--overload" => options.overload = true,
                "--api" => options.api = true,
                "--isolated" => options.isolated = true,
                "--instructions" => options.instructions = true,
                "--write" => options.write = Some(value()?.into()),
                // What `cargo bench` and `cargo test` add by themselves.
                "--bench" | "--test" => {}
                _ => bail!("unknown argument {arg}; see benches/load/main.rs"),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == "--role").is_some() {
        let role = args.next().unwrap_or_default();
        let directory = PathBuf::from(args.next().context("--role ROLE DIRECTORY")?);
        return match role.as_str() {
            "origin" => origin::run(&directory),
            "floor" => floor::run(&directory),
            _ => bail!("unknown role {role}"),
        };
    }
    let options = Options::parse(args)?;
    process::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(options))
}

async fn run(options: Options) -> Result<()> {
    let stage = Stage::new()?;
    if let Some(duration) = options.soak {
        return soak::run(&stage, duration).await;
    }
    if options.overload {
        return overload::run(&stage).await;
    }
    if options.isolated {
        return isolated::run(&stage).await;
    }
    if options.api {
        return api::run(&stage).await;
    }
    let mut targets = stage.targets(&options.builds, options.stored, options.quick)?;
    if !options.only.is_empty() {
        targets.retain(|target| options.only.contains(&target.name));
    }
    if options.instructions {
        return instructions::run(&stage, &targets).await;
    }
    let repetitions = if options.quick {
        1
    } else {
        options.repetitions
    };
    let scale = if options.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let mut results = Results::default();
    for repetition in 0..repetitions {
        for target in &targets {
            measure(
                &stage,
                target,
                &options.cells,
                scale,
                repetition,
                &mut results,
            )
            .await?;
        }
    }
    let text = results.markdown(&targets);
    println!("{text}");
    if let Some(path) = options.write {
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// One turn of one target. Each cell gets a fresh process: what the one before it left to do, in
/// its heap and in its ledger, is not this one's.
async fn measure(
    stage: &Stage,
    target: &Target,
    cells: &[String],
    scale: Scale,
    repetition: usize,
    results: &mut Results,
) -> Result<()> {
    let asked = |cell: &&Cell| cells.is_empty() || cells.iter().any(|name| name == cell.name());
    for cell in target.cells.iter().filter(asked) {
        let route = &Arc::new(stage.start(target).await?);
        let before = Cpu::read(route);
        let measured = tokio::time::timeout(scale.deadline, cell.run(route, scale)).await;
        let mut figures = match measured {
            Ok(Ok(figures)) => figures,
            Ok(Err(error)) => {
                eprintln!("{:>14} {:<10} failed: {error:#}", target.name, cell.name());
                continue;
            }
            Err(_) => {
                eprintln!("{:>14} {:<10} took too long", target.name, cell.name());
                continue;
            }
        };
        let cpu = figures.cpu.unwrap_or(Cpu::read(route).since(&before));
        if *cell == cells::BUSY && target.has_ledger() {
            figures.behind = Some(behind(route, scale).await);
        }
        eprintln!(
            "{repetition} {:>14} {:<10} {}",
            target.name,
            cell.name(),
            figures.brief(&cpu)
        );
        results.add(&target.name, *cell, figures, cpu);
    }
    Ok(())
}

/// CPU seconds that the proxy takes after a cell for the ledger's archive and its index: the part
/// that what was measured has in it, beside the run-in.
async fn behind(route: &Route, scale: Scale) -> f64 {
    let before = Cpu::read(route);
    tokio::time::sleep(INDEXED).await;
    target::come_to_rest(route).await;
    Cpu::read(route).since(&before).proxy() * scale.measured()
}
