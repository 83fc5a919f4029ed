//! `egret plan`, `egret apply` and `egret export`: users, groups, limits, shares, bundles, clients and
//! rules as a file says them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;

use super::context::{Context, Session, actor};
use super::egress::check::newly_refused;
use super::exit::usage;
use super::output::{self, Format};
use super::remote::ServerArgs;
use super::when;
use crate::desired::{self, Desired, Planned};
use crate::views;

/// Largest file, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Say what `egret apply` would change
///
/// The file is TOML or JSON, as `egret export` writes it: users, groups, limits and shares of
/// credentials, bundles, clients and egress rules. It holds no values. What it does not name is left as it is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret export > egret-people.toml
  egret plan egret-people.toml")]
pub(super) struct PlanFile {
    #[command(flatten)]
    server: ServerArgs,
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Make users, groups, limits, shares, bundles, clients and rules as a file says
///
/// All changes are made in one transaction, or none, and each is in the ledger. With --revision, as
/// `egret plan` prints it, nothing is changed if anything else was since.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret apply egret-people.toml
  egret apply egret-people.toml --revision 42")]
pub(super) struct Apply {
    #[command(flatten)]
    server: ServerArgs,
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only if the store still has this revision
    #[arg(long, value_name = "NUMBER")]
    revision: Option<i64>,
    /// Although its rules refuse requests that clients sent in the last seven days
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

/// Print users, groups, limits, shares, bundles, clients and rules as a file for `egret apply`
///
/// Without values and tokens.
#[derive(Args)]
#[command(after_help = "Example:\n  egret export > egret-people.toml")]
pub(super) struct Export {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    format: Format,
}

/// Prints a plan, and what follows from it.
fn show(view: &views::Plan, format: Format) -> anyhow::Result<()> {
    output::data(format, view, || {
        let mut text = String::new();
        for step in &view.steps {
            text += &format!("{}\n", output::printable(step));
        }
        if view.steps.is_empty() {
            text += "Everything is as the file says.\n";
        }
        text
    })?;
    if format.json {
        return Ok(());
    }
    for missing in &view.missing {
        output::note(&format!("not made here: {missing}"));
    }
    for remark in &view.remarks {
        output::note(remark);
    }
    if !view.unmanaged.is_empty() {
        output::note(&format!(
            "not in the file, and left as it is: {}",
            view.unmanaged.join(", ")
        ));
    }
    if !view.applied && !view.steps.is_empty() {
        output::note(&format!(
            "nothing is changed yet; `egret apply FILE --revision {}` makes these changes",
            view.revision
        ));
    }
    Ok(())
}

impl PlanFile {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        // What is wrong with the file is said here, with what it says.
        let desired = parse(&text, &self.file)?;
        let context = &context.at(&self.server).await?;
        if let Some(server) = context.server() {
            let plan: views::Plan = server.post("/plan", &json!({ "file": text })).await?;
            return show(&plan, self.format);
        }
        let session = context.open().await?;
        let planned = Planned::of(&session.registrar, &desired).await?;
        session.store.close().await;
        show(&planned.view(false), self.format)
    }
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        let desired = parse(&text, &self.file)?;
        let context = &context.at(&self.server).await?;
        if let Some(server) = context.server() {
            let message = json!({ "file": text, "revision": self.revision, "sure": self.yes });
            let plan: views::Plan = server.post("/apply", &message).await?;
            return show(&plan, self.format);
        }
        let session = context.open().await?;
        let planned = Planned::of(&session.registrar, &desired).await?;
        if !self.yes {
            refuse_lockout(&session, &planned).await?;
        }
        planned
            .make(&session.registrar, &actor(), self.revision)
            .await?;
        session.finish().await?;
        show(&planned.view(true), self.format)
    }
}

/// Refuses rules that would end what works, unless they were meant.
async fn refuse_lockout(session: &Session, planned: &Planned) -> anyhow::Result<()> {
    let change = planned.egress(when::now());
    if change.is_empty() {
        return Ok(());
    }
    let refused = newly_refused(session, &change).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let list: String = refused.iter().map(|line| format!("  {line}\n")).collect();
    Err(usage(format!(
        "the rules of this file would refuse what clients did in the last seven days:\n{list}Allow these \
         in the file, or apply it all the same with --yes"
    )))
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        let present = match context.server() {
            Some(server) => server.get("/export").await?,
            None => {
                let session = context.open().await?;
                let (present, _) = desired::present(&session.registrar).await?;
                session.store.close().await;
                present
            }
        };
        if self.format.json {
            return output::json(&present);
        }
        output::print(&toml::to_string(&present)?)
    }
}

fn parse(text: &str, file: &Path) -> anyhow::Result<Desired> {
    Desired::read(text).with_context(|| format!("{}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let reader: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("cannot open {}", file.display()))?)
    };
    let read = reader.take(LARGEST + 1).read_to_string(&mut text);
    read.context("the file cannot be read as UTF-8 text")?;
    ensure!(
        text.len() as u64 <= LARGEST,
        "the file is larger than 16 MiB"
    );
    Ok(text)
}
