//! `egret plan`, `egret apply` and `egret export`: users, groups, limits, shares, bundles and clients as
//! a file says them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::context::{Context, Session, actor};
use super::output::{self, Format};
use crate::desired::{Desired, Plan, plan};
use crate::views;

/// Largest file, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Say what `egret apply` would change
///
/// The file is TOML or JSON, as `egret export` writes it: users, groups, limits and shares of
/// credentials, bundles and clients. It holds no values. What it does not name is left as it is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret export > egret-people.toml
  egret plan egret-people.toml")]
pub(super) struct PlanFile {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Make users, groups, limits, shares, bundles and clients as a file says
///
/// All changes are made in one transaction, or none, and each is in the ledger. With --revision, as
/// `egret plan` prints it, nothing is changed if anything else was since.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret apply egret-people.toml
  egret apply egret-people.toml --revision 42")]
pub(super) struct Apply {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only if the store still has this revision
    #[arg(long, value_name = "NUMBER")]
    revision: Option<i64>,
    #[command(flatten)]
    format: Format,
}

/// Print users, groups, limits, shares, bundles and clients as a file for `egret apply`
///
/// Without values and tokens.
#[derive(Args)]
#[command(after_help = "Example:\n  egret export > egret-people.toml")]
pub(super) struct Export {
    #[command(flatten)]
    format: Format,
}

/// A file, what it would change, and of which state.
struct Planned {
    plan: Plan,
    revision: i64,
}

impl Planned {
    async fn of(session: &Session, desired: &Desired) -> anyhow::Result<Self> {
        // The revision comes first: what changes after it is noticed when the plan is carried out.
        let changes = session.store.changes_since(0).await?;
        let listing = session.store.list(None).await?;
        let present = Desired::of(&changes.directory.unwrap_or_default(), &listing);
        Ok(Self {
            plan: plan(desired, &present)?,
            revision: changes.head.revision,
        })
    }

    fn view(&self, applied: bool) -> views::Plan {
        views::Plan {
            applied,
            revision: self.revision,
            steps: self.plan.steps.iter().map(ToString::to_string).collect(),
            missing: self.plan.missing.clone(),
            unmanaged: self.plan.unmanaged.clone(),
        }
    }

    fn show(&self, format: Format, applied: bool) -> anyhow::Result<()> {
        let view = self.view(applied);
        output::data(format, &view, || {
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
        if !view.unmanaged.is_empty() {
            output::note(&format!(
                "not in the file, and left as it is: {}",
                view.unmanaged.join(", ")
            ));
        }
        if !applied && !view.steps.is_empty() {
            output::note(&format!(
                "nothing is changed yet; `egret apply FILE --revision {}` makes these changes",
                view.revision
            ));
        }
        Ok(())
    }
}

impl PlanFile {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let desired = read(&self.file)?;
        let session = context.open().await?;
        let planned = Planned::of(&session, &desired).await?;
        session.store.close().await;
        planned.show(self.format, false)
    }
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let desired = read(&self.file)?;
        let session = context.open().await?;
        let planned = Planned::of(&session, &desired).await?;
        let actor = actor();
        let revision = self.revision.unwrap_or(planned.revision);
        let registrar = session.registrar.together(&actor, Some(revision)).await?;
        for step in &planned.plan.steps {
            let made = step.make(&registrar, &actor).await;
            made.with_context(|| format!("nothing is changed: {step}"))?;
        }
        registrar.finish(&actor).await?;
        session.finish().await?;
        planned.show(self.format, true)
    }
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let changes = session.store.changes_since(0).await?;
        let listing = session.store.list(None).await?;
        session.store.close().await;
        let present = Desired::of(&changes.directory.unwrap_or_default(), &listing);
        if self.format.json {
            return output::json(&present);
        }
        output::print(&toml::to_string(&present)?)
    }
}

fn read(file: &Path) -> anyhow::Result<Desired> {
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
    Desired::read(&text).with_context(|| format!("{}", file.display()))
}
